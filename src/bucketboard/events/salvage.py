"""What can be saved of a damaged event file: every whole record, also behind where readers have to stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import google_crc32c

from bucketboard.events.record import HEADER_BYTES, OVERHEAD_BYTES
from bucketboard.events.reference import MAX_DAMAGE
from bucketboard.events.scanner import record_ends

__all__ = ["Kept", "Lost", "salvage"]

_MASK_DELTA = 0xA282EAD8


@dataclass(frozen=True, slots=True)
class Kept:
    """Whole records that follow each other: bytes ``start`` to ``stop``, and how many they are."""

    start: int
    stop: int
    records: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Bytes ``start`` to ``stop`` that are no whole record."""

    start: int
    stop: int


def salvage(data: bytes | memoryview) -> Iterator[Kept | Lost]:
    """The stretches of ``data`` in order; together they are all of it.

    A record whose payload is damaged is lost alone: its length tells where the next one begins. Behind a
    damaged length the next place is looked for where both a header and the payload that it tells of match
    their checksums.
    """
    view = memoryview(data)
    at = 0
    while at < len(view):
        end, _, damage = record_ends(view, at)
        for place in damage:
            if place.length:
                yield from _kept(view, at, place.offset)
                at = place.offset + place.length
                yield Lost(place.offset, at)
        if len(damage) >= MAX_DAMAGE:
            continue  # not all of it was named
        yield from _kept(view, at, end)
        at = end
        if at < len(view):
            at = _next_record(view, end + 1)
            yield Lost(end, at)


def _kept(view: memoryview, start: int, stop: int) -> Iterator[Kept]:
    if stop > start:
        yield Kept(start, stop, record_ends(view[start:stop])[1])


def _next_record(view: memoryview, start: int) -> int:
    """Where the next whole record begins from ``start`` on; the end if there is none."""
    size = len(view)
    for at in range(start, size - OVERHEAD_BYTES + 1):
        length = int.from_bytes(view[at : at + 8], "little")
        stop = at + HEADER_BYTES + length
        if (
            stop + 4 <= size
            and _matches(view[at : at + 8], view[at + 8 : at + HEADER_BYTES])
            and _matches(view[at + HEADER_BYTES : stop], view[stop : stop + 4])
        ):
            return at
    return size


def _matches(data: memoryview, masked: memoryview) -> bool:
    crc = google_crc32c.value(bytes(data))
    wanted: int = (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
    return wanted == int.from_bytes(masked, "little")
