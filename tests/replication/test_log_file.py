"""One event file of the log: where it may be cut, and what S3 has of it."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import google_crc32c
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bucketboard.errors import CorruptDataError
from bucketboard.events.record import frame, scan
from bucketboard.replication.log import LogFile, State
from bucketboard.replication.position import Boundary, Mark
from bucketboard.replication.storage import MemoryStorage

KEEP = 200_000


class LogFileMachine(RuleBasedStateMachine):
    """A log file against the list of all its boundaries."""

    def __init__(self) -> None:
        super().__init__()
        self.file = LogFile.new("log", MemoryStorage())
        self.data = self.file.storage.read(0, self.file.end.bytes)
        self.all = {self.file.begin.bytes: self.file.begin}
        self.first = 0
        self.largest = 0

    @rule(sizes=st.lists(st.integers(0, 100) | st.integers(20_000, 90_000), min_size=1, max_size=5))
    def append(self, sizes: list[int]) -> None:
        """Several records at once, as the log appends them: they can only be cut behind the last."""
        data = b"".join(frame(os.urandom(size)) for size in sizes)
        self.data += data
        self.largest = max(self.largest, len(data))
        self.file.append(data, len(sizes))
        end = Boundary(len(self.data), self.file.end.events, google_crc32c.value(self.data))
        self.all[end.bytes] = end
        assert self.file.end == end

    @precondition(lambda self: self.file.stored.bytes < len(self.data))
    @rule(limit=st.sampled_from([0, 64 * 1024, 100_000, 1 << 20, 1 << 40]))
    def upload(self, limit: int) -> None:
        chosen = self.file.next_boundary(limit)
        assert chosen == self.all[chosen.bytes]
        assert chosen.bytes > self.file.stored.bytes
        # Boundaries are remembered at a distance: that much, or one append, is exceeded or missed at most.
        slack = 64 * 1024 + self.largest
        assert (
            min(limit, len(self.data) - self.file.stored.bytes) - slack
            <= chosen.bytes - self.file.stored.bytes
        )
        assert chosen.bytes - self.file.stored.bytes <= max(limit, slack)
        if self.file.stored.bytes + limit >= len(self.data):
            assert chosen == self.file.end
        self.file.acknowledge(chosen, keep=KEEP)
        if chosen.bytes >= KEEP:
            self.first = chosen.bytes
        assert self.file.stored == chosen

    @rule(at=st.floats(0, 1))
    def is_a_boundary_only_where_a_record_ends(self, at: float) -> None:
        length = round(at * len(self.data))
        found = self.file.boundary_at(length)
        if found is not None and length:
            assert found.bytes == length
            assert found.crc == google_crc32c.value(self.data[:length])

    @invariant()
    def knows_its_ends(self) -> None:
        file = self.file
        assert file.storage.first == self.first
        assert file.boundary_at(0) == Boundary()
        assert file.boundary_at(file.end.bytes) == file.end == self.all[len(self.data)]
        assert file.boundary_at(file.stored.bytes) == file.stored
        assert file.boundary_at(file.begin.bytes) == file.begin
        assert file.boundary_at(len(self.data) + 1) is None
        if file.stored == file.end:
            assert file.next_boundary(1 << 40) == file.stored
        if self.first == 0:
            for boundary in list(self.all.values())[-3:]:
                assert file.boundary_at(boundary.bytes) == boundary


TestLogFile = LogFileMachine.TestCase
TestLogFile.settings = settings(max_examples=40, stateful_step_count=30)


def test_a_new_file_holds_its_first_record_and_no_event() -> None:
    file = LogFile.new("log", MemoryStorage())
    [first] = scan(file.storage.read(0, file.end.bytes))
    assert b"brain.Event:2" in first.payload
    assert (file.begin, file.stored, file.end.events) == (file.end, Boundary(), 0)
    assert file.end.mark == Mark(first.length, 0)
    assert not file.sealed
    file.seal(State.ROLLED)
    assert file.sealed


def many_records(count: int, size: int) -> LogFile:
    file = LogFile.new("log", MemoryStorage())
    for _ in range(count):
        file.append(frame(bytes(size)), 1)
    return file


def test_boundaries_take_little_memory_and_leave_no_large_gap() -> None:
    file = many_records(50_000, 30)
    assert len(file._boundaries) < 60
    while file.stored != file.end:
        begun = file.stored.bytes
        file.acknowledge(file.next_boundary(200_000), keep=1 << 40)
        sent = file.stored.bytes - begun
        assert sent <= 200_000
        assert sent > 60_000 or file.stored == file.end


def test_an_object_that_is_gone_is_sent_again_from_the_start() -> None:
    file = many_records(10_000, 30)
    file.acknowledge(file.end, keep=1 << 40)
    file.acknowledge(Boundary(), keep=1 << 40)
    assert file.next_boundary(1 << 40) == file.end


def existing(data: bytes) -> LogFile:
    storage = MemoryStorage()
    storage.append(data)
    return LogFile.existing("log", storage, "name")


def test_a_file_found_in_the_spool_has_the_same_boundaries() -> None:
    written = many_records(3000, 50)
    found = existing(written.storage.read(0, written.end.bytes))
    assert (found.begin, found.end, found.stored) == (written.begin, written.end, Boundary())
    assert found.name == "name"
    for length in (written.begin.bytes + 66 * 7, written.end.bytes - 66):
        assert found.boundary_at(length) == written.boundary_at(length) is not None
        assert found.boundary_at(length + 1) is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "zeros"])
def test_a_damaged_end_is_left_out(damage: str) -> None:
    written = many_records(4, 50)
    whole = written.storage.read(0, written.end.bytes)
    data = {"cut": whole[:-1], "flipped": whole[:-30] + b"?" + whole[-29:], "zeros": whole + bytes(40)}[
        damage
    ]
    found = existing(data)
    assert found.end.events == (4 if damage == "zeros" else 3)
    assert found.end.bytes == (len(whole) if damage == "zeros" else len(whole) - 66)
    assert found.end.crc == google_crc32c.value(data[: found.end.bytes])


@pytest.mark.parametrize("data", [b"", b"garbage", bytes(100), frame(b"x" * 50)[:-1]])
def test_a_file_without_a_whole_record_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptDataError, match="log"):
        existing(data)


def test_finding_a_boundary_in_a_large_file_is_quick() -> None:
    file = many_records(100_000, 30)
    began = time.process_time()
    for _ in range(200):
        file.next_boundary(1 << 40)
        file.acknowledge(file.stored, keep=1 << 40)
    assert time.process_time() - began < 2


def test_appending_and_acknowledging_may_happen_at_once() -> None:
    file = LogFile.new("log", MemoryStorage())
    failures: list[Any] = []

    def append() -> None:
        for _ in range(5000):
            file.append(frame(bytes(500)), 1)

    thread = threading.Thread(target=append)
    thread.start()
    while thread.is_alive() or file.stored != file.end:
        boundary = file.next_boundary(1 << 20)
        start = max(file.storage.first, file.stored.bytes)
        data = file.storage.read(start, boundary.bytes)
        if google_crc32c.extend(file.stored.crc if start else 0, data) != boundary.crc:
            failures.append(boundary)
        file.acknowledge(boundary, keep=0)
    thread.join()
    assert not failures
    assert file.end.events == 5000
