from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.io_wrapper import IsTensorFlowEventsFile

from bucketboard.events.filename import EventFileName, newest_time

TIMES = st.integers(0, 9_999_999_999)


def test_a_new_name_is_as_tensorflow_writes_it() -> None:
    name = EventFileName.new(1_700_000_000, ".v2")
    host, pid = socket.gethostname(), os.getpid()
    assert str(name) == f"events.out.tfevents.1700000000.{host}.{pid}.{name.n}.v2"
    assert IsTensorFlowEventsFile(str(name))


def test_names_of_one_process_differ() -> None:
    names = {str(EventFileName.new(5)) for _ in range(10)}
    assert len(names) == 10


@given(TIMES, TIMES)
def test_names_sort_by_time_before_anything_else(one: int, other: int) -> None:
    names = [EventFileName(one, "zebra", 9, 9), EventFileName(other, "ant", 1, 1)]
    if one != other:
        assert sorted(map(str, names)) == [str(name) for name in sorted(names, key=lambda name: name.time)]


@given(st.lists(TIMES, min_size=1), st.sampled_from(["", "a/b/", "runs.1/x 1/", "é%2F/"]))
def test_the_newest_time_is_that_of_the_latest_name(times: list[int], prefix: str) -> None:
    names = [f"{prefix}{EventFileName(time, 'h.example.org', 12, 3, '.s')}" for time in times]
    assert newest_time(names) == max(times)


@given(TIMES, TIMES)
def test_a_name_can_be_moved_to_another_time(one: int, other: int) -> None:
    name = EventFileName(one, "h", 12, 3, ".s")
    assert str(name.at(other)) == str(EventFileName(other, "h", 12, 3, ".s"))


@pytest.mark.parametrize(
    ("names", "newest"),
    [
        ([], -1),
        (["readme.txt", "bucketboard.json", "events.out.tfevents", "events.out.tfevents."], -1),
        (["events.out.tfevents.soon.host"], -1),
        (["events.out.tfevents.12"], 12),
        (["events.out.tfevents.12.h", "x/events.out.tfevents.7.h"], 12),
        (["events.out.tfevents.99/other"], -1),
        (["my-events.out.tfevents.99.h"], -1),
        (["events.out.tfevents.1234567890123.h", "events.out.tfevents.5.h"], 5),
    ],
)
def test_only_event_files_with_a_plausible_time_count(names: list[str], newest: int) -> None:
    assert newest_time(names) == newest
