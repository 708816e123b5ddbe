"""The scan of event files in Python: what the native core must agree with, and what serves without it.

The Event wire format is read by field numbers (TensorFlow's ``core/util/event.proto``,
``core/framework/summary.proto``, ``tensor.proto``). Unknown fields are skipped, also known ones of another
wire type; groups, which nothing writes, are refused. Everything is checked against what is there before
it is used: no length that a file states is ever allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import google_crc32c
import numpy as np

from bucketboard.events.columns import ARRAYS, RUN_GRAPH_TAG, Array, Kind
from bucketboard.events.record import HEADER_BYTES, OVERHEAD_BYTES

__all__ = [
    "BAD_EVENT",
    "BAD_LENGTH",
    "BAD_PAYLOAD",
    "BAD_TIME",
    "MAX_DAMAGE",
    "MAX_RECORD",
    "MAX_TAG",
    "TOO_LONG",
    "Malformed",
    "Scan",
    "fields",
    "scan",
]

BAD_LENGTH, TOO_LONG, BAD_PAYLOAD, BAD_EVENT, BAD_TIME = 1, 2, 3, 4, 5
"""Kinds of damage. The first two end the file: where the next record begins is not known."""

MAX_RECORD = 1 << 46
"""Longer than any object can be, bytes."""
MAX_TAG = 1 << 16
"""The longest tag that is read, bytes."""
MAX_DAMAGE = 1000
"""How many damaged places are described; more are only counted."""

Row: TypeAlias = tuple[int, float, int, float, int, int, int, int, int, int]
"""step, wall_time, tag, value, kind, offset, length, index, elements, rank: as in Columns."""

_NAN = float("nan")
_unpack_header = struct.Struct("<QI").unpack_from
_unpack_u32 = struct.Struct("<I").unpack_from
_unpack_float = struct.Struct("<f").unpack_from
_unpack_double = struct.Struct("<d").unpack_from
_FIXED64, _VARINT, _BYTES, _FIXED32 = 1, 0, 2, 5
_WORD = 0xFFFFFFFFFFFFFFFF

_SIMPLE_VALUE, _TENSOR = 2, 8
_OPAQUE = {
    3: (Kind.OBSOLETE, 0),
    4: (Kind.IMAGE, 3),
    5: (Kind.HISTOGRAM, 0),
    6: (Kind.AUDIO, 1),
}
"""Fields of Summary.Value whose contents are not looked at: what they are, and their parts."""

_NUMBERS = {
    1: (5, "<f"),  # float
    2: (6, "<d"),  # double
    3: (7, "<i"),  # int32
    4: (7, "<B"),  # uint8
    5: (7, "<h"),  # int16
    6: (7, "<b"),  # int8
    9: (10, "<q"),  # int64
    10: (11, "<B"),  # bool
    14: (13, "bf16"),
    17: (7, "<H"),  # uint16
    19: (13, "<e"),  # half
    22: (16, "<I"),  # uint32
    23: (17, "<Q"),  # uint64
}
"""DataType: the field of TensorProto with its values, and how one lies in tensor_content."""
_FIXED = {5: 4, 6: 8}
_VALUE_FIELDS = {number for number, _ in _NUMBERS.values()}


class Malformed(Exception):
    """The bytes are no such message."""


@dataclass
class Scan:
    """What one call found, here or in the native core; offsets are those in the file."""

    end: int
    """The first byte that is not in a whole record."""
    wanted: int = 0
    """Bytes from ``end`` that the next record needs, as far as its header tells; 0 after lost framing."""
    events: int = 0
    start: float = _NAN
    arrays: dict[str, Array] = field(default_factory=dict)
    """As in Columns; ``tag`` is a place in ``tags`` here."""
    tags: list[str] = field(default_factory=list)
    first: list[bytes] = field(default_factory=list)
    stated: list[bytes | None] = field(default_factory=list)
    damage: list[tuple[int, int, int]] = field(default_factory=list)
    """Offset, length, kind."""
    damaged: int = 0

    def add_damage(self, offset: int, length: int, kind: int) -> None:
        """Note a damaged place."""
        self.damaged += 1
        if len(self.damage) < MAX_DAMAGE:
            self.damage.append((offset, length, kind))


def _mask(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= end or shift > 63:
            raise Malformed
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > _WORD:
                raise Malformed
            return value, at
        shift += 7


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Number, wire type, value (of a varint), where the contents begin and end."""
    while at < end:
        key, at = _varint(data, at, end)
        kind = key & 7
        number = key >> 3
        if not 0 < number < 1 << 29:
            raise Malformed
        value = 0
        if kind == _VARINT:
            begin = at
            value, at = _varint(data, at, end)
        elif kind == _BYTES:
            length, begin = _varint(data, at, end)
            at = begin + length
        elif kind in (_FIXED32, _FIXED64):
            begin = at
            at += 8 if kind == _FIXED64 else 4
        else:
            raise Malformed
        if at > end:
            raise Malformed
        yield number, kind, value, begin, at


