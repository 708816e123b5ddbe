"""Tests with the frameworks themselves: all are marked, and the frameworks may warn of their own affairs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promised import Place

HERE = Path(__file__).parent
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

_THEIRS = (
    "DeprecationWarning",
    "PendingDeprecationWarning",
    "FutureWarning",
    "UserWarning",
    "ResourceWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("frameworks")
            for kind in _THEIRS:
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{kind}"))
            item.add_marker(pytest.mark.filterwarnings("error:::bucketboard"))


@pytest.fixture
def spooled_place(new_place: Callable[..., Place], tmp_path: Path) -> Callable[..., Place]:
    """``new_place`` whose processes spool in the test's own directory, and not in the user's."""

    def make(*names: str, **options: Any) -> Place:
        place = new_place(*names, **options)
        environ = place.environ
        place.environ = lambda: {**environ(), "BUCKETBOARD_SPOOL": str(tmp_path / "spool")}
        return place

    return make
