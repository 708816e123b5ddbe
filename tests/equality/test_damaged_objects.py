"""Objects that are torn, spoiled, foreign or change under the reader's hands: the rest is still served."""

from __future__ import annotations

import gzip
import random
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asking import get, runs_of
from boards import ours
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from bucketboard.events.record import frame
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server

NAME = "events.out.tfevents.1700000000.host.1.0"


def record(step: int, offset: float = 0.0) -> bytes:
    value = Summary.Value(tag="loss", simple_value=step + offset)
    return frame(Event(wall_time=1e9 + step, step=step, summary=Summary(value=[value])).SerializeToString())


def file(*steps: int, offset: float = 0.0) -> bytes:
    start = frame(Event(wall_time=1e9, file_version="brain.Event:2").SerializeToString())
    return start + b"".join(record(step, offset) for step in steps)


def flipped(body: bytes, position: int) -> bytes:
    return body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :]


def masked(data: bytes) -> bytes:
    """The checksum that follows ``data`` in an event file."""
    return frame(data)[-4:]


HUGE = struct.pack("<Q", 1 << 62)
ONE, WHOLE = file(0), file(*range(10))
SIZE = len(record(0))
CASES: dict[str, tuple[bytes, list[int] | None]] = {
    # What lies in the bucket, and the steps that are told of it; None: it is not even a run.
    "torn in a payload": (WHOLE[:-5], [*range(9)]),
    "torn in a header": (WHOLE[: -SIZE + 5], [*range(9)]),
    "empty": (b"", None),
    "zeros behind": (WHOLE + bytes(5000), [*range(10)]),
    "zeros only": (bytes(5000), None),
    "huge length": (WHOLE + HUGE + masked(HUGE) + b"x" * 100, [*range(10)]),
    "huge length of a false checksum": (WHOLE + HUGE + b"abcd" + b"x" * 100, [*range(10)]),
    "spoiled payload": (ONE + flipped(record(1), 14) + record(2), [0, 2]),
    "spoiled checksum of a payload": (ONE + flipped(record(1), SIZE - 1) + record(2), [0, 2]),
    "not an event": (ONE + frame(b"\xff" * 40) + record(1), [0, 1]),
    "noise": (random.Random(1).randbytes(5000), None),
    "a page of a proxy": (b"<html><body>503 Service Unavailable</body></html>" * 9, None),
    "compressed": (gzip.compress(WHOLE), None),
}


@pytest.fixture
def store(moto_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, str, FaultProxy]]:
    with FaultProxy(moto_server.endpoint) as proxy:
        for name, value in moto_server.through(proxy.url).environ().items():
            monkeypatch.setenv(name, value)
        client = moto_server.client()
        bucket = f"damaged-{uuid4().hex}"
        client.create_bucket(Bucket=bucket)
        yield client, bucket, proxy
        client.close()


def steps(url: str, run: str) -> list[int]:
    """What is told of a run; the value of each step must be the one that was logged."""
    status, _, points = get(url, "data/plugin/scalars/scalars", {"run": run, "tag": "loss"})
    assert status in (200, 404)
    return [step for _, step, _ in points] if status == 200 else []


