"""TFRecord framing.

A record is ``length (uint64 LE) | masked CRC32C of the length (uint32 LE) | payload | masked CRC32C of the
payload (uint32 LE)``, as in TensorFlow's ``core/lib/io/record_writer.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import google_crc32c

from bucketboard.errors import CorruptDataError

__all__ = [
    "HEADER_BYTES",
    "OVERHEAD_BYTES",
    "Record",
    "crc32c",
    "frame",
    "record_length",
    "scan",
    "whole_records",
]

HEADER_BYTES = 12
OVERHEAD_BYTES = 16
_MASK_DELTA = 0xA282EAD8

_pack_length = struct.Struct("<Q").pack
_pack_crc = struct.Struct("<I").pack
_unpack_header = struct.Struct("<QI").unpack_from
_unpack_crc = struct.Struct("<I").unpack_from
_value = google_crc32c.value
_length_headers: dict[int, bytes] = {}


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC32C (Castagnoli) of ``data``, continuing from ``crc`` (0: from the beginning)."""
    return cast(int, google_crc32c.extend(crc, data))


def _mask(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _length_header(length: int) -> bytes:
    packed = _pack_length(length)
    return packed + _pack_crc(_mask(_value(packed)))


def frame(payload: bytes) -> bytes:
    """The record that holds ``payload``."""
    length = len(payload)
    header = _length_headers.get(length)
    if header is None:
        header = _length_header(length)
        if length < 1024:  # the lengths that scalars have, so the cache stays small
            _length_headers[length] = header
    crc = _value(payload)
    return b"%b%b%b" % (header, payload, _pack_crc((((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF))


@dataclass(frozen=True, slots=True)
class Record:
    """One record of an event file: where it begins, how long it is with its framing, what it holds."""

    offset: int
    length: int
    payload: bytes


def record_length(data: bytes, offset: int = 0) -> int:
    """The length of the payload of the record whose header is at ``offset``.

    Raises:
        CorruptDataError: the length does not match its CRC.
    """
    length, length_crc = _unpack_header(data, offset)
    if _mask(_value(data[offset : offset + 8])) != length_crc:
        raise CorruptDataError(f"record at byte {offset}: the length does not match its checksum")
    return int(length)


def scan(data: bytes, offset: int = 0) -> Iterator[Record]:
    """The whole, CRC-valid records of ``data`` from ``offset``, which must be a record's beginning.

    A truncated last record is the normal end of a file that still grows: it is left out silently.

    Raises:
        CorruptDataError: a record's length or payload does not match its CRC.
    """
    end = len(data)
    while offset + OVERHEAD_BYTES <= end:
        length = record_length(data, offset)
        stop = offset + OVERHEAD_BYTES + length
        if stop > end:
            return
        payload = data[offset + HEADER_BYTES : stop - 4]
        if _mask(_value(payload)) != _unpack_crc(data, stop - 4)[0]:
            raise CorruptDataError(f"record at byte {offset}: the payload does not match its checksum")
        yield Record(offset, stop - offset, payload)
        offset = stop


def whole_records(data: bytes, offset: int = 0) -> tuple[int, int]:
    """Where the valid records of ``data`` from ``offset`` end, and how many there are.

    Stops without an error at a truncated or corrupt record: the bytes before it can be trusted.
    """
    count = 0
    try:
        for record in scan(data, offset):
            offset = record.offset + record.length
            count += 1
    except CorruptDataError:
        pass
    return offset, count
