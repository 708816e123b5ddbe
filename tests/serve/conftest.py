"""A bucket behind a proxy, and TensorBoards that show it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from viewing import Page, Store

from bucketboard.serve import serve
from bucketboard.testing import FaultProxy, Server

with warnings.catch_warnings():
    # What TensorBoard's own modules warn of when they are imported is not ours.
    warnings.simplefilter("ignore")
    import bucketboard.serve.board  # noqa: F401


@pytest.fixture
def store(moto_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    with FaultProxy(moto_server.endpoint) as proxy:
        for name, value in moto_server.through(proxy.url).environ().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        client = moto_server.client()
        bucket = f"serve-{uuid4().hex}"
        client.create_bucket(Bucket=bucket)
        yield Store(client, bucket, proxy)
        client.close()


@pytest.fixture
def show(store: Store) -> Iterator[Callable[..., Page]]:
    """Serve the bucket's prefix until the test ends."""
    with ExitStack() as servers:

        def start(target: str = store.url, reload_interval: float = 0.05, **options: Any) -> Page:
            options.setdefault("port", 0)
            return Page(servers.enter_context(serve(target, reload_interval=reload_interval, **options)))

        yield start
