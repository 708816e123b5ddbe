"""A tag's metadata, repeated at the beginning of every file.

Writers of the TensorFlow 2 kind send a tag's SummaryMetadata with its first value only, and readers take
it from there. A file that is to be read alone must therefore repeat it. Works on serialised Events:
``Event.summary`` is field 5, ``Summary.value`` 1, ``Value.tag`` 1, ``Value.metadata`` 9.
"""

from __future__ import annotations

from collections.abc import Iterator

from bucketboard.events.event import varint

__all__ = ["FirstValues"]

_SUMMARY, _VALUE, _TAG, _METADATA = 5, 1, 1, 9
_METADATA_KEY = b"\x4a"


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("varint of more than ten bytes")


def _fields(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Field number, where the field begins, where its contents begin and end, for each field of a message.

    Raises:
        IndexError, ValueError: the bytes are no protobuf message.
    """
    at = 0
    while at < len(data):
        begin = at
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == 2:
            length, at = _read_varint(data, at)
        elif kind == 0:
            length = _read_varint(data, at)[1] - at
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > len(data):
            raise IndexError("field beyond the message")
        yield key >> 3, begin, at, at + length
        at += length


class FirstValues:
    """Remembers each tag's metadata and adds it to the tag's first value in every new file."""

    def __init__(self) -> None:
        self._metadata: dict[bytes, bytes] = {}
        self._in_file: set[bytes] = set()

    def new_file(self) -> None:
        """From here on events go to another file."""
        self._in_file.clear()

    def complete(self, event: bytes) -> bytes:
        """``event``, with the metadata of tags that have their first value in this file with it.

        What is not a well-formed Event is returned as it is.
        """
        seen: set[bytes] = set()
        try:
            completed = self._complete(event, seen)
        except (IndexError, ValueError):
            return event
        self._in_file |= seen
        return completed

    def _complete(self, event: bytes, seen: set[bytes]) -> bytes:
        out = []
        copied = 0
        for number, begin, start, stop in _fields(event):
            if number == _SUMMARY:
                summary = event[start:stop]
                completed = self._complete_summary(summary, seen)
                if completed is not summary:
                    out += [event[copied:begin], b"\x2a", varint(len(completed)), completed]
                    copied = stop
        return b"".join([*out, event[copied:]]) if out else event

    def _complete_summary(self, summary: bytes, seen: set[bytes]) -> bytes:
        out = []
        copied = 0
        for number, begin, start, stop in _fields(summary):
            if number != _VALUE:
                continue
            tag = b""
            metadata: bytes | None = None
            for inner, _, inner_start, inner_stop in _fields(summary[start:stop]):
                if inner == _TAG:
                    tag = summary[start + inner_start : start + inner_stop]
                elif inner == _METADATA:
                    metadata = summary[start + inner_start : start + inner_stop]
            if metadata is not None:
                self._metadata.setdefault(tag, metadata)
                seen.add(tag)
            elif tag in self._metadata and tag not in self._in_file and tag not in seen:
                seen.add(tag)
                known = self._metadata[tag]
                value = summary[start:stop] + _METADATA_KEY + varint(len(known)) + known
                out += [summary[copied:begin], b"\x0a", varint(len(value)), value]
                copied = stop
        return b"".join([*out, summary[copied:]]) if out else summary
