"""What is sent and stored, counted at the server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bucketboard import recover
from bucketboard.testing import Fault, FaultKind
from promised import MIB, Place, blob, first_record, framed, records, sent_bytes


class Reader:
    """Reads the only object over and over, and checks each time that it is a whole, longer prefix."""

    def __init__(self, place: Place) -> None:
        self._client = place.server.client()
        self._place = place
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.error: BaseException | None = None
        self.lengths: list[int] = []

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._client.close()
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            checked = b""
            while not self._end.wait(0.05):
                listing = self._client.list_objects_v2(Bucket=self._place.bucket)
                for entry in listing.get("Contents", ()):
                    data = self._client.get_object(Bucket=self._place.bucket, Key=entry["Key"])["Body"].read()
                    assert data.startswith(checked), "what was there has changed"
                    assert list(records(data, len(checked))) or data == checked
                    checked = data
                    self.lengths.append(len(data))
        except BaseException as error:
            self.error = error


SYNCED = 2_000_000
"""Bytes of log between two syncs."""


@pytest.mark.parametrize("syncs", [25, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(400)])])
def test_many_syncs_send_each_byte_about_once(
    new_place: Callable[..., Place], syncs: int, spool: Path | None
) -> None:
    """Only what is stored below 5 MiB is sent again: 200 MB with 100 syncs take 1.05 times the bytes."""
    place = new_place("moto")
    logged: list[bytes] = []
    total = 0
    writer = place.writer(spool=spool)
    for number in range(syncs):
        for part in range(4):
            logged.append(blob(4 * number + part, SYNCED // 4))
            total += len(logged[-1]) + 16
            writer.add_event(logged[-1])
        position = writer.sync(60)
        assert position.stored == position.appended
    writer.close()
    sent = sent_bytes(place.proxy)
    print(f"{syncs} syncs: sent {sent:,} of {total:,} logged: {sent / total:.4f}")
    again = 3 * SYNCED  # after the first sync and after the second
    assert sent <= total + again + 5000 * syncs
    assert sent <= (1 + 0.05 * 100 / syncs) * total
    assert place.proxy.counts.total.requests <= 5 * syncs + 10
    data = place.only()
    assert data[first_record(data) :] == b"".join(map(framed, logged))
    assert place.errors == []


def test_a_reader_sees_whole_records_only(new_place: Callable[..., Place], spool: Path | None) -> None:
    """It polls throughout: below and above the size from which the object is copied, and through rolls."""
    place = new_place("seaweedfs")
    logged = []
    with Reader(place) as reader:
        writer = place.writer(spool=spool)
        for step in range(60):
            logged.append(blob(step, 250_000))
            writer.add_event(logged[-1])
            writer.sync(60)
        writer.close()
        while not reader.lengths or reader.lengths[-1] < sum(map(len, logged)):
            assert reader.error is None
    data = place.only()
    assert data[first_record(data) :] == b"".join(map(framed, logged))
    assert len(set(reader.lengths)) > 10


def test_an_idle_writer_sends_nothing(new_place: Callable[..., Place], spool: Path | None) -> None:
    place = new_place("moto")
    writer = place.writer(spool=spool, upload_every=0.05)
    for step in range(3):
        writer.add_event(blob(step, 3 * MIB))
        writer.sync(30)
    requests = place.proxy.counts.total.requests
    time_to_act = threading.Event()
    for _ in range(5):
        writer.flush()
        writer.sync(10)
        time_to_act.wait(0.3)
    assert place.proxy.counts.total.requests == requests
    writer.close()


@pytest.mark.parametrize("server", ["moto", "seaweedfs"])
def test_a_versioned_bucket_keeps_no_superseded_bytes(
    new_place: Callable[..., Place], server: str, spool: Path | None, caplog: pytest.LogCaptureFixture
) -> None:
    place = new_place(server, versioned=True)
    writer = place.writer(spool=spool)
    logged = [blob(step, 250_000) for step in range(80)]
    for step, event in enumerate(logged):
        writer.add_event(event)
        if step % 4 == 3:
            writer.sync(30)
    writer.close()
    total = sum(map(len, logged))
    assert place.version_bytes() <= 2 * total
    assert place.payloads() == logged
    said = [record.getMessage() for record in caplog.records if record.name == "bucketboard"]
    assert len(said) == 1, said
    assert "segments" in said[0]
    assert "version" in said[0]
    assert place.errors == []
    states = {place.head(key)["Metadata"]["bucketboard-state"] for key in place.event_keys()[1:]}
    assert states <= {"rolled", "closed"}


@pytest.mark.parametrize("server", ["moto", "seaweedfs"])
def test_segments_are_a_minute_apart(
    new_place: Callable[..., Place], server: str, spool: Path | None
) -> None:
    """Of what is logged without sync(), one object is stored now and the rest when the minute is over."""
    place = new_place(server, versioned=True)
    writer = place.writer(spool=spool, upload_every=0.05)
    writer.add_scalar("loss", 0, 0, 1e9)
    writer.sync(30)
    before = len(place.event_keys())
    for step in range(1, 200):
        writer.add_scalar("loss", step, step, 1e9)
        writer.flush()
    assert len(place.event_keys()) <= before + 1
    writer.close()
    assert place.steps() == list(range(200))
    assert len(place.event_keys()) <= before + 2


@pytest.mark.parametrize("permission", ["list", "none"])
def test_an_identity_that_may_only_write(
    new_place: Callable[..., Place], spool: Path | None, permission: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything arrives in segments, whether listing is allowed or not."""
    place = new_place("seaweedfs", identity="writer" if permission == "none" else "writelist")
    writer = place.writer(spool=spool)
    logged = [blob(step, 1_500_000) for step in range(12)]
    for step, event in enumerate(logged):
        writer.add_event(event)
        if step % 3 == 2:
            writer.sync(30)
    writer.close()
    assert place.payloads() == logged
    assert len(place.event_keys()) > 1
    said = [record.getMessage() for record in caplog.records if record.name == "bucketboard"]
    assert len(said) == 1, said
    assert "segments" in said[0]
    assert place.uploads() == []


