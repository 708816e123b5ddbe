"""Events encoded by hand are the bytes that protobuf would give."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event, SessionLog, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import Summary

from bucketboard.events import event, record
from bucketboard.events.event import ScalarEncoder

INT64 = st.integers(-(2**63), 2**63 - 1)
STEPS = INT64 | st.sampled_from([0, 1, -1, 127, 128, 2**31, 2**63 - 1, -(2**63)])
FLOATS = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, 1e-45, 3.4028235e38, 3.4028236e38, 1e300, -1e300])
BITS = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
# Protobuf strings hold no surrogates; lengths around 127 are where the varints of the lengths grow.
TAGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.integers(80, 300).map("t".__mul__)


def scalar_event(tag: str, value: float, step: int, wall_time: float) -> bytes:
    """The payload of the record that the writer's encoder makes."""
    return ScalarEncoder().record(tag, value, step, wall_time)[record.HEADER_BYTES : -4]


def protobuf_scalar(tag: str, value: float, step: int, wall_time: float) -> bytes:
    message = Event(wall_time=wall_time, step=step, summary=Summary())
    message.summary.value.add(tag=tag, simple_value=value)
    return bytes(message.SerializeToString())


@given(tag=TAGS, value=FLOATS, step=STEPS, wall_time=FLOATS)
@example("", 0.0, 0, 0.0)
@example("loss", -0.0, 0, -0.0)
@example("loss", math.nan, -1, math.nan)
@example("損失/é", math.inf, 2**63 - 1, 1e300)
@example("t" * 5000, 1e300, -(2**63), 1.7e9)
def test_a_scalar_is_byte_identical_to_protobufs(tag: str, value: float, step: int, wall_time: float) -> None:
    expected = protobuf_scalar(tag, value, step, wall_time)
    assert scalar_event(tag, value, step, wall_time) == expected
    assert event.ScalarEncoder().record(tag, value, step, wall_time) == record.frame(expected)


@given(value=BITS, wall_time=BITS)
def test_every_bit_pattern_of_a_double_is_encoded_as_protobuf_does(value: float, wall_time: float) -> None:
    assert scalar_event("x", value, 1, wall_time) == protobuf_scalar("x", value, 1, wall_time)


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "a", "b/c", "t" * 120, "t" * 130]), FLOATS, STEPS, FLOATS), max_size=12
    )
)
def test_an_encoder_that_saw_other_events_encodes_the_same(events: list[Any]) -> None:
    encoder = event.ScalarEncoder()
    for entry in events:
        assert encoder.record(*entry) == record.frame(protobuf_scalar(*entry))


@given(length=st.integers(1, 40_000))
def test_tags_of_any_length(length: int) -> None:
    assert scalar_event("x" * length, 1, 1, 1) == protobuf_scalar("x" * length, 1, 1, 1)


def test_a_tag_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        event.ScalarEncoder().record("\ud800", 1.0, 1, 1.0)


@pytest.mark.parametrize("step", [1.5, "1"])
def test_a_step_that_is_no_integer_is_refused(step: Any) -> None:
    with pytest.raises(TypeError):
        event.ScalarEncoder().record("x", 1.0, step, 1.0)


@given(value=INT64)
def test_a_varint_is_protobufs(value: int) -> None:
    assert b"\x10" + event.varint(value) == (Event(step=value).SerializeToString() or b"\x10\x00")


@given(values=st.lists(st.tuples(TAGS, st.floats(width=32)), max_size=4), step=STEPS, wall_time=FLOATS)
def test_an_event_around_a_summary(values: list[tuple[str, float]], step: int, wall_time: float) -> None:
    summary = Summary()
    for tag, value in values:
        summary.value.add(tag=tag, simple_value=value)
    expected = Event(wall_time=wall_time, step=step, summary=summary).SerializeToString()
    assert event.summary_event(summary.SerializeToString(), step, wall_time) == expected


@given(step=STEPS, wall_time=FLOATS)
def test_the_first_event_of_a_file(step: int, wall_time: float) -> None:
    expected = Event(
        wall_time=wall_time,
        step=step,
        file_version="brain.Event:2",
        source_metadata=SourceMetadata(writer="bucketboard"),
    )
    assert event.file_version_event(wall_time, step) == expected.SerializeToString()


@given(step=STEPS, wall_time=FLOATS)
def test_the_event_that_starts_a_session(step: int, wall_time: float) -> None:
    expected = Event(wall_time=wall_time, step=step, session_log=SessionLog(status=SessionLog.START))
    assert event.session_start_event(step, wall_time) == expected.SerializeToString()
