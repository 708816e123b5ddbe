"""Servers for the tests of the promises: started once, when first asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from promised import Place, place

from bucketboard.testing import SERVERS, Server, seaweedfs


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], Server]]:
    """Servers by name, each started when first asked for."""
    with ExitStack() as stack:
        running: dict[str, Server] = {}

        def get(name: str) -> Server:
            if name not in running:
                start = (
                    seaweedfs(identities={"writeonly": ["Write"], "writelist": ["Write", "List"]})
                    if name == "seaweedfs"
                    else SERVERS[name]()
                )
                running[name] = stack.enter_context(start)
            return running[name]

        yield get


@pytest.fixture
def new_place(
    servers: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Place]]:
    """``new_place("moto", versioned=True)``: a bucket and a proxy for this test."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "BUCKETBOARD_", "S3_")):
            monkeypatch.delenv(name)
    with ExitStack() as stack:

        def make(name: str = "seaweedfs", *, identity: str | None = None, **options: Any) -> Place:
            server = servers(name)
            made = stack.enter_context(place(server, **options))
            if identity:
                made.server = server.as_identity(identity)
            for key, value in made.server.environ().items():
                if key != "AWS_ENDPOINT_URL_S3":
                    monkeypatch.setenv(key, value)
            return made

        yield make


@pytest.fixture(params=["spool", "memory"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where the log is kept: a directory, or None for memory."""
    return tmp_path / "spool" if request.param == "spool" else None
