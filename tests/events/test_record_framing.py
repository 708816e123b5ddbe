"""TFRecord framing: what TensorBoard writes and reads, and what is told of damaged or unfinished bytes."""

from __future__ import annotations

import io
import struct
from itertools import accumulate
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from bucketboard.errors import CorruptDataError
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import OVERHEAD_BYTES, crc32c, frame, scan, whole_records

PAYLOADS = st.lists(st.binary(max_size=40), max_size=5)
SOME_PAYLOADS = st.lists(st.binary(max_size=24), min_size=1, max_size=4)


def ends(payloads: list[bytes]) -> list[int]:
    """Where each record ends, from the format's definition."""
    return list(accumulate(len(payload) + OVERHEAD_BYTES for payload in payloads))


@given(st.lists(st.binary(max_size=200) | st.integers(1000, 5000).map(bytes), max_size=5))
def test_records_are_what_tensorboards_writer_writes(payloads: list[bytes]) -> None:
    written = io.BytesIO()
    writer = RecordWriter(written)
    for payload in payloads:
        writer.write(payload)
    assert b"".join(map(frame, payloads)) == written.getvalue()


def test_a_file_is_read_by_tensorboards_reader(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1.host"
    encoder = ScalarEncoder()
    records = [encoder.record("loss", step / 7, step, 1.5 * step) for step in range(300)]
    path.write_bytes(b"".join([frame(file_version_event(1.0)), *records]))
    first, *events = [Event.FromString(data) for data in RawEventFileLoader(str(path)).Load()]
    assert first.file_version == "brain.Event:2"
    assert [(event.step, event.wall_time) for event in events] == [(n, 1.5 * n) for n in range(300)]
    assert [event.summary.value[0].tag for event in events] == ["loss"] * 300


@given(PAYLOADS)
def test_scan_gives_back_what_was_framed(payloads: list[bytes]) -> None:
    data = b"".join(map(frame, payloads))
    records = list(scan(data))
    assert [entry.payload for entry in records] == payloads
    assert [entry.offset + entry.length for entry in records] == ends(payloads)
    assert b"".join(data[entry.offset : entry.offset + entry.length] for entry in records) == data


@given(SOME_PAYLOADS, st.integers(0, 3))
def test_scan_begins_at_any_record(payloads: list[bytes], number: int) -> None:
    begins = [0, *ends(payloads)]
    start = begins[min(number, len(payloads))]
    data = b"".join(map(frame, payloads))
    assert [entry.payload for entry in scan(data, start)] == payloads[min(number, len(payloads)) :]
    assert whole_records(data, start) == (len(data), len(payloads) - min(number, len(payloads)))


@given(SOME_PAYLOADS)
def test_a_file_cut_off_anywhere_gives_exactly_its_whole_records(payloads: list[bytes]) -> None:
    data = b"".join(map(frame, payloads))
    for length in range(len(data) + 1):
        whole = sum(end <= length for end in ends(payloads))
        assert [entry.payload for entry in scan(data[:length])] == payloads[:whole]
        assert whole_records(data[:length]) == ([0, *ends(payloads)][whole], whole)


@given(SOME_PAYLOADS, st.integers(1, 255))
def test_a_change_of_any_byte_is_detected(payloads: list[bytes], change: int) -> None:
    data = b"".join(map(frame, payloads))
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= change
        before = sum(end <= at for end in ends(payloads))
        seen: list[bytes] = []
        with pytest.raises(CorruptDataError, match=f"byte {[0, *ends(payloads)][before]}:"):
            seen.extend(entry.payload for entry in scan(bytes(damaged)))
        assert whole_records(bytes(damaged)) == ([0, *ends(payloads)][before], before)


@given(SOME_PAYLOADS, st.integers(1, 64))
def test_zeros_behind_the_records_are_corrupt_and_not_empty_records(
    payloads: list[bytes], zeros: int
) -> None:
    data = b"".join(map(frame, payloads))
    filled = data + bytes(zeros)
    assert whole_records(filled) == (len(data), len(payloads))
    if zeros >= OVERHEAD_BYTES:
        with pytest.raises(CorruptDataError, match="length"):
            list(scan(filled))


def test_a_huge_length_is_an_unfinished_record_and_allocates_nothing() -> None:
    packed = struct.pack("<Q", 2**63)
    crc = google_crc32c.value(packed)
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    data = frame(b"one") + packed + struct.pack("<I", masked) + bytes(64)
    assert [entry.payload for entry in scan(data)] == [b"one"]


@given(st.binary(max_size=100))
def test_bytes_that_are_no_records_never_raise_anything_else(data: bytes) -> None:
    end, count = whole_records(data)
    assert (end, count) == (len(b"".join(frame(entry.payload) for entry in scan(data[:end]))), count)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_checksum_can_be_continued(first: bytes, second: bytes) -> None:
    assert crc32c(second, crc32c(first)) == crc32c(first + second) == google_crc32c.value(first + second)
