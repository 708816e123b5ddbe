"""A slow, small run: 5 MB in a day, with a clock of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bucketboard.replication.log import EventLog, LogFile
from bucketboard.replication.options import Options
from bucketboard.replication.storage import FileStorage, MemoryStorage
from bucketboard.replication.uploader import Target, Uploader
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from promised import Place, blob, framed, sent_bytes

DAY = 86_400.0
EVERY = 120.0
"""torch's default flush_secs, each of which sends the whole file."""


def _events() -> Iterator[tuple[float, bytes]]:
    """Time and serialised event: 5 MB, evenly over the day, one each 30 seconds."""
    count = int(DAY / 30)
    size = 5_000_000 // count - 105
    for step in range(count):
        yield step * 30.0, blob(step, size)


def _torch_bytes(opening: int) -> int:
    """What torch's writer sends: all there is at each flush, the first one when the file begins.

    Its writer flushes when an event arrives and the last flush was 120 seconds ago.
    """
    sent = size = opening
    flushed = 0.0
    for time, event in _events():
        size += len(framed(event))
        if time - flushed >= EVERY:
            flushed = time
            sent += size
    return sent + size  # close()


def test_torch_sends_the_whole_file_at_each_flush(
    new_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law that the next test counts with, seen at the server."""
    writer_module = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    place = new_place("moto")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", place.proxy.url)
    monkeypatch.setenv("S3_ENDPOINT", place.proxy.url)
    from tensorboard.compat.proto.event_pb2 import Event

    writer = writer_module.EventFileWriter(place.url)
    writer.flush()
    expected = size = len(place.only())
    for step in range(10):
        event = Event.FromString(blob(step, 20_000))
        writer.add_event(event)
        writer.flush()
        size += len(framed(event.SerializeToString()))
        expected += size
        assert len(place.only()) == size
    writer.close()
    assert sent_bytes(place.proxy) >= expected


@pytest.mark.parametrize("mode", ["memory", pytest.param("spool", marks=pytest.mark.slow)])
def test_a_slow_small_run(new_place: Callable[..., Place], tmp_path: Path, mode: str) -> None:
    """No more than 1.1 x the bytes of torch's writer, fresher, in 10,000 requests."""
    place = new_place("moto")
    now = 0.0
    storage = MemoryStorage() if mode == "memory" else FileStorage(tmp_path / "log")
    errors: list[Exception] = []
    log = EventLog(
        lambda _: LogFile.new(uuid.uuid4().hex, storage),
        roll_size=256 << 20,
        limit=2 << 30,
        report=errors.append,
    )
    target = Target(Bucket(place.bucket, Settings(endpoint_url=place.proxy.url)), "exp/run/")
    uploader = Uploader(log, target, Options(), errors.append, clock=lambda: now)
    lags: list[float] = []
    waiting: list[float] = []

    def upload_until(time: float) -> None:
        nonlocal now
        while uploader.due() <= time:
            now = max(now, uploader.due())
            uploader.advance()
            lags.extend(now - logged for logged in waiting)
            waiting.clear()

    for time, event in _events():
        upload_until(time)
        now = time
        log.write([event])
        waiting.append(time)
    upload_until(DAY + 3600)
    assert errors == []
    assert not uploader.pending
    assert len(place.only()) == log.logged.bytes
    sent = sent_bytes(place.proxy)
    bound = _torch_bytes(60)
    print(f"sent {sent:,}, torch {bound:,}: {sent / bound:.3f}; {place.proxy.counts.requests}")
    assert sent <= 1.1 * bound, sent / bound
    assert place.proxy.counts.total.requests <= 10_000
    assert max(lags) <= 121
    assert sum(lags) / len(lags) <= EVERY / 2
