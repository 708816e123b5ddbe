"""When a log goes to segments: what is stored stays, the rest moves to new files, and nothing is there twice.

In a versioned bucket, which each writer finds out by its first reply.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from memory_s3 import Armed, Killed, MemoryBucket, MemoryS3
from memory_writer import UNIT, PatientUploader, Writer, event, make_small, owner_of

from bucketboard.errors import UnavailableError
from bucketboard.events.record import scan
from bucketboard.replication import recover
from bucketboard.replication.log import EventLog, LogFile, State
from bucketboard.replication.recover import Recovered
from bucketboard.replication.storage import MemoryStorage
from bucketboard.replication.uploader import Uploader
from bucketboard.store import capabilities


class World:
    """A versioned bucket, and a spool whose writers may die."""

    def __init__(self, spool: Path) -> None:
        self.name = f"dividing-{uuid4().hex}"
        self.s3 = MemoryS3(UNIT, versioned=True)
        self.spool = spool
        spool.mkdir(mode=0o700)
        can = capabilities.capabilities_of(MemoryBucket(self.name, self.s3))
        can.put_conditions = can.complete_conditions = True  # as on AWS: nothing is to be found out first

    def writer(self, roll: float = float("inf")) -> Writer:
        return Writer(self.s3, self.name, self.spool, [0.0], roll)

    def log(self, writer: Writer, *sizes: int) -> None:
        for size in sizes:
            writer.appended.append(event(b"%04d" % len(writer.appended) + bytes(size)))
            writer.log.write([writer.appended[-1]])

    def recover(self, uploader: type[Uploader] = Uploader) -> list[Recovered]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recover, "Bucket", lambda name, settings: MemoryBucket(self.name, self.s3))
            patch.setattr(recover, "Uploader", uploader)
            return recover.recover_logs(self.spool, wait=30)

    def stored(self, writer: Writer) -> list[bytes]:
        return [
            bytes(entry.payload)
            for _, found in sorted(self.s3.objects.items())
            if owner_of(found.content) == writer.id
            for entry in list(scan(found.body))[1:]
        ]

    def check(self, *writers: Writer) -> None:
        """Everything is in the bucket, once and in order, and nothing else is left anywhere."""
        for writer in writers:
            assert self.stored(writer) == writer.appended
        assert self.s3.uploads == {}
        assert list(self.spool.iterdir()) == []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    make_small(monkeypatch)
    return World(tmp_path / "spool")


class InTheForeground(PatientUploader):
    tries = 1


def die_in(writer: Writer, operation: str, *, late: bool) -> None:
    writer.bucket.armed.append(Armed("killed-after" if late else "killed", 0, operation))
    with pytest.raises(Killed):
        writer.advance()
    writer.process.die()


@pytest.mark.parametrize("known", [False, True])
def test_a_recovery_sends_nothing_twice_where_versions_are_known_beforehand(
    world: World, known: bool
) -> None:
    """As after the recovery of another writer in the same process: what this one had stored is looked for."""
    dead = [world.writer(), world.writer()]
    for writer in dead:
        world.log(writer, 10, 20)
        die_in(writer, "PutObject", late=True)  # stored, and nobody knows
    capabilities._known.clear()
    if known:
        capabilities.capabilities_of(dead[0].bucket).versioned = True
    assert {each.state for each in world.recover()} == {"sent"}
    world.check(*dead)


def test_an_upload_that_a_dead_writer_left_goes_when_its_rest_goes_to_segments(world: World) -> None:
    writer = world.writer()
    world.log(writer, UNIT + 10, UNIT)
    writer.bucket.armed.append(Armed("lost", 0, "PutObject"))
    writer.advance()
    world.log(writer, 0, UNIT)
    die_in(writer, "UploadPart", late=False)
    assert len(world.s3.uploads) == 1
    assert {each.state for each in world.recover()} == {"sent"}
    world.check(writer)


def test_an_upload_that_a_lost_reply_left_goes_when_the_rest_goes_to_segments(world: World) -> None:
    """Of a living writer, that learns of the versions by its next reply."""
    writer = world.writer()
    world.log(writer, 5 * UNIT)
    writer.bucket.armed.append(Armed("lost", 0, "CreateMultipartUpload"))
    writer.advance()
    assert len(world.s3.uploads) == 1
    world.log(writer, 10)
    writer.log.seal(State.CLOSED)
    writer.uploader.begin_close()
    writer.advance()
    assert writer.uploader.complete
    world.check(writer)


def test_killed_between_any_two_changes_of_files_each_record_counts_once(world: World) -> None:
    """While the log is divided, and before and after that."""
    for moment in itertools.count():
        world.s3.objects.clear()
        writer = world.writer(roll=3 * UNIT)
        world.log(writer, *[UNIT] * 5)
        writer.process.steps_left = moment
        try:
            writer.uploader.advance()
        except Killed:
            writer.process.die()
        else:
            break
        assert {each.state for each in world.recover(InTheForeground)} <= {"sent"}
        world.check(writer)
    assert moment > 20
    writer.process.die()


def test_a_dry_run_touches_nothing_of_a_division_that_was_killed(world: World) -> None:
    writer = world.writer(roll=3 * UNIT)
    world.log(writer, *[UNIT] * 4)
    writer.bucket.armed.append(Armed("killed", 1, "PutObject"))
    with pytest.raises(Killed):
        writer.uploader.advance()
    writer.process.die()
    before = {path: path.read_bytes() for path in world.spool.iterdir()}
    assert {each.state for each in recover.recover_logs(world.spool, dry_run=True)} == {"pending"}
    assert {path: path.read_bytes() for path in world.spool.iterdir()} == before
    world.recover()
    world.check(writer)


def test_a_recovery_that_gives_up_after_a_division_says_that_not_all_is_sent(world: World) -> None:
    """The old files are gone then, what is left lies in new ones, and no error need have happened."""
    writer = world.writer()
    world.log(writer, *[UNIT] * 12)
    die_in(writer, "PutObject", late=True)

    class OutOfTime(PatientUploader):
        tries = 1

        def _change_to_segments(self) -> None:
            super()._change_to_segments()
            self._stopped = True
            self._log.close()  # as `let_go` does, in the middle of an attempt

        def close(self, timeout: float) -> bool:
            with pytest.raises(OSError, match="file descriptor"):
                super().close(timeout)
            return Uploader.close(self, 0.0)

    results = world.recover(OutOfTime)
    assert [each.state for each in results] == ["failed"]
    assert "not stored within" in results[0].error
    assert {each.state for each in world.recover()} == {"sent"}
    world.check(writer)


def in_memory(begin: Callable[[int], LogFile]) -> EventLog:
    return EventLog(begin, roll_size=1000, limit=float("inf"), report=lambda error: None)


def test_a_log_is_never_empty_between_two_steps_of_a_division() -> None:
    """Who waits for the end of the uploads would take it for that."""
    seen: list[bool] = []
    others: list[threading.Thread] = []

    def begin(number: int) -> LogFile:
        if number == 1:
            other = threading.Thread(target=lambda: seen.append(log.empty))
            other.start()
            other.join(0.1)
            others.append(other)
        return LogFile.new(f"log{number}", MemoryStorage())

    log = in_memory(begin)
    log.write([event(bytes(10))])
    log.divide()
    others[0].join()
    assert seen == [False]


class FullDisk(MemoryStorage):
    """Its bytes stay in memory alone while there is no room."""

    full = False

    @property
    def written(self) -> int:
        return 0 if self.full else self.size


def test_without_room_nothing_is_divided_and_nothing_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    storages: list[FullDisk] = []

    def begin(number: int) -> LogFile:
        storages.append(FullDisk())
        return LogFile.new(f"log{number}", storages[-1])

    def steps(log: EventLog) -> list[Any]:
        files = [file.storage.read(0, file.end.bytes) for file in log.files]
        return [entry.payload for data in files for entry in list(scan(data))[1:]]

    log = in_memory(begin)
    events = [event(bytes([number]) * 150) for number in range(10)]
    log.write(events[:8])
    old = list(log.files)
    assert len(old) > 1
    monkeypatch.setattr(FullDisk, "full", True)
    for storage in storages:
        monkeypatch.setattr(storage, "full", False, raising=False)
    with pytest.raises(UnavailableError, match="can't be moved"):
        log.divide()
    assert list(log.files) == old
    monkeypatch.setattr(FullDisk, "full", False)
    log.write(events[8:])
    log.divide()
    assert not set(old) & set(log.files)
    assert (steps(log), log.dropped, log.logged.events) == (events, 0, 10)
