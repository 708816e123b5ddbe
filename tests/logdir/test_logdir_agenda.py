"""The agenda: which file is next, against a list that is searched; backoffs; threads."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bucketboard.events.filename import is_event_file
from bucketboard.logdir.agenda import NEVER, Agenda, Entry
from bucketboard.logdir.cache import Row
from bucketboard.logdir.follower import Follower
from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.pace import Backoff
from bucketboard.logdir.tree import Found
from bucketboard.logdir.workers import Workers
from bucketboard.replication.uploader import Target
from bucketboard.store.bucket import Bucket
from bucketboard.store.capabilities import Capabilities
from bucketboard.store.settings import Settings

OPTIONS = SyncOptions(upload_every=10.0, settle=2.0)


def entry(path: str, *, size: int = 10, row: Row | None = None, append: str = "auto") -> Entry:
    target = Target(Bucket("b", Settings()), "")
    options = SyncOptions(append=append)
    follower = Follower(target, options, Capabilities(), row, None, lambda row, at_once: None)
    return Entry(Found(path, 1, size, 1), follower, 0.0, 0.0)


def added(agenda: Agenda, *paths: str, due: float = NEVER) -> list[Entry]:
    made = [entry(path) for path in paths]
    for each in made:
        agenda.entries[each.path] = each
        agenda.plan(each, due)
    return made


E1, E2, E3 = (f"run/events.out.tfevents.{n}" for n in (1, 2, 3))


def taken(agenda: Agenda, now: float) -> list[str]:
    paths = []
    while (each := agenda.take(now)) is not None:
        paths.append(each.path)
    return paths


def test_the_earliest_is_first_then_event_files_then_names() -> None:
    agenda = Agenda()
    added(agenda, "b.txt", "a.txt", "z/tfevents", "y/tfevents", due=5.0)
    added(agenda, "early.txt", due=1.0)
    added(agenda, "late/tfevents", due=9.0)
    assert agenda.take(0.5) is None
    assert agenda.next_due() == 1.0
    assert taken(agenda, 5.0) == ["early.txt", "y/tfevents", "z/tfevents", "a.txt", "b.txt"]
    assert agenda.next_due() == 9.0


def test_event_files_of_a_directory_go_one_after_the_other() -> None:
    agenda = Agenda()
    added(agenda, E3, E1, E2, "run/a.txt", "other/tfevents", due=1.0)
    assert taken(agenda, 1.0) == ["other/tfevents", E1, "run/a.txt"]
    assert agenda.next_due() == NEVER  # what waits for another is not due
    agenda.release(agenda.entries[E1])
    assert agenda.next_due() == 1.0
    assert taken(agenda, 1.0) == [E2]
    agenda.release(agenda.entries["run/a.txt"])
    assert taken(agenda, 1.0) == []
    agenda.release(agenda.entries[E2])
    assert taken(agenda, 1.0) == [E3]


def test_all_at_once_where_nobody_looks_on() -> None:
    agenda = Agenda(in_order=False)
    added(agenda, E2, E1, due=1.0)
    assert taken(agenda, 1.0) == [E1, E2]


def test_what_is_planned_while_busy_holds_when_it_is_released() -> None:
    agenda = Agenda()
    [one] = added(agenda, E1, due=1.0)
    assert agenda.take(1.0) is one
    assert one.busy
    assert one.due == NEVER
    agenda.plan(one, 3.0)
    agenda.plan(one, 2.0)
    assert agenda.take(9.0) is None
    agenda.release(one)
    assert agenda.next_due() == 2.0
    assert agenda.take(2.0) is one
    agenda.release(one)
    assert agenda.next_due() == NEVER


def test_the_last_plan_counts() -> None:
    agenda = Agenda()
    [one] = added(agenda, E1, due=1.0)
    agenda.plan(one, 5.0)
    assert agenda.next_due() == 5.0
    agenda.plan(one, 0.5)
    assert agenda.take(0.5) is one
    agenda.release(one)
    assert agenda.take(100.0) is None
    agenda.plan(one, 7.0)
    agenda.plan(one, NEVER)
    assert agenda.take(100.0) is None


def test_a_file_that_is_gone_is_not_taken_nor_what_it_held_forgotten() -> None:
    agenda = Agenda()
    one, _two, _three = added(agenda, E1, E2, E3, due=1.0)
    assert agenda.take(1.0) is one
    assert agenda.take(1.0) is None
    agenda.remove(E2)  # while it waits
    agenda.remove(E1)  # while it is sent
    agenda.remove("never/there")
    agenda.plan(one, 1.0)
    agenda.release(one)
    assert taken(agenda, 1.0) == [E3]
    assert [each.path for each in agenda] == [E3]


def test_a_new_file_of_the_same_name_is_another() -> None:
    agenda = Agenda()
    [old] = added(agenda, E1, due=1.0)
    assert agenda.take(1.0) is old
    agenda.remove(E1)
    [new] = added(agenda, E1, due=2.0)
    assert agenda.take(9.0) is None  # the old one's pass is not over
    agenda.plan(old, 1.0)
    agenda.release(old)
    assert agenda.next_due() == 2.0
    assert agenda.take(9.0) is new


PATHS = ["a/tfevents.1", "a/tfevents.2", "a/x.txt", "b/tfevents.1", "tfevents.1", "tfevents.2", "y.txt"]
PATH = st.sampled_from(PATHS)
TIMES = st.integers(0, 6).map(float) | st.just(NEVER)


class AgendaMachine(RuleBasedStateMachine):
    """An agenda, and a model that searches all files each time it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.agenda = Agenda()
        self.due: dict[Entry, float] = {}
        self.busy: list[Entry] = []

    def lane(self, each: Entry) -> str:
        return each.path.rpartition("/")[0] if is_event_file(each.path) else each.path

    def candidates(self) -> list[tuple[float, bool, str, Entry]]:
        lanes = {self.lane(each) for each in self.busy if is_event_file(each.path)}
        return sorted(
            (due, not each.events, each.path, each)
            for each, due in self.due.items()
            if due != NEVER and each not in self.busy and not (each.events and self.lane(each) in lanes)
        )

    @rule(path=PATH, due=TIMES)
    def plan(self, path: str, due: float) -> None:
        each = self.agenda.entries.get(path)
        if each is None:
            each = self.agenda.entries[path] = entry(path)
        self.due[each] = due
        self.agenda.plan(each, due)

    @rule(path=PATH)
    def remove(self, path: str) -> None:
        each = self.agenda.entries.get(path)
        self.agenda.remove(path)
        if each is not None:
            del self.due[each]

    @rule(now=st.integers(0, 6).map(float))
    def take(self, now: float) -> None:
        expected = [candidate for candidate in self.candidates() if candidate[0] <= now]
        each = self.agenda.take(now)
        assert (each is None) == (not expected)
        if each is not None:
            assert each is expected[0][3]
            self.due[each] = NEVER
            self.busy.append(each)

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        each = data.draw(st.sampled_from(self.busy))
        self.busy.remove(each)
        self.agenda.release(each)

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), due=TIMES)
    def plan_busy(self, data: st.DataObject, due: float) -> None:
        """Also one that was removed meanwhile, as a replicator does that hears of it later."""
        each = data.draw(st.sampled_from(self.busy))
        self.agenda.plan(each, due)
        if self.agenda.entries.get(each.path) is each:
            self.due[each] = due

    @invariant()
    def next_due_is_never_late(self) -> None:
        """A file that waits for another of its directory may look due until it is tried."""
        earliest = min((candidate[0] for candidate in self.candidates()), default=NEVER)
        assert self.agenda.next_due() <= earliest

    @invariant()
    def busy_as_taken(self) -> None:
        assert all(each.busy == (each in self.busy) for each in self.agenda)


AgendaMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestAgainstAModel = AgendaMachine.TestCase


def test_a_plan_of_what_is_old_does_not_hold_up_what_is_due() -> None:
    """Thousands of plans for one file cost no more than one look each."""
    agenda = Agenda()
    [one] = added(agenda, E1)
    for number in range(5000):
        agenda.plan(one, 10.0 + number)
    assert agenda.next_due() == 5009.0
    assert taken(agenda, 1e9) == [E1]


@pytest.mark.parametrize(
    ("path", "size", "row", "append", "last", "expected"),
    [
        (E1, 10, None, "auto", 100.0, 110.0),
        (E1, 10, None, "auto", float("-inf"), float("-inf")),  # at once
        ("a.txt", 10, None, "auto", float("-inf"), 203.0),  # once it has settled
        ("a.txt", 10, None, "auto", 199.0, 209.0),
        ("a.txt", 1 << 20, None, "auto", 199.0, 263.0),  # as long as sending it again is worth
        (E1, 1 << 21, Row(length=1 << 20), "auto", 199.0, 263.0),
        (E1, 1 << 30, Row(length=6 << 20), "auto", 199.0, 209.0),  # of these nothing is sent again
        (E1, 1 << 30, Row(length=6 << 20), "whole", 199.0, 3799.0),
    ],
)
def test_when_a_change_is_due(
    path: str, size: int, row: Row | None, append: str, last: float, expected: float
) -> None:
    each = entry(path, size=size, row=row, append=append)
    each.last_start, each.changed_at = last, 201.0
    assert each.due_after_change(OPTIONS, 201.0) == expected


