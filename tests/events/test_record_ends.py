"""Where whole records end: the native core and the Python reference."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketboard.events import native
from bucketboard.events.record import crc32c, frame, whole_records
from bucketboard.events.reference import MAX_RECORD
from bucketboard.events.scanner import record_ends


@pytest.fixture(params=["native", "reference"])
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "reference":
        monkeypatch.setattr(native, "core", None)
    elif native.core is None:
        pytest.skip("built without a compiler")
    return request.param


def _header(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    crc = crc32c(packed)
    return packed + struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def test_every_prefix_of_a_file(core: str) -> None:
    records = [frame(b"x" * n) for n in (0, 1, 7, 8, 9, 300)]
    data = b"".join(records)
    ends = [sum(map(len, records[:n])) for n in range(len(records) + 1)]
    for stop in range(len(data) + 1):
        end, count, damage = record_ends(data[:stop])
        assert end == max(e for e in ends if e <= stop)
        assert count == ends.index(end)
        assert not damage


def test_a_payload_that_fails_its_checksum_is_passed_over(core: str) -> None:
    bad = bytearray(frame(b"second"))
    bad[14] ^= 1
    data = frame(b"first") + bytes(bad) + frame(b"third")
    end, count, damage = record_ends(data)
    assert (end, count) == (len(data), 2)
    assert [(place.offset, place.length) for place in damage] == [(21, 22)]
    assert "byte 21" in damage[0].message


@pytest.mark.parametrize("tail", [bytes(16), bytes(4096), b"\xff" * 64, _header(MAX_RECORD + 1) + bytes(40)])
def test_lost_framing_ends_it(core: str, tail: bytes) -> None:
    data = frame(b"first") + tail + frame(b"behind")
    end, count, damage = record_ends(data)
    assert (end, count) == (21, 1)
    assert [(place.offset, place.length) for place in damage] == [(21, 0)]


@pytest.mark.parametrize("length", [2**20, 2**40, MAX_RECORD])
def test_a_huge_length_only_waits(core: str, length: int) -> None:
    assert record_ends(frame(b"first") + _header(length) + b"abc") == (21, 1, [])


def test_from_an_offset_of_any_buffer(core: str, tmp_path: Path) -> None:
    data = frame(b"first") + frame(b"second")
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert record_ends(mapped, 21) == (len(data), 1, [])
    assert record_ends(memoryview(data), 21) == (len(data), 1, [])
    assert record_ends(bytearray(data), len(data)) == (len(data), 0, [])
    with pytest.raises(ValueError, match="offset"):
        record_ends(data, len(data) + 1)


def test_damage_is_bounded(core: str) -> None:
    bad = bytearray(frame(b""))
    bad[12] ^= 1
    end, count, damage = record_ends(bytes(bad) * 3000)
    assert (end, count, len(damage)) == (48000, 0, 1000)


@given(st.lists(st.binary(max_size=40), max_size=5), st.data())
def test_both_agree_on_mutations(payloads: list[bytes], data: st.DataObject) -> None:
    stream = bytearray(b"".join(map(frame, payloads)) + data.draw(st.binary(max_size=30)))
    for _ in range(data.draw(st.integers(0, 2))):
        if stream:
            stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    found = record_ends(stream)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "core", None)
        assert record_ends(stream) == found
    first = found[2][0].offset if found[2] else found[0]
    assert whole_records(bytes(stream))[0] == first