@pytest.mark.parametrize("kind", [FaultKind.LOST_REPLY, FaultKind.RESET])
def test_an_identity_that_may_only_write_with_faults(
    new_place: Callable[..., Place], spool: Path | None, kind: FaultKind
) -> None:
    place = new_place("seaweedfs", identity="writer")
    for nth in (1, 2, 4, 6):
        place.proxy.inject(Fault(kind, operation="PutObject", nth=nth))
    writer = place.writer(spool=spool)
    logged = [blob(step, 1000) for step in range(12)]
    for step, event in enumerate(logged):
        writer.add_event(event)
        if step % 3 == 2:
            writer.sync(60)
    writer.close()
    assert place.payloads() == logged


@pytest.mark.parametrize("server", ["rclone", "juicefs"])
def test_servers_that_can_do_less(new_place: Callable[..., Place], server: str, spool: Path | None) -> None:
    place = new_place(server)
    writer = place.writer(spool=spool)
    logged = [blob(step, 700_000) for step in range(30)]
    for step, event in enumerate(logged):
        writer.add_event(event)
        if step % 5 == 4:
            writer.sync(30)
    writer.close()
    assert place.payloads() == logged
    assert sent_bytes(place.proxy) <= 1.5 * sum(map(len, logged))
    assert len(place.event_keys()) == 1 or server == "rclone"
    assert place.errors == []
    if spool:
        assert list(spool.iterdir()) == []


def test_a_long_backlog_meets_a_bucket_with_versions(
    new_place: Callable[..., Place], spool: Path | None
) -> None:
    """A sync waits for all of it, also when dividing it into segments makes it a few bytes longer."""
    place = new_place("moto", versioned=True)
    writer = place.writer(spool=spool)
    logged = [blob(step, 4 * MIB) for step in range(9)] + [blob(9, 1)]
    for event in logged:
        writer.add_event(event)
    held = place.proxy.inject(Fault(FaultKind.HOLD, operation="PutObject", nth=5))
    released = threading.Timer(0.5, held.remove)
    released.start()
    position = writer.sync(60)
    released.join()
    assert position.stored.events == 10
    assert position.stored == position.appended
    writer.close()
    assert place.payloads() == logged


def test_a_sync_waits_for_the_last_segment_too(new_place: Callable[..., Place], tmp_path: Path) -> None:
    """Each segment begins with a record of its own: they are longer together than what was waited for."""
    place = new_place("moto", versioned=True)
    listing = place.proxy.inject(Fault(FaultKind.HOLD, operation="ListObjectsV2"))
    writer = place.writer(spool=tmp_path)
    half = 8 * MIB - 100  # two of them fill a segment, to fewer bytes than the last event has
    surplus = len(framed(blob(1, half))) - half
    for _ in range(14):
        writer.add_event(blob(1, half - surplus))
    writer.add_event(blob(2, 100))
    listing.wait_fired()
    release = threading.Timer(0.5, listing.remove)  # when sync() waits for the length as it is now
    release.start()
    position = writer.sync(60)
    release.join()
    assert position.stored == position.appended
    assert position.stored.events == 15
    writer.close()
    assert len(place.event_keys()) == 8


def test_recovered_spools_respect_versions(new_place: Callable[..., Place], tmp_path: Path) -> None:
    place = new_place("moto", versioned=True)
    place.proxy.down()
    writer = place.writer(spool=tmp_path, close_timeout=0)
    logged = [blob(step, MIB) for step in range(40)]
    for event in logged:
        writer.add_event(event)
    writer.close()
    place.proxy.up()
    assert {result.state for result in recover(tmp_path, wait=60)} == {"sent"}
    assert place.payloads() == logged
    assert place.version_bytes() <= 2 * sum(map(len, logged))
    assert list(tmp_path.iterdir()) == []


def test_segments_by_choice(
    new_place: Callable[..., Place], spool: Path | None, caplog: pytest.LogCaptureFixture
) -> None:
    place = new_place("moto")
    caplog.set_level(logging.INFO, "bucketboard")
    writer = place.writer(spool=spool, append="segments")
    for step in range(6):
        writer.add_scalar("loss", step, step, 1e9)
        if step % 2:
            writer.sync(30)
    writer.close()
    assert len(place.event_keys()) == 3
    assert place.steps() == list(range(6))
    assert place.proxy.counts["CreateMultipartUpload"].requests == 0
    assert [record for record in caplog.records if record.name == "bucketboard"] == []


def test_an_event_larger_than_an_upload_adds_may_be_the_first(
    new_place: Callable[..., Place], spool: Path | None
) -> None:
    """As an embedding or a video is: it goes whole, with the record that opens the file."""
    place = new_place("seaweedfs")
    writer = place.writer(spool=spool)
    logged = [blob(0, 17 * MIB), blob(1, 10), blob(2, 17 * MIB)]
    for event in logged:
        writer.add_event(event)
        writer.sync(30)
    writer.close()
    assert place.payloads() == logged
    assert place.errors == []
