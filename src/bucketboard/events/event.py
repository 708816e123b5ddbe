"""Encoding of ``tensorflow.Event`` messages without protobuf objects.

Byte-identical to protobuf's own serialisation of the same message; field numbers from TensorFlow's
``core/util/event.proto`` and ``core/framework/summary.proto``.
"""

from __future__ import annotations

import math
import struct

from bucketboard.events.record import frame

__all__ = ["ScalarEncoder", "file_version_event", "session_start_event", "summary_event", "varint"]

_pack_double = struct.Struct("<d").pack
_pack_float = struct.Struct("<f").pack

_FILE_VERSION = b"brain.Event:2"
_SOURCE_WRITER = b"bucketboard"


def varint(value: int) -> bytes:
    """Protobuf's varint of a 64-bit integer; a negative one is sent as its two's complement."""
    value &= 0xFFFFFFFFFFFFFFFF
    if value < 0x80:
        return b"%c" % value
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _delimited(field: bytes, payload: bytes) -> bytes:
    return field + varint(len(payload)) + payload


def _prefix(wall_time: float, step: int) -> bytes:
    """Event.wall_time (field 1) and Event.step (field 2); proto3 leaves zeros out (but keeps -0.0)."""
    wall = b"\x09" + _pack_double(wall_time) if wall_time or math.copysign(1, wall_time) < 0 else b""
    return wall + b"\x10" + varint(step) if step else wall


def float32(value: float) -> bytes:
    """``value`` rounded to a float32 as C does it: beyond the range it becomes an infinity."""
    try:
        return _pack_float(value)
    except OverflowError:
        return _pack_float(math.copysign(math.inf, value))


class ScalarEncoder:
    """Encodes scalar events as framed records, keeping what is the same for all events of a tag."""

    def __init__(self) -> None:
        self._tags: dict[str, bytes] = {}

    def record(self, tag: str, value: float, step: int, wall_time: float) -> bytes:
        """The framed record of ``Event(wall_time, step, summary=[Value(tag, simple_value=value)])``.

        Raises:
            UnicodeEncodeError: ``tag`` is not encodable as UTF-8.
        """
        head = self._tags.get(tag)
        if head is None:
            head = self._tags[tag] = _summary_head(tag)
        return frame(b"%b%b%b" % (_prefix(wall_time, step), head, float32(value)))


def _summary_head(tag: str) -> bytes:
    """All of the summary field that comes before the four bytes of the value."""
    name = tag.encode()
    tag_field = _delimited(b"\x0a", name) if name else b""
    value_length = len(tag_field) + 5
    value_field = b"\x0a" + varint(value_length) + tag_field + b"\x15"
    return b"\x2a" + varint(len(value_field) + 4) + value_field


def summary_event(summary: bytes, step: int, wall_time: float) -> bytes:
    """``Event(wall_time, step, summary)`` around an already serialised Summary."""
    return _prefix(wall_time, step) + _delimited(b"\x2a", summary)


def file_version_event(wall_time: float, step: int = 0) -> bytes:
    """The event that every event file begins with: file_version (3) and source_metadata.writer (10.1)."""
    source = _delimited(b"\x0a", _SOURCE_WRITER)
    return _prefix(wall_time, step) + _delimited(b"\x1a", _FILE_VERSION) + _delimited(b"\x52", source)


def session_start_event(step: int, wall_time: float) -> bytes:
    """``Event(step, session_log=SessionLog(status=START))``: readers drop earlier events from ``step`` on."""
    return _prefix(wall_time, step) + _delimited(b"\x3a", b"\x08\x01")
