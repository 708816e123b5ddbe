from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from supervised import Stage

from bucketboard.testing import FaultProxy, Server


@pytest.fixture
def server(moto_server: Server) -> Server:
    """What is tested here is who sends and when, and not what the server makes of it."""
    return moto_server


@pytest.fixture
def stage(server: Server, bucket: tuple[Any, str], tmp_path: Path) -> Iterator[Stage]:
    client, name = bucket
    with FaultProxy(server.endpoint) as proxy:
        stage = Stage(server, proxy, client, name, tmp_path)
        try:
            yield stage
        finally:
            stage.close()
