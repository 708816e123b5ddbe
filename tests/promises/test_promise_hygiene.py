"""Faults at each single operation, and what failed attempts leave behind: nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bucketboard import SummaryWriter
from bucketboard.testing import Fault, FaultKind
from promised import MIB, Place, blob, first_record, framed, records, steps

OPERATIONS = [
    "ListObjectsV2",
    "PutObject",
    "CreateMultipartUpload",
    "UploadPartCopy",
    "UploadPart",
    "CompleteMultipartUpload",
]
KINDS = [
    FaultKind.LOST_REPLY,
    FaultKind.RESET,
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in (FaultKind.STATUS, FaultKind.TRUNCATE)),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_fault_changes_nothing(
    new_place: Callable[..., Place], operation: str, kind: FaultKind, spool: Path | None
) -> None:
    """Each operation fails in each way, early and late; everything arrives, nothing stays behind."""
    place = new_place("moto" if spool else "seaweedfs")
    writer = place.writer(spool=spool)
    place.proxy.inject(Fault(kind, operation=operation, nth=1))
    place.proxy.inject(Fault(kind, operation=operation, nth=3))
    logged = []
    for round_ in range(3):
        for step in range(round_ * 2, round_ * 2 + 2):
            logged.append(blob(step, 3 * MIB))
            writer.add_event(logged[-1])
        writer.sync(60)
    writer.close()
    data = place.only()
    assert data[first_record(data) :] == b"".join(map(framed, logged))
    assert place.uploads() == []
    assert writer.dropped == 0
    if spool:
        assert list(spool.iterdir()) == []


@pytest.mark.parametrize(
    ("server", "size"), [("seaweedfs", MIB), ("moto", 1000), ("juicefs", 1000), ("rclone", 1000)]
)
def test_random_faults(new_place: Callable[..., Place], server: str, size: int, spool: Path | None) -> None:
    """Many requests get a 503, others are reset or lose their replies, while 50,000 scalars are logged."""
    place = new_place(server, seed=7)
    place.proxy.inject(Fault(FaultKind.STATUS, probability=0.15 if server == "moto" else 0.05))
    place.proxy.inject(Fault(FaultKind.RESET, probability=0.03))
    place.proxy.inject(Fault(FaultKind.LOST_REPLY, probability=0.05))
    writer = place.writer(spool=spool)
    for step in range(50_000):
        writer.add_scalar("loss", step / 7, step, 1e9)
        if step % 12_500 == 0:
            writer.add_event(blob(step, size))
            writer.sync(150)
    place.proxy.clear()
    writer.close()
    assert place.steps() == [step for step in range(50_000) for _ in range(2 if step % 12_500 == 0 else 1)]
    assert writer.dropped == 0
    if server in ("seaweedfs", "moto"):
        assert len(place.event_keys()) == 1
        assert place.uploads() == []


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_an_outage(new_place: Callable[..., Place], server: str, spool: Path | None) -> None:
    """S3 is away while 50,000 scalars are logged."""
    place = new_place(server)
    writer = place.writer(spool=spool)
    writer.add_scalar("loss", 0, 0, 1e9)
    writer.sync(30)
    place.proxy.down()
    for step in range(1, 50_001):
        writer.add_scalar("loss", step, step, 1e9)
    writer.flush()
    place.proxy.up()
    position = writer.sync(60)
    assert position.stored == position.appended
    assert position.stored.events == 50_001
    writer.close()
    assert steps(place.only()) == list(range(50_001))
    assert writer.dropped == 0


def test_a_hanging_server(new_place: Callable[..., Place], spool: Path | None) -> None:
    place = new_place("moto")
    hung = place.proxy.inject(Fault(FaultKind.HANG))
    writer = place.writer(spool=spool, timeout=0.5)
    for step in range(50_000):
        writer.add_scalar("loss", step, step, 1e9)
    writer.flush()
    hung.wait_fired(2)
    hung.remove()
    writer.sync(60)
    writer.close()
    assert steps(place.only()) == list(range(50_000))


@pytest.mark.parametrize("limit", [200_000, 3_000_000])
def test_the_limit_of_the_log_is_kept_to_the_event(
    new_place: Callable[..., Place], limit: int, spool: Path | None
) -> None:
    """Events of many sizes while S3 is away: those left out are counted exactly and reported once."""
    place = new_place("moto")
    place.proxy.down()
    writer = place.writer(spool=spool, log_limit=limit)
    appended = 0
    for step in range(3 * limit // 1000):
        writer.add_scalar("a/rather/long/name/of/a/tag" if step % 3 else "t", step, step, 1e9)
        writer.add_event(blob(step, 100 + 37 * step % 2500))
        appended += 2
    writer.flush()
    position = writer.position
    assert position.logged.bytes <= limit + 200
    assert position.logged.events + writer.dropped == appended
    assert writer.dropped > 0
    place.proxy.up()
    writer.sync(60)
    kinds = [kind.__name__ for kind in place.kinds()]
    writer.close()
    assert len(place.payloads()) == position.logged.events == appended - writer.dropped
    assert kinds.count("DroppedError") == 1, kinds
    stored = place.steps()
    assert stored == sorted(stored)
    assert len(list(records(place.files()[0]))) > 1


def test_after_the_limit_was_reached_logging_goes_on(
    new_place: Callable[..., Place], spool: Path | None
) -> None:
    place = new_place("moto")
    writer = place.writer(spool=spool, log_limit=100_000)
    for outage in range(2):
        place.proxy.down()
        for step in range(10_000):
            writer.add_scalar("loss", step, step, 1e9)
        writer.flush()
        place.proxy.up()
        writer.sync(60)
        writer.add_scalar(f"after/{outage}", 1.0, 1, 1e9)
        writer.sync(60)
    writer.close()
    assert [kind.__name__ for kind in place.kinds()].count("DroppedError") == 2
    assert len(place.payloads()) == 20_002 - writer.dropped


def test_hyperparameters_of_the_run_itself_lie_beside_its_scalars(new_place: Callable[..., Place]) -> None:
    """``run_name="."``, as is usual where a sub-run is not wanted."""
    place = new_place("moto")
    with SummaryWriter(f"s3://{place.bucket}/exp/run", endpoint_url=place.proxy.url) as writer:
        writer.add_scalar("loss", 1.0, 1)
        writer.add_hparams({"lr": 0.1}, {"accuracy": 0.5}, run_name=".")
    assert {key.rpartition("/")[0] for key in place.event_keys()} == {"exp/run"}
    assert len(place.event_keys()) == 2
