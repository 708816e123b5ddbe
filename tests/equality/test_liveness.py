"""What a writer logs is told by the viewer after its upload and one look: in requests, not in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from asking import get
from boards import ours

from bucketboard import SummaryWriter
from bucketboard.testing import FaultProxy, Server


@pytest.fixture
def proxy(seaweed_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A way to SeaweedFS that keeps every request."""
    with FaultProxy(seaweed_server.endpoint, record=True) as proxy:
        for name, value in seaweed_server.through(proxy.url).environ().items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def target(proxy: FaultProxy, seaweed_server: Server) -> str:
    client = seaweed_server.client()
    bucket = f"live-{uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    client.close()
    return f"s3://{bucket}/exp"


def wait(condition: Callable[[], Any], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_scalar_is_told_after_its_upload_and_one_look(target: str, proxy: FaultProxy) -> None:
    def told() -> list[Any]:
        answer = get(url, "data/plugin/scalars/scalars", {"run": "run", "tag": "loss"})
        return answer[2] if answer[0] == 200 else []

    with ours(target, interval=1.0) as url, SummaryWriter(f"{target}/run", upload_every=0.5) as writer:
        for step in range(3):
            writer.add_scalar("loss", step / 4, step)
            wait(lambda step=step: len(told()) == step + 1)
            operations = [request.operation for request in proxy.requests]
            uploaded = max(n for n, name in enumerate(operations) if name == "PutObject")
            # One listing may have begun before the upload had ended, and one more while the page was asked.
            assert operations[uploaded:].count("ListObjectsV2") <= 3
        assert [entry[1:] for entry in told()] == [[step, step / 4] for step in range(3)]


def test_only_what_is_new_is_fetched(target: str, proxy: FaultProxy) -> None:
    """A run that grows by one scalar costs a few hundred bytes, however long it is already."""
    with ours(target, interval=0.3) as url, SummaryWriter(f"{target}/run", upload_every=3600) as writer:
        for step in range(20_000):
            writer.add_scalar("loss", step / 4, step)
        writer.sync()

        def last() -> int:
            answer = get(url, "data/plugin/scalars/scalars", {"run": "run", "tag": "loss"})
            return int(answer[2][-1][1]) if answer[0] == 200 else -1

        wait(lambda: last() == 19_999)
        before = proxy.counts
        writer.add_scalar("loss", 0.5, 20_000)
        writer.sync()
        wait(lambda: last() == 20_000)
        spent = (proxy.counts - before)["GetObject"]
        assert spent.requests == 1
        assert spent.bytes_received < 1000
