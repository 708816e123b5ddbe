"""What is sent (the append plan) and when (the cadence): pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketboard.replication.cadence import Cadence
from bucketboard.replication.plan import MAX_PART, MAX_TAIL, MIN_PART, Append, Put, plan

MIB = 1 << 20
STORED = st.integers(0, 64 << 30) | st.sampled_from(
    [0, 1, MIN_PART - 1, MIN_PART, MIN_PART + 1, 256 * MIB - 1, 256 * MIB, 256 * MIB + 1, 1024 * MIB + 3]
)
NEW = st.integers(0, MAX_TAIL + MIB)


@given(STORED, NEW)
def test_the_parts_cover_the_object_exactly_and_are_parts_that_s3_accepts(stored: int, new: int) -> None:
    step = plan(stored, stored + new)
    if isinstance(step, Put):
        assert stored < MIN_PART
        assert step.stop == stored + new
        return
    parts = [*step.copies, *([(step.tail, step.stop)] if step.stop > step.tail else [])]
    assert parts[0][0] == 0
    assert [begin for begin, _ in parts[1:]] == [end for _, end in parts[:-1]]
    assert parts[-1][1] == step.stop == stored + new
    lengths = [end - begin for begin, end in parts]
    assert all(MIN_PART <= length <= MAX_PART for length in lengths[:-1])
    assert 0 < lengths[-1] <= MAX_PART
    assert len(parts) <= 10_000


@given(STORED, NEW)
def test_copied_ranges_are_equal_and_end_within_what_is_stored(stored: int, new: int) -> None:
    step = plan(stored, stored + new)
    if isinstance(step, Append):
        lengths = (
            {end - begin for begin, end in step.copies[:-1]} if new == 0 else {b - a for a, b in step.copies}
        )
        assert len(lengths) <= 1
        assert step.copies[-1][1] == step.tail <= stored
        assert stored - step.tail < len(step.copies)  # no more is sent again than equal ranges need


@given(st.integers(MIN_PART, 64 << 30), NEW, st.data())
def test_the_tail_begins_where_bytes_are_still_at_hand(stored: int, new: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, stored) | st.just(stored))
    step = plan(stored, stored + new, first=first)
    assert isinstance(step, Append)
    assert first <= step.tail <= stored
    assert step.copies[-1][1] == step.tail


def test_small_objects_are_sent_whole_and_large_ones_copied() -> None:
    assert plan(0, 10) == Put(10)
    assert plan(MIN_PART - 1, 6 * MIB) == Put(6 * MIB)
    assert plan(MIN_PART, 6 * MIB) == Append(((0, MIN_PART),), MIN_PART, 6 * MIB)
    assert plan(MIN_PART, MIN_PART) == Append(((0, MIN_PART),), MIN_PART, MIN_PART)
    half = 128 * MIB
    assert plan(256 * MIB + 1, 257 * MIB) == Append(((0, half), (half, 256 * MIB)), 256 * MIB, 257 * MIB)
    assert plan(256 * MIB + 1, 257 * MIB, first=256 * MIB + 1).copies[-1] == (half, 256 * MIB + 1)  # type: ignore[union-attr]


QUIET = {"age": 0.0, "resent": 0, "last_duration": 0.0}


@pytest.mark.parametrize(
    ("cadence", "now", "expected"),
    [
        (Cadence(), {}, 10),
        (Cadence(), {"age": -5.0}, 10),
        (Cadence(), {"age": 600.0}, 10),
        (Cadence(), {"age": 2100.0}, 35),
        (Cadence(), {"age": 3600.0}, 60),
        (Cadence(), {"age": 1e6}, 60),
        (Cadence(), {"resent": 16 * 1024 * 30}, 30),
        (Cadence(), {"resent": 16 * 1024 * 5}, 10),
        (Cadence(), {"resent": MIN_PART}, 120),
        (Cadence(), {"last_duration": 1.5}, 15),
        (Cadence(), {"last_duration": 0.5}, 10),
        (Cadence(), {"last_duration": 500.0}, 120),
        (Cadence(), {"segments": True}, 60),
        (Cadence(), {"segments": True, "last_duration": 500.0}, 120),
        (Cadence(1.0), {"age": 1e6}, 1),
        (Cadence(1.0), {"resent": 16 * 1024 * 30}, 30),
        (Cadence(1.0), {"segments": True}, 60),
        (Cadence(90.0), {"segments": True}, 90),
        (Cadence(500.0), {}, 120),
        (Cadence(5.0, max_lag=2.0), {}, 2),
        (Cadence(max_lag=5.0), {"segments": True}, 60),
        (Cadence(max_lag=300.0), {"last_duration": 20.0}, 200),
    ],
)
def test_the_interval_to_the_next_upload(cadence: Cadence, now: dict[str, float], expected: float) -> None:
    assert cadence.interval(**{**QUIET, **now}) == expected  # type: ignore[arg-type]


@given(st.floats(0, 1e6), st.integers(0, MIN_PART), st.floats(0, 1e3), st.floats(0.1, 1e3), st.booleans())
def test_an_interval_is_never_longer_than_the_allowed_lag(
    age: float, resent: int, duration: float, max_lag: float, segments: bool
) -> None:
    interval = Cadence(None, max_lag).interval(
        age=age, resent=resent, last_duration=duration, segments=segments
    )
    assert 0 < interval <= (max(60.0, max_lag) if segments else max_lag)