def _signed(value: int, bits: int = 64) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _from_content(data: bytes, at: int, form: str) -> float:
    if form == "bf16":
        return float(_unpack_float(b"\0\0" + data[at : at + 2])[0])
    return float(struct.unpack_from(form, data, at)[0])


def _size(form: str) -> int:
    return 2 if form == "bf16" else struct.calcsize(form)


def _from_field(number: int, dtype: int, raw: int) -> float:
    """One value of a repeated field from the bits it was sent as."""
    if number == 5:
        return float(_unpack_float(struct.pack("<I", raw))[0])
    if number == 6:
        return float(_unpack_double(struct.pack("<Q", raw))[0])
    if number == 7:
        return float(_signed(raw, 32))
    if number == 10:
        return float(_signed(raw))
    if number == 11:
        return float(raw != 0)
    if number == 13:
        low = struct.pack("<H", raw & 0xFFFF)
        return _from_content(low, 0, "bf16" if dtype == 14 else "<e")
    return float(raw & 0xFFFFFFFF if number == 16 else raw)


def _tensor(data: bytes, at: int, end: int) -> tuple[int, float, int, int]:
    """Kind, value, elements, rank of a TensorProto."""
    dtype = rank = strings = 0
    ones = True
    content = (0, 0)
    counts: dict[int, int] = {}
    raws: dict[int, int] = {}
    for number, kind, value, begin, stop in fields(data, at, end):
        if number == 1 and kind == _VARINT:
            dtype = _signed(value, 32)
        elif number == 2 and kind == _BYTES:
            for inner, inner_kind, _, inner_begin, inner_stop in fields(data, begin, stop):
                if inner == 2 and inner_kind == _BYTES:
                    size = 0
                    for part, part_kind, part_value, _, _ in fields(data, inner_begin, inner_stop):
                        if part == 1 and part_kind == _VARINT:
                            size = part_value
                    rank += 1
                    ones = ones and size == 1
        elif number == 4 and kind == _BYTES:
            content = (begin, stop - begin)
        elif number == 8 and kind == _BYTES:
            strings += 1
        elif number in _VALUE_FIELDS:
            _collect(data, number, kind, value, begin, stop, counts, raws)
    elements = min(strings, 0x7FFFFFFF)
    shown_rank = min(rank, 127)
    if dtype not in _NUMBERS or not ones:
        return Kind.TENSOR, _NAN, elements, shown_rank
    number, form = _NUMBERS[dtype]
    count = counts.get(number, 0)
    if dtype == 1 and rank == 0 and count == 1:
        return Kind.SCALAR, _from_field(5, dtype, raws[5]), elements, 0
    if content[1]:
        if content[1] == _size(form) and not (dtype == 1 and rank == 0 and count):
            found = _from_content(data, content[0], form)
            if dtype == 10:
                found = float(found != 0)
            return Kind.SCALAR if dtype == 1 and rank == 0 else Kind.NUMBER, found, elements, shown_rank
    elif count == 1:
        return Kind.NUMBER, _from_field(number, dtype, raws[number]), elements, shown_rank
    return Kind.TENSOR, _NAN, elements, shown_rank


def _collect(
    data: bytes,
    number: int,
    kind: int,
    value: int,
    begin: int,
    stop: int,
    counts: dict[int, int],
    raws: dict[int, int],
) -> None:
    """Count the values of a repeated field, packed or not, up to two, and keep the first one's bits."""
    width = _FIXED.get(number)
    if kind == _BYTES:
        if begin == stop:
            return
        if width:
            if (stop - begin) % width:
                raise Malformed
            raw, after = int.from_bytes(data[begin : begin + width], "little"), begin + width
        else:
            raw, after = _varint(data, begin, stop)
        found = 1 if after == stop else 2
    elif width and kind == (_FIXED32 if width == 4 else _FIXED64):
        raw, found = int.from_bytes(data[begin:stop], "little"), 1
    elif not width and kind == _VARINT:
        raw, found = value, 1
    else:
        return
    raws.setdefault(number, raw)
    counts[number] = counts.get(number, 0) + found