def eventually(get: Callable[[], Any], expected: Any, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while (seen := get()) != expected:
        assert time.monotonic() < deadline, f"{seen!r} is not {expected!r}"
        time.sleep(0.05)


def test_the_others_are_served(store: tuple[Any, str, FaultProxy], tmp_path: Path) -> None:
    client, bucket, _ = store
    for name, (body, _) in CASES.items():
        client.put_object(Bucket=bucket, Key=f"exp/{name}/{NAME}", Body=body)
    for name in ("healthy", "zeros only", "noise"):  # also in a directory with a spoiled file
        client.put_object(Bucket=bucket, Key=f"exp/{name}/{NAME}.more", Body=WHOLE)
    for key in (
        "exp/notes/tfevents.d/readme",
        "exp/readme.txt",
        "exp/.bucketboard/v1/manifest.json",
        "exp/x/",
    ):
        client.put_object(Bucket=bucket, Key=key, Body=b"not ours")
    log = tmp_path / "log"
    with ours(f"s3://{bucket}/exp", log=log) as url:
        eventually(lambda: steps(url, "healthy"), [*range(10)])
        for name in ("zeros only", "noise"):
            eventually(lambda name=name: steps(url, name), [*range(10)])
        for name, (_, expected) in CASES.items():
            if expected is not None:
                eventually(lambda name=name: (name, steps(url, name)), (name, expected))
        client.put_object(Bucket=bucket, Key=f"exp/healthy/{NAME}.more", Body=WHOLE + record(10))
        eventually(lambda: steps(url, "healthy"), [*range(11)])
    said = log.read_text()
    assert "Traceback" not in said
    assert "of the files could not be read" in said


def test_what_was_torn_is_read_when_it_is_whole(store: tuple[Any, str, FaultProxy]) -> None:
    client, bucket, _ = store
    key = f"exp/run/{NAME}"
    client.put_object(Bucket=bucket, Key=key, Body=WHOLE[:-5])
    with ours(f"s3://{bucket}/exp") as url:
        eventually(lambda: steps(url, "run"), [*range(9)])
        client.put_object(Bucket=bucket, Key=key, Body=file(*range(12)))
        eventually(lambda: steps(url, "run"), [*range(12)])
        client.put_object(Bucket=bucket, Key=key, Body=file(*range(12)) + bytes(3000))  # spoiled
        client.put_object(Bucket=bucket, Key=key, Body=file(*range(20)))  # and mended
        eventually(lambda: steps(url, "run"), [*range(20)])


@pytest.mark.parametrize("other", ["shorter", "longer", "of the same length", "of other content, as long"])
def test_an_object_that_is_replaced(store: tuple[Any, str, FaultProxy], other: str) -> None:
    client, bucket, _ = store
    key = f"exp/run/{NAME}"
    client.put_object(Bucket=bucket, Key=key, Body=file(*range(100, 120)))
    bodies = {
        "shorter": (file(1, 2, 3, offset=0.5), [1, 2, 3]),
        "longer": (file(*range(60), offset=0.5), [*range(60)]),
        "of the same length": (file(*range(101, 121), offset=0.5), [*range(101, 121)]),
        "of other content, as long": (file(*range(100, 120), offset=0.5), [*range(100, 120)]),
    }
    body, expected = bodies[other]
    with ours(f"s3://{bucket}/exp") as url:
        eventually(lambda: steps(url, "run"), [*range(100, 120)])
        client.put_object(Bucket=bucket, Key=key, Body=body)

        def told() -> list[Any]:
            answer = get(url, "data/plugin/scalars/scalars", {"run": "run", "tag": "loss"})
            return [entry[1:] for entry in answer[2]] if answer[0] == 200 else []

        eventually(told, [[step, step + 0.5] for step in expected])


def test_an_object_that_goes_between_listing_and_reading(store: tuple[Any, str, FaultProxy]) -> None:
    client, bucket, proxy = store
    for run in ("gone", "there"):
        client.put_object(Bucket=bucket, Key=f"exp/{run}/{NAME}", Body=WHOLE)
    missing = Fault(FaultKind.STATUS, operation="GetObject", key="*gone*", status=404, code="NoSuchKey")
    injection = proxy.inject(missing)
    with ours(f"s3://{bucket}/exp") as url:
        eventually(lambda: steps(url, "there"), [*range(10)])
        injection.wait_fired()
        injection.remove()
        eventually(lambda: steps(url, "gone"), [*range(10)])
        client.delete_object(Bucket=bucket, Key=f"exp/gone/{NAME}")
        eventually(lambda: runs_of(url), ["there"])
        client.delete_object(Bucket=bucket, Key=f"exp/there/{NAME}")
        eventually(lambda: runs_of(url), [])  # all of them: deleted, and no failure


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.STATUS, operation="GetObject", key="*sick*", status=403, code="AccessDenied"),
        Fault(FaultKind.TRUNCATE, operation="GetObject", key="*sick*"),
        Fault(FaultKind.RESET, operation="GetObject", key="*sick*"),
    ],
    ids=["refused", "cut", "reset"],
)
def test_an_object_that_can_not_be_read(store: tuple[Any, str, FaultProxy], fault: Fault) -> None:
    client, bucket, proxy = store
    for run in ("sick", "well"):
        client.put_object(Bucket=bucket, Key=f"exp/{run}/{NAME}", Body=WHOLE)
    injection = proxy.inject(fault)
    with ours(f"s3://{bucket}/exp") as url:
        eventually(lambda: steps(url, "well"), [*range(10)])
        injection.wait_fired()
        injection.remove()
        eventually(lambda: steps(url, "sick"), [*range(10)])


def test_a_listing_that_fails_is_not_an_empty_bucket(store: tuple[Any, str, FaultProxy]) -> None:
    client, bucket, proxy = store
    client.put_object(Bucket=bucket, Key=f"exp/run/{NAME}", Body=WHOLE)
    with ours(f"s3://{bucket}/exp", interval=0.2) as url:
        eventually(lambda: steps(url, "run"), [*range(10)])
        assert get(url, "healthz")[0] == 200
        fault = proxy.inject(Fault(FaultKind.STATUS, operation="ListObjectsV2", status=503, code="SlowDown"))

        def failing() -> bool:
            assert steps(url, "run") == [*range(10)]
            return "ListObjects" in str(get(url, "healthz")) or "listing" in str(get(url, "healthz"))

        eventually(failing, True)
        fault.remove()
        client.put_object(Bucket=bucket, Key=f"exp/young/{NAME}", Body=WHOLE)
        eventually(lambda: runs_of(url), ["run", "young"])
