"""The event log: items in, event files out."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from bucketboard.errors import BucketboardError, DroppedError, InvalidError
from bucketboard.events.record import scan
from bucketboard.replication.log import EventLog, LogFile, State
from bucketboard.replication.position import Mark
from bucketboard.replication.storage import MemoryStorage

INFINITE = float("inf")


class Kept(MemoryStorage):
    """Memory that stays readable after the log has let go of it."""

    def remove(self) -> None:
        pass


class Log(EventLog):
    """A log that remembers all files it ever began, and what it reported."""

    def __init__(self, roll_size: float = INFINITE, limit: float = INFINITE, **options: Any) -> None:
        self.begun: list[LogFile] = []
        self.reported: list[BucketboardError] = []
        super().__init__(self.begin, roll_size=roll_size, limit=limit, report=self.reported.append, **options)

    def begin(self, number: int) -> LogFile:
        assert number == len(self.begun) or not self.begun
        self.begun.append(LogFile.new(f"log{number}", Kept()))
        return self.begun[-1]


def events_of(file: LogFile) -> list[Any]:
    data = file.storage.read(0, file.end.bytes)
    first, *rest = [Event.FromString(record.payload) for record in scan(data)]
    assert first.file_version == "brain.Event:2"
    assert file.end.events == len(rest)
    return rest


def steps_of(files: list[LogFile]) -> list[int]:
    return [event.step for file in files for event in events_of(file)]


def tagged(tag: str, step: int, *, metadata: bool, size: int = 0) -> bytes:
    value = Summary.Value(tag=tag, simple_value=step)
    if size:
        value.image.encoded_image_string = bytes(size)
    if metadata:
        value.metadata.plugin_data.plugin_name = f"plugin-{tag}"
    return bytes(Event(step=step, summary=Summary(value=[value])).SerializeToString())


ITEMS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 200)), max_size=40)


@given(ITEMS, st.integers(200, 1500), st.lists(st.integers(1, 7), min_size=1))
def test_files_roll_in_order_and_each_can_be_read_alone(
    items: list[Any], roll_size: int, batches: list[int]
) -> None:
    log, step = Log(roll_size), 0
    sent: set[str] = set()
    events: list[Any] = []
    for tag, scalar, size in items:
        step += 1
        if scalar:
            events.append((f"s{tag}", 1.0, step, 1.0))
        else:
            events.append(tagged(tag, step, metadata=tag not in sent, size=size))
            sent.add(tag)
    rest = list(events)
    for batch in batches * len(events):
        log.write(rest[:batch])
        rest = rest[batch:]
    assert steps_of(log.begun) == list(range(1, step + 1))
    assert log.logged == sum((file.end.mark for file in log.begun), Mark())
    assert log.logged.events == step
    for file in log.begun:
        seen = set()
        for event in events_of(file):
            [value] = event.summary.value
            if value.tag in sent:
                assert value.HasField("metadata") == (value.tag not in seen)
                seen.add(value.tag)
        assert file.end.bytes <= roll_size or file.end.events == 1 or len(events_of(file)) == 1
    assert all(file.state is State.ROLLED for file in log.begun[:-1])
    assert not log.begun or log.begun[-1].state is State.LIVE


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(150, 3000), st.integers(1, 9))
def test_past_the_limit_events_are_dropped_and_counted_exactly(
    sizes: list[int], limit: int, batch: int
) -> None:
    log = Log(limit=limit)
    items = [tagged("t", step, metadata=False, size=size) for step, size in enumerate(sizes)]
    for start in range(0, len(items), batch):
        log.write(items[start : start + batch])
    kept = steps_of(log.begun)
    assert kept == sorted(set(kept))
    assert log.dropped + len(kept) == len(items)
    assert bool(log.reported) == bool(log.dropped)
    assert all(type(error) is DroppedError and error.hint for error in log.reported)
    # The record that every file begins with is all that may stand above the limit.
    assert log.backlog.bytes <= limit + sum(file.begin.bytes for file in log.begun)


def test_one_outage_is_reported_once_and_the_next_one_again() -> None:
    log = Log(limit=1000)
    for step in range(500):
        log.write([("loss", 1.0, step, 1.0)])
    kept = log.logged.events
    assert (log.dropped, len(log.reported)) == (500 - kept, 1)
    [file] = log.files
    file.acknowledge(file.end, keep=1 << 40)
    for step in range(500, 1000):
        log.write([("loss", 1.0, step, 1.0)])
    assert (log.dropped, len(log.reported)) == (1000 - log.logged.events, 2)
    assert steps_of(log.begun)[:kept] == list(range(kept))
    assert steps_of(log.begun)[kept] == 500


def test_an_outage_is_reported_once_also_when_smaller_events_still_fit() -> None:
    log = Log(limit=5000)
    for step in range(20):
        log.write([tagged("image", step, metadata=False, size=10_000), ("loss", 1.0, step, 1.0)])
    assert log.dropped == 20
    assert len(log.reported) == 1


def test_a_dropped_first_value_does_not_take_its_tags_metadata_with_it() -> None:
    log = Log(limit=2000)
    log.write([("loss", 1.0, 0, 1.0)])
    log.write([tagged("t", 1, metadata=True, size=5000), tagged("t", 2, metadata=False)])
    _, event = events_of(log.begun[0])
    assert (event.step, log.dropped) == (2, 1)
    assert event.summary.value[0].metadata.plugin_data.plugin_name == "plugin-t"


def test_what_can_not_be_encoded_is_counted_and_reported_and_the_rest_kept() -> None:
    log = Log()
    bad: list[Any] = [("\ud800", 1.0, 1, 1.0), ("t", "text", 1, 1.0), ("t", 1.0, 1.5, 1.0), (5, 1.0, 1, 1.0)]
    log.write([("t", 1.0, 1, 1.0), *bad, ("t", 1.0, 2, 1.0)])
    assert steps_of(log.begun) == [1, 2]
    assert log.dropped == len(log.reported) == len(bad)
    assert {type(error) for error in log.reported} == {InvalidError}
    assert all(error.__cause__ and error.hint for error in log.reported)


def test_an_event_larger_than_the_roll_size_has_a_file_of_its_own() -> None:
    log = Log(roll_size=500)
    log.write(
        [
            tagged("t", 1, metadata=False),
            tagged("t", 2, metadata=False, size=5000),
            tagged("t", 3, metadata=False),
        ]
    )
    assert [steps_of([file]) for file in log.begun] == [[1], [2], [3]]


def test_nothing_written_begins_no_file() -> None:
    log = Log()
    log.write([])
    log.seal(State.CLOSED)
    assert (list(log.files), log.logged, log.stored, log.backlog) == ([], Mark(), Mark(), Mark())
    assert log.open_file() is log.open_file()
    log.seal(State.ROLLED)
    assert log.open_file() is log.begun[1]


def test_what_is_finished_still_counts() -> None:
    log = Log(roll_size=300)
    log.write([("loss", 1.0, step, 1.0) for step in range(30)])
    total = log.logged
    while len(log.files) > 1:
        file = log.files[0]
        file.acknowledge(file.end, keep=0)
        log.finish(file)
    assert log.logged == total
    assert log.stored + log.backlog == total
    assert log.written == total.bytes


@pytest.mark.parametrize("state", [State.LIVE, State.CLOSED])
@given(cut=st.floats(0, 1), roll_size=st.integers(300, 2000))
def test_dividing_moves_what_is_not_stored_to_new_files(state: State, cut: float, roll_size: int) -> None:
    log = Log()
    items = [tagged("t", step, metadata=step == 0) for step in range(30)]
    for item in items:
        log.write([item])
    log.seal(state) if state is not State.LIVE else None
    [old] = log.begun
    bounds = [record.offset for record in scan(old.storage.read(0, old.end.bytes))]
    boundary = old.boundary_at(bounds[round(cut * (len(bounds) - 1))])
    assert boundary is not None
    old.acknowledge(boundary, keep=1 << 40)
    log.roll_size = roll_size
    log._limit = 1  # what was accepted is never dropped
    log.divide()
    assert log.dropped == 0
    new = list(log.files)
    assert old not in new
    assert [*range(boundary.events), *steps_of(new)] == list(range(30))
    assert all(file.end.bytes <= roll_size for file in new)
    for file in new:
        assert [e.summary.value[0].HasField("metadata") for e in events_of(file)][:1] == [True]
    assert (log.stored, log.logged.events) == (boundary.mark, 30)
    assert all(file.state is State.ROLLED for file in new[:-1])
    assert new[-1].state is state


def test_dividing_a_file_found_in_the_spool_keeps_tags_readable() -> None:
    written = Log()
    written.write([tagged("t", step, metadata=step == 0) for step in range(10)])
    storage = Kept()
    storage.append(written.begun[0].storage.read(0, written.begun[0].end.bytes))
    file = LogFile.existing("found", storage)
    records = list(scan(storage.read(0, storage.size)))
    stored = file.boundary_at(records[5].offset)
    assert stored is not None
    log = Log(files=[file])
    file.seal(State.CLOSED)
    file.acknowledge(stored, keep=1 << 40)
    log.divide()
    [moved] = log.files
    assert steps_of([moved]) == list(range(stored.events, 10))
    assert events_of(moved)[0].summary.value[0].metadata.plugin_data.plugin_name == "plugin-t"


def test_threads_that_write_at_once_lose_nothing() -> None:
    log = Log(roll_size=10_000)

    def write(thread: int) -> None:
        for step in range(500):
            log.write([(f"t{thread}", 1.0, step, 1.0)])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen: Counter[str] = Counter()
    for file in log.begun:
        for event in events_of(file):
            tag = event.summary.value[0].tag
            assert event.step == seen[tag]
            seen[tag] += 1
    assert set(seen.values()) == {500}
