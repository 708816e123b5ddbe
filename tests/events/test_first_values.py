"""A tag's metadata stands in every file once, as a model made of protobuf objects says."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata

from bucketboard.events import record
from bucketboard.events.event import ScalarEncoder, file_version_event, session_start_event
from bucketboard.events.first_values import FirstValues

TAGS = st.sampled_from(["", "a", "b", "损失", "t" * 200])
PLUGINS = st.none() | st.sampled_from(["", "scalars", "images", "p" * 150])


def scalar_event(tag: str, value: float, step: int, wall_time: float) -> bytes:
    """The payload of the record that the writer's encoder makes."""
    return ScalarEncoder().record(tag, value, step, wall_time)[record.HEADER_BYTES : -4]


def value_of(tag: str, plugin: str | None, number: float = 1.0) -> Summary.Value:
    value = Summary.Value(tag=tag, simple_value=number)
    if plugin is not None:
        value.metadata.SetInParent()
        value.metadata.plugin_data.plugin_name = plugin
    return value


VALUES = st.builds(value_of, TAGS, PLUGINS, st.floats(width=32, allow_nan=False))
EVENTS = st.builds(
    lambda step, values: Event(step=step, wall_time=1.5, summary=Summary(value=values)),
    st.integers(0, 300),
    st.lists(VALUES, max_size=4),
)
NEW_FILE = "new file"


class Model:
    """What `FirstValues` does, on protobuf objects."""

    def __init__(self) -> None:
        self.metadata: dict[str, SummaryMetadata] = {}
        self.in_file: set[str] = set()

    def complete(self, event: Any) -> Any:
        event = Event.FromString(event.SerializeToString())
        for value in event.summary.value:
            if value.HasField("metadata"):
                self.metadata.setdefault(value.tag, value.metadata)
            elif value.tag not in self.in_file and value.tag in self.metadata:
                value.metadata.CopyFrom(self.metadata[value.tag])
            if value.HasField("metadata"):
                self.in_file.add(value.tag)
        return event


@given(st.lists(EVENTS | st.just(NEW_FILE), max_size=15))
def test_each_file_has_each_tags_metadata_once_as_the_model_has_it(steps: list[Any]) -> None:
    first_values, model = FirstValues(), Model()
    for step in steps:
        if step is NEW_FILE:
            first_values.new_file()
            model.in_file.clear()
            continue
        given_bytes = step.SerializeToString()
        completed, expected = first_values.complete(given_bytes), model.complete(step)
        assert Event.FromString(completed) == expected
        if expected == step:
            assert completed is given_bytes


@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_within_one_file_a_writer_that_sends_metadata_first_is_never_changed(events: list[Any]) -> None:
    first_values, sent = FirstValues(), set()
    for event in events:
        for value in event.summary.value:
            if value.tag not in sent:
                value.metadata.plugin_data.plugin_name = "p"
                sent.add(value.tag)
        data = event.SerializeToString()
        assert first_values.complete(data) is data


def in_next_file(*events: bytes) -> list[bytes]:
    """What becomes of ``events`` in a file that begins after one with metadata for the tag "a"."""
    first_values = FirstValues()
    first_values.complete(Event(summary=Summary(value=[value_of("a", "scalars")])).SerializeToString())
    first_values.new_file()
    return [first_values.complete(event) for event in events]


def test_the_metadata_of_the_first_file_is_what_later_files_repeat() -> None:
    first_values = FirstValues()
    for plugin in ("old", "new"):
        value = value_of("a", plugin)
        first_values.complete(Event(summary=Summary(value=[value])).SerializeToString())
    first_values.new_file()
    completed = Event.FromString(first_values.complete(scalar_event("a", 1, 1, 1)))
    assert completed.summary.value[0].metadata.plugin_data.plugin_name == "old"


def test_a_tag_twice_in_one_event_gets_it_once() -> None:
    event = Event(summary=Summary(value=[value_of("a", None), value_of("a", None)]))
    [completed] = in_next_file(event.SerializeToString())
    assert [v.HasField("metadata") for v in Event.FromString(completed).summary.value] == [True, False]


def test_all_that_is_not_added_stays_byte_for_byte() -> None:
    unknown = b"\xfa\x3e\x04tail"  # field 1007, which no Event has
    plain = scalar_event("a", 2.5, 7, 1.0)
    [completed] = in_next_file(unknown + plain + unknown)
    metadata = value_of("a", "scalars").metadata.SerializeToString()
    head, tail = plain.split(b"\x15")
    assert completed.startswith(unknown + head[: head.index(b"\x2a")] + b"\x2a")
    assert completed.endswith(b"\x15" + tail + b"\x4a" + bytes([len(metadata)]) + metadata + unknown)
    assert len(completed) == len(unknown + plain + unknown) + 2 + len(metadata)


def test_a_summary_in_two_pieces_as_protobuf_allows_it() -> None:
    [completed] = in_next_file(scalar_event("a", 1, 1, 1) + scalar_event("b", 2, 1, 1))
    values = Event.FromString(completed).summary.value
    assert [(v.tag, v.metadata.plugin_data.plugin_name) for v in values] == [("a", "scalars"), ("b", "")]


@pytest.mark.parametrize("data", [file_version_event(1.0), session_start_event(3, 1.0), b""])
def test_events_without_summary_pass(data: bytes) -> None:
    assert in_next_file(data) == [data]


@given(st.binary(max_size=60))
def test_without_known_metadata_any_bytes_pass(data: bytes) -> None:
    assert FirstValues().complete(data) == data


def test_an_event_cut_off_anywhere_within_a_field_is_returned_as_it_is() -> None:
    event = scalar_event("a", 2.5, 7, 1.0)
    for length in range(len(event)):
        assert in_next_file(event[:length]) == [event[:length]]


def test_after_bytes_that_are_no_event_the_next_one_is_completed() -> None:
    broken, whole = scalar_event("a", 1, 1, 1) + b"\x0f", scalar_event("a", 2, 2, 2)
    kept, completed = in_next_file(broken, whole)
    assert kept == broken
    assert Event.FromString(completed).summary.value[0].HasField("metadata")


@pytest.mark.parametrize("byte", [b"\xff", b"\x80"])
@pytest.mark.timeout(30)
def test_a_megabyte_of_garbage_takes_no_time(byte: bytes) -> None:
    data = byte * (1 << 20)
    done = threading.Event()
    threading.Thread(target=lambda: done.set() if in_next_file(data) == [data] else None, daemon=True).start()
    assert done.wait(5)
