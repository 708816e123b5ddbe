"""What the tests of the promises share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["spool", "memory"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where the log is kept: a directory, or None for memory."""
    return tmp_path / "spool" if request.param == "spool" else None
