"""Servers shared by the tests here, and a proxy with a bucket behind it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from bucketboard.testing import FaultProxy, Server, moto, seaweedfs


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Server]:
    with moto() as server:
        yield server


@pytest.fixture(scope="session")
def weed_server() -> Iterator[Server]:
    with seaweedfs(identities={"writer": ["Write"]}) as server:
        yield server


@pytest.fixture
def proxy(moto_server: Server) -> Iterator[FaultProxy]:
    with FaultProxy(moto_server.endpoint, record=True) as proxy:
        yield proxy


@pytest.fixture
def direct(moto_server: Server) -> Iterator[Any]:
    """A client that bypasses the proxy."""
    client = moto_server.client()
    yield client
    client.close()


@pytest.fixture
def bucket(direct: Any) -> str:
    name = f"test-{uuid4().hex}"
    direct.create_bucket(Bucket=name)
    return name


@pytest.fixture
def client(moto_server: Server, proxy: FaultProxy) -> Iterator[Any]:
    """A client behind the proxy."""
    client = moto_server.through(proxy.url).client()
    yield client
    client.close()