class _Event:
    """The rows of one event, not yet known to be well-formed."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.step = 0
        self.wall_time = 0.0
        self.values: list[tuple[bytes, int, float, int, int, int, bytes | None]] = []
        """Tag, kind, value, elements, rank, index, metadata."""
        summary = False
        index = 0
        for number, kind, value, begin, stop in fields(data, at, end):
            if number == 1 and kind == _FIXED64:
                self.wall_time = _unpack_double(data, begin)[0]
            elif number == 2 and kind == _VARINT:
                self.step = _signed(value)
            elif 3 <= number <= 9 and kind == _BYTES:
                # The last field of the oneof counts; a summary that comes in pieces is one.
                if number != 5 or not summary:
                    self.values.clear()
                    index = 0
                summary = number == 5
                if summary:
                    index = self._summary(data, begin, stop, index)
                else:
                    self._other(data, number, begin, stop)

    def _summary(self, data: bytes, at: int, end: int, index: int) -> int:
        for number, kind, _, begin, stop in fields(data, at, end):
            if number == 1 and kind == _BYTES:
                self._value(data, begin, stop, index)
                index += 1
        return index

    def _value(self, data: bytes, at: int, end: int, index: int) -> None:
        tag = b""
        metadata: bytes | None = None
        found: tuple[int, float, int, int] | None = None
        for number, kind, _, begin, stop in fields(data, at, end):
            if number == 1 and kind == _BYTES:
                tag = _checked_tag(data, begin, stop)
            elif number == 9 and kind == _BYTES:
                metadata = data[begin:stop]
            elif number == _SIMPLE_VALUE and kind == _FIXED32:
                found = Kind.SIMPLE, _unpack_float(data, begin)[0], 0, 0
            elif number == _TENSOR and kind == _BYTES:
                found = _tensor(data, begin, stop)
            elif number in _OPAQUE and kind == _BYTES:
                opaque, parts = _OPAQUE[number]
                found = opaque, _NAN, parts, 0
        if found is None and (tag or metadata is not None):
            # Of metadata alone, as torch's add_hparams writes it: TensorBoard's data server takes it so.
            found = Kind.TENSOR, _NAN, 0, 1
        if found is not None:
            what, value, elements, rank = found
            self.values.append((tag, what, value, elements, rank, index, metadata))

    def _other(self, data: bytes, number: int, begin: int, stop: int) -> None:
        tag = b""
        if number == 4:
            self.values.append((RUN_GRAPH_TAG.encode(), Kind.GRAPH, _NAN, 1, 0, 0, None))
        elif number == 8:
            for inner, kind, _, at, end in fields(data, begin, stop):
                if inner == 1 and kind == _BYTES:
                    tag = _checked_tag(data, at, end)
            self.values.append((tag, Kind.RUN_METADATA, _NAN, 1, 0, 0, None))
        elif number == 9:
            self.values.append((b"", Kind.META_GRAPH, _NAN, 0, 0, 0, None))
        elif number == 7:
            status = 0
            for inner, kind, value, _, _ in fields(data, begin, stop):
                if inner == 1 and kind == _VARINT:
                    status = value
            if status == 1:
                self.values.append((b"", Kind.SESSION_START, _NAN, 0, 0, 0, None))


def _checked_tag(data: bytes, begin: int, stop: int) -> bytes:
    tag = data[begin:stop]
    if len(tag) > MAX_TAG:
        raise Malformed
    try:
        tag.decode()
    except UnicodeDecodeError:
        raise Malformed from None
    return tag


_Known: TypeAlias = tuple[bytes, int, bytes | None]
"""Tag, kind and metadata."""


class _Templates:
    """Scalars that differ in time, step and value alone from others: known by the bytes around those.

    Most events are such. Where the value lies, and that nothing else says another time or step, is tried
    out once for each tag.
    """

    _MOST = 4096

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], _Known] = {}
        self._places: dict[int, list[int]] = {}
        """Where values lie, by how many bytes there are behind the step."""
        self._tried = 0

    def read(self, payload: bytes) -> tuple[int, float, float, _Known] | None:
        """Step, wall time, value and what is the same for all; None: it has to be read field by field."""
        if len(payload) < 16 or payload[0] != 0x09:
            return None
        step, at = 0, 9
        if payload[9] == 0x10:
            step, at = payload[10], 11
            if step > 0x7F:
                try:
                    step, at = _varint(payload, 10, len(payload))
                except Malformed:
                    return None
        for place in self._places.get(len(payload) - at, ()):
            known = self._known.get((payload[at : at + place], payload[at + place + 4 :]))
            if known is not None:
                value = _unpack_float(payload, at + place)[0]
                return _signed(step), _unpack_double(payload, 1)[0], value, known
        if self._tried < self._MOST:
            self._tried += 1
            self._learn(payload, payload[at:])
        return None

    def _learn(self, payload: bytes, rest: bytes) -> None:
        found = _only_scalar(payload)
        if found is None:
            return
        raw = struct.pack("<f", found.values[0][2])
        place = rest.find(raw)
        while place >= 0:
            around = rest[:place], rest[place + 4 :]
            known = {self._tried_out(number, *around) for number in (1, 2)}
            one = known.pop()
            if not known and one is not None:
                self._known[around] = one
                places = self._places.setdefault(len(rest), [])
                if place not in places:
                    places.append(place)
                return
            place = rest.find(raw, place + 1)

    def _tried_out(self, number: int, before: bytes, behind: bytes) -> _Known | None:
        """What is the same, if the value between the bytes is all that there is beside time and step."""
        head = struct.pack("<BdBB", 0x09, number, 0x10, number)
        event = _only_scalar(head + before + struct.pack("<f", number) + behind)
        if event is None or (event.step, event.wall_time, event.values[0][2]) != (number, number, number):
            return None
        tag, kind, *_, metadata = event.values[0]
        return tag, int(kind), metadata


def _only_scalar(payload: bytes) -> _Event | None:
    """The event, if it holds one float and nothing else."""
    try:
        event = _Event(payload, 0, len(payload))
    except Malformed:
        return None
    if len(event.values) != 1:
        return None
    _, kind, value, *others, _ = event.values[0]
    is_float = kind in (Kind.SIMPLE, Kind.SCALAR) and value == value
    return event if is_float and others == [0, 0, 0] else None


def scan(data: bytes, base: int = 0, *, events: bool = True) -> Scan:
    """Scan ``data``, which is at ``base`` of its file; without ``events`` only the framing and the CRCs."""
    found = Scan(base)
    rows: list[Row] = []
    ids: dict[bytes, int] = {}
    templates = _Templates()
    lengths: dict[bytes, int] = {}
    at = 0
    end = len(data)
    value_of = google_crc32c.value
    while True:
        if end - at < HEADER_BYTES:
            found.wanted = OVERHEAD_BYTES
            break
        header = data[at : at + HEADER_BYTES]
        length = lengths.get(header, -1)
        if length < 0:
            length, crc = _unpack_header(header)
            lost = _mask(value_of(header[:8])) != crc
            if lost or length > MAX_RECORD:
                found.add_damage(base + at, 0, BAD_LENGTH if lost else TOO_LONG)
                break
            if length < 1024:
                lengths[header] = length
        total = length + OVERHEAD_BYTES
        if total > end - at:
            found.wanted = total
            break
        begin, stop = at + HEADER_BYTES, at + HEADER_BYTES + length
        payload = data[begin:stop]
        if _mask(value_of(payload)) != _unpack_u32(data, stop)[0]:
            found.add_damage(base + at, total, BAD_PAYLOAD)
        elif events:
            scalar = templates.read(payload)
            if scalar and (place := _settled(found, ids, scalar)) >= 0:
                step, wall_time, value, (_, kind, _) = scalar
                found.events += 1
                if not wall_time >= found.start:
                    found.start = wall_time
                rows.append((step, wall_time, place, value, kind, base + at, total, 0, 0, 0))
            else:
                _read(found, rows, ids, payload, base + at, total)
        else:
            found.events += 1
        at += total
    found.end = base + at
    columns = zip(*rows, strict=True) if rows else [()] * len(ARRAYS)
    for (name, dtype), column in zip(ARRAYS.items(), columns, strict=True):
        found.arrays[name] = np.array(column, dtype)
    return found


def _settled(found: Scan, ids: dict[bytes, int], scalar: tuple[int, float, float, _Known]) -> int:
    """The place of the scalar's tag if nothing of it but the row is new; else -1."""
    _, wall_time, _, (tag, _, metadata) = scalar
    place = ids.get(tag, -1)
    news = metadata is not None and place >= 0 and found.stated[place] is None
    return -1 if news or wall_time != wall_time else place


def _read(
    found: Scan, rows: list[Row], ids: dict[bytes, int], payload: bytes, offset: int, total: int
) -> None:
    try:
        event = _Event(payload, 0, len(payload))
    except Malformed:
        found.add_damage(offset, total, BAD_EVENT)
        return
    if event.wall_time != event.wall_time:
        found.add_damage(offset, total, BAD_TIME)
        return
    found.events += 1
    if not event.wall_time >= found.start:
        found.start = event.wall_time
    for tag, kind, value, elements, rank, index, metadata in event.values:
        place = -1
        if kind not in (Kind.META_GRAPH, Kind.SESSION_START):
            known = ids.get(tag)
            if known is None:
                known = ids[tag] = len(found.tags)
                found.tags.append(tag.decode())
                found.first.append(metadata or b"")
                found.stated.append(metadata)
            elif metadata is not None and found.stated[known] is None:
                found.stated[known] = metadata
            place = known
        rows.append(
            (event.step, event.wall_time, place, value, int(kind), offset, total, index, elements, rank)
        )