def test_backoffs_double_up_to_half_a_minute_and_end_with_a_success() -> None:
    backoff = Backoff()
    assert backoff.until == float("-inf")
    for number in range(40):
        backoff.failed(100.0)
        wait = min(30.0, 0.5 * 2**number)
        assert 0.5 * wait <= backoff.until - 100.0 <= 1.5 * wait
        assert backoff.failures == number + 1
    backoff.succeeded()
    assert (backoff.failures, backoff.until) == (0, float("-inf"))
    backoff.failed(0.0)
    assert backoff.until <= 0.75


def test_backoffs_differ() -> None:
    waits = set()
    for _ in range(20):
        backoff = Backoff()
        backoff.failed(0.0)
        waits.add(backoff.until)
    assert len(waits) > 10


def threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


class Gate:
    """Work that shows that it runs, and waits to be let go."""

    def __init__(self) -> None:
        self.running = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def work(self) -> None:
        self.running.release()
        assert self.go.acquire(timeout=30)


def test_as_many_threads_as_there_is_work_and_no_more_than_allowed() -> None:
    workers, gate = Workers(3, "test-most"), Gate()
    assert threads("test-most") == []
    for number in range(5):
        workers.submit(gate.work)
        assert len(threads("test-most")) == min(number + 1, 3)
    for _ in range(3):
        assert gate.running.acquire(timeout=30)
    assert not gate.running.acquire(timeout=0.1)
    for _ in range(5):
        gate.go.release()
    for _ in range(2):
        assert gate.running.acquire(timeout=30)
    assert all(thread.daemon for thread in threads("test-most"))
    workers.close()
    for thread in threads("test-most"):
        thread.join(30)
        assert not thread.is_alive()


def test_a_thread_that_is_done_serves_again() -> None:
    workers = Workers(8, "test-again")
    for _ in range(20):
        done = threading.Event()
        workers.submit(done.set)
        assert done.wait(30)
        while workers._idle._value < 1:  # until it has said that it is free
            threading.Event().wait(0.001)
    assert len(threads("test-again")) == 1
    workers.close()
    [thread] = threads("test-again") or [None]
    if thread is not None:
        thread.join(30)


def test_everything_is_done_once_and_before_the_end() -> None:
    workers, done, lock = Workers(4, "test-once"), [], threading.Lock()

    def work(number: int) -> Callable[[], None]:
        def do() -> None:
            with lock:
                done.append(number)

        return do

    for number in range(500):
        workers.submit(work(number))
    workers.close()
    for thread in threads("test-once"):
        thread.join(30)
    assert sorted(done) == list(range(500))
