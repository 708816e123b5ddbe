"""A directory followed while it changes."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from logdirs import NAME, OPENING, append, event_file, eventually, framed, in_bucket, on_disk, write
from tensorboard.compat.proto.event_pb2 import Event

from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.replicator import Replicator
from bucketboard.logdir.report import SyncEvent
from bucketboard.logdir.watcher import Watcher
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import Fault, FaultKind
from promised import MIB, Place, records, steps


@dataclass
class Followed:
    """A directory, the place it is followed to, and what was told."""

    place: Place
    root: Path
    told: list[SyncEvent] = field(default_factory=list)
    replicators: list[Replicator] = field(default_factory=list)

    def start(self, **options: Any) -> Replicator:
        options = {"upload_every": 0.1, "max_lag": 0.2, "settle": 0.1, **options}
        made = Replicator(
            self.root,
            S3Url.parse(f"s3://{self.place.bucket}/exp"),
            SyncOptions(**options),
            Settings.resolve(endpoint_url=self.place.proxy.url),
            report=self.told.append,
        )
        self.replicators.append(made)
        made.start()
        return made

    def kinds(self, path: str = "") -> list[str]:
        return [event.kind for event in self.told if event.path == path]

    def stored(self, path: str) -> bytes:
        with contextlib.suppress(self.place.client.exceptions.ClientError):
            return self.place.get(f"exp/{path}")
        return b""


@pytest.fixture
def followed(new_place: Callable[..., Place], tmp_path: Path) -> Iterator[Callable[..., Followed]]:
    made: list[Followed] = []

    def make(server: str = "seaweedfs", **options: Any) -> Followed:
        made.append(Followed(new_place(server, **options), tmp_path / "runs"))
        return made[-1]

    yield make
    for one in made:
        for replicator in one.replicators:
            replicator.stop()


def event(step: int) -> bytes:
    return framed(Event(wall_time=1e9, step=step).SerializeToString())


def test_a_directory_that_comes_later_and_what_appears_in_it(followed: Callable[..., Followed]) -> None:
    it = followed()
    replicator = it.start()
    first = f"a/{NAME.format(1)}"
    write(it.root / first, OPENING + event(0))
    eventually(lambda: it.stored(first))
    for step in range(1, 4):
        append(it.root / first, event(step))
        eventually(lambda step=step: steps(it.stored(first)) == list(range(step + 1)))
    second = f"b/c/{NAME.format(1)}"
    write(it.root / second, OPENING + event(7))
    write(it.root / "b/notes.txt", b"notes")
    eventually(lambda: it.stored(second) and it.stored("b/notes.txt"))
    assert it.place.head(f"exp/{first}")["Metadata"]["bucketboard-state"] == "live"
    report = replicator.finish(60)
    assert report.complete
    assert in_bucket(it.place) == on_disk(it.root)
    assert it.place.head(f"exp/{first}")["Metadata"]["bucketboard-state"] == "closed"


def test_only_whole_records_are_seen_while_a_file_grows(followed: Callable[..., Followed]) -> None:
    it = followed()
    replicator = it.start()
    chance = random.Random(1)
    path = f"a/{NAME.format(1)}"
    write(it.root / path, OPENING)
    for step in range(60):
        record = framed(Event(step=step, graph_def=chance.randbytes(40_000)).SerializeToString())
        cut = chance.randrange(len(record))
        append(it.root / path, record[:cut])
        list(records(it.stored(path)))
        append(it.root / path, record[cut:])
    eventually(lambda: len(it.stored(path)) == (it.root / path).stat().st_size)
    replicator.finish(60)
    assert steps(it.stored(path)) == list(range(60))


def test_a_growing_directory_costs_what_is_new(followed: Callable[..., Followed]) -> None:
    """Beyond an object's first 5 MiB each byte travels once, and requests are four an upload."""
    it = followed(record=True)
    replicator = it.start(max_lag=0.5)
    paths = [f"run{number}/{NAME.format(1)}" for number in range(6)]
    for path in paths:
        write(it.root / path, OPENING)
    for _ in range(24):
        for path in paths:
            append(it.root / path, event_file(MIB // 2))
        eventually(lambda: len(it.stored(paths[-1])) == (it.root / paths[-1]).stat().st_size)
    assert replicator.finish(60).complete
    assert in_bucket(it.place) == on_disk(it.root)
    beyond = sum(len(data) - 5 * MIB for data in on_disk(it.root).values())
    counts = it.place.proxy.counts
    grown = counts["UploadPart"].requests
    assert beyond * 0.8 < counts["UploadPart"].bytes_sent <= beyond * 1.15
    appended = grown + len(paths)  # at the end each object is marked as finished, without a tail
    assert counts["UploadPartCopy"].requests == counts["CreateMultipartUpload"].requests == appended
    learning = counts["CompleteMultipartUpload"].requests - appended  # whether the server heeds conditions
    assert 1 <= learning <= len(paths)
    assert counts.total.requests <= 3 * appended + grown + counts["PutObject"].requests + 2 * learning + 10
    assert it.place.uploads() == []


def test_files_of_a_run_go_up_in_the_order_of_their_names(followed: Callable[..., Followed]) -> None:
    """A reader that sees a later file never goes back to an earlier one: that must be there whole."""
    it = followed(record=True)
    for number in range(1, 9):
        write(it.root / "a" / NAME.format(number), event_file(200_000))
    replicator = it.start(jobs=8)
    eventually(lambda: len(in_bucket(it.place)) == 8)
    replicator.finish(60)
    keys = [request.key for request in it.place.proxy.requests if request.operation == "PutObject"]
    first = [keys.index(f"exp/a/{NAME.format(number)}") for number in range(1, 9)]
    assert first == sorted(first)


def test_an_earlier_file_that_the_system_did_not_tell_of_goes_first(
    followed: Callable[..., Followed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made in a new directory before it is watched is not told; a scan would find it too late."""
    watchers: list[Watcher] = []
    monkeypatch.setattr(Watcher, "_run", lambda self: watchers.append(self))
    it = followed(record=True)
    it.root.mkdir(exist_ok=True)
    it.start()
    eventually(lambda: watchers)
    paths = [f"a/{NAME.format(number)}" for number in (1, 2)]
    for path in paths:
        write(it.root / path, OPENING + event(0))
    watchers[0]._changed({paths[1]})
    eventually(lambda: it.stored(paths[1]))
    sent = [request.key for request in it.place.proxy.requests if request.operation == "PutObject"]
    assert list(dict.fromkeys(sent)) == [f"exp/{path}" for path in paths]


def test_a_file_that_fails_holds_back_the_later_ones_of_its_run(followed: Callable[..., Followed]) -> None:
    it = followed()
    first, second = f"a/{NAME.format(1)}", f"a/{NAME.format(2)}"
    replicator = it.start()
    write(it.root / "b" / NAME.format(1), OPENING + event(0))
    eventually(lambda: it.stored(f"b/{NAME.format(1)}"))
    it.place.proxy.inject(Fault(FaultKind.STATUS, key=f"exp/{first}", status=409, code="OperationAborted"))
    write(it.root / first, OPENING + event(0))
    write(it.root / second, OPENING + event(1))
    eventually(lambda: "retry" in it.kinds(first))
    write(it.root / "b/after.txt", b"after")
    eventually(lambda: it.stored("b/after.txt"))
    assert it.kinds(second) == []
    it.place.proxy.clear()
    eventually(lambda: it.stored(second))
    assert it.stored(first)
    assert replicator.finish(60).complete


def test_an_outage_is_waited_for_with_few_requests(followed: Callable[..., Followed]) -> None:
    it = followed()
    paths = [f"run{number}/{NAME.format(1)}" for number in range(20)]
    for path in paths:
        write(it.root / path, OPENING + event(0))
    replicator = it.start()
    eventually(lambda: len(in_bucket(it.place)) == 20)
    before = it.place.proxy.counts.total.requests
    it.place.proxy.inject(Fault(FaultKind.STATUS))
    for path in paths:
        append(it.root / path, event(1))
    eventually(lambda: "retry" in [told.kind for told in it.told])
    eventually(lambda: it.place.proxy.counts.total.requests > before + 3)
    assert it.place.proxy.counts.total.requests < before + 60  # not 20 files, each trying again and again
    it.place.proxy.clear()
    eventually(lambda: all(steps(it.stored(path)) == [0, 1] for path in paths))
    assert replicator.finish(60).complete


def test_another_file_is_sent_when_it_has_settled(followed: Callable[..., Followed]) -> None:
    it = followed()
    replicator = it.start(settle=1.0)
    path = it.root / "a/model.ckpt"
    write(path, b"")
    eventually(lambda: it.kinds("a/model.ckpt") == ["sent"])
    for number in range(30):
        append(path, b"x" * 1000)
        assert len(it.stored("a/model.ckpt")) in (0, 30_000) or number == 0
    eventually(lambda: len(it.stored("a/model.ckpt")) == 30_000)
    eventually(lambda: it.kinds("a/model.ckpt") == ["sent", "sent"])
    replicator.finish(60)


def test_a_torn_end_goes_when_nothing_follows(followed: Callable[..., Followed]) -> None:
    it = followed()
    path = f"a/{NAME.format(1)}"
    replicator = it.start(torn_after=0.6)
    write(it.root / path, OPENING + event(0) + event(1)[:5])
    eventually(lambda: it.stored(path) == (it.root / path).read_bytes())
    assert it.kinds(path)[:2] == ["sent", "sent"]
    assert "damaged" in it.kinds(path)
    append(it.root / path, event(1)[5:] + event(2))
    eventually(lambda: steps_or_none(it.stored(path)) == [0, 1, 2])
    replicator.finish(60)


def steps_or_none(data: bytes) -> list[int] | None:
    try:
        return steps(data)
    except AssertionError:
        return None


def test_a_damaged_file_never_stops_the_others(followed: Callable[..., Followed]) -> None:
    it = followed()
    replicator = it.start()
    bad, good = f"a/{NAME.format(1)}", f"a/{NAME.format(2)}"
    write(it.root / bad, OPENING + event(0) + bytes(100) + event(1))
    write(it.root / good, OPENING + event(5))
    eventually(lambda: steps(it.stored(good) or OPENING) == [5])
    assert it.stored(bad) == OPENING + event(0)
    report = replicator.finish(60)
    assert [path for path, _ in report.damaged] == [bad]
    assert in_bucket(it.place) == on_disk(it.root)


def test_somebody_elses_object_is_left_alone(followed: Callable[..., Followed]) -> None:
    it = followed()
    replicator = it.start()
    path = f"a/{NAME.format(1)}"
    write(it.root / path, OPENING + event(0))
    eventually(lambda: it.stored(path))
    it.place.client.put_object(Bucket=it.place.bucket, Key=f"exp/{path}", Body=b"somebody else's")
    append(it.root / path, event(1))
    eventually(lambda: "retry" in it.kinds(path))
    report = replicator.finish(60)
    assert [name for name, _ in report.failed] == [path]
    assert "changed by somebody else" in report.failed[0][1]
    assert it.stored(path) == b"somebody else's"


def test_an_object_that_was_deleted_is_written_again(followed: Callable[..., Followed]) -> None:
    it = followed()
    replicator = it.start()
    path = f"a/{NAME.format(1)}"
    write(it.root / path, OPENING + event(0))
    eventually(lambda: it.stored(path))
    it.place.client.delete_object(Bucket=it.place.bucket, Key=f"exp/{path}")
    append(it.root / path, event(1))
    eventually(lambda: steps(it.stored(path) or OPENING) == [0, 1])
    assert replicator.finish(60).complete


def test_objects_of_deleted_files_go_if_asked(followed: Callable[..., Followed]) -> None:
    it = followed()
    for name in ("a", "b"):
        write(it.root / name / NAME.format(1), OPENING + event(0))
    replicator = it.start(delete=True)
    eventually(lambda: len(in_bucket(it.place)) == 2)
    shutil.rmtree(it.root / "a")
    assert replicator.finish(60).deleted == 1
    assert in_bucket(it.place) == on_disk(it.root)


@pytest.mark.parametrize("server", ["rclone", "seaweedfs"])
def test_where_objects_can_not_grow_files_are_sent_whole_and_it_is_said(
    followed: Callable[..., Followed], server: str
) -> None:
    it = followed(server, versioned=server == "seaweedfs", record=True)
    replicator = it.start()
    path = f"a/{NAME.format(1)}"
    write(it.root / path, event_file(6 * MIB))
    eventually(lambda: len(it.stored(path)) > 6 * MIB)
    append(it.root / path, event_file(1000))
    eventually(lambda: server == "rclone" or "whole" in it.kinds())
    report = replicator.finish(60)
    assert report.complete
    assert in_bucket(it.place) == on_disk(it.root)
    assert "whole" in it.kinds()
    assert it.place.proxy.counts["PutObject"].requests <= 4


def test_without_word_from_the_system_scans_find_what_changed(
    followed: Callable[..., Followed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bucketboard.logdir.replicator._SCAN_EVERY", 0.2)
    monkeypatch.setattr("bucketboard.logdir.replicator.on_network", lambda path: True)
    it = followed("moto")
    replicator = it.start()
    path = f"a/{NAME.format(1)}"
    write(it.root / path, OPENING + event(0))
    eventually(lambda: it.stored(path))
    append(it.root / path, event(1))
    eventually(lambda: steps(it.stored(path)) == [0, 1])
    assert replicator.finish(60).complete


def test_thousands_of_idle_files_cost_no_request(followed: Callable[..., Followed]) -> None:
    it = followed("moto")
    for number in range(3000):
        write(it.root / f"run{number}" / NAME.format(1), OPENING)
    first = it.start()
    assert first.finish(120).complete
    before = it.place.proxy.counts
    second = it.start()
    path = f"run7/{NAME.format(1)}"
    append(it.root / path, event(1))
    os.utime(it.root / path)
    eventually(lambda: steps(it.stored(path)) == [1])
    second.finish(60)
    used = (it.place.proxy.counts - before).requests
    assert used.pop("ListObjectsV2") == 3
    assert sum(used.values()) <= 3
