"""Reading event files from any record on, in pieces, while they grow."""

from __future__ import annotations

import numpy as np

from bucketboard.events import native, reference
from bucketboard.events.columns import Array, Columns, Damage
from bucketboard.events.native import Data
from bucketboard.events.record import OVERHEAD_BYTES

__all__ = ["Data", "FileScanner", "record_ends"]

_MESSAGES = {
    reference.BAD_LENGTH: "the length does not match its checksum: nothing behind it can be read",
    reference.TOO_LONG: "the length is beyond what an object can have: nothing behind it can be read",
    reference.BAD_PAYLOAD: "the payload does not match its checksum",
    reference.BAD_EVENT: "the payload is no event",
    reference.BAD_TIME: "the wall time is not a number",
}


def _damage(found: list[tuple[int, int, int]]) -> list[Damage]:
    return [
        Damage(offset, length, f"record at byte {offset}: {_MESSAGES[kind]}")
        for offset, length, kind in found
    ]


class FileScanner:
    """One event file. Fed with bytes from ``offset`` on, it takes the whole records and says what they hold.

    A truncated last record is the normal end of a file that still grows: it is left, and read when more of
    it is fed. A record whose payload fails its CRC, or that is no event, is noted in ``damage`` and passed
    over. Where a length fails its CRC nothing behind it can be found: the scanner is ``dead`` and takes no
    more; when the object has changed, :meth:`revive` lets it try again from the same offset.
    """

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        """The next byte wanted."""
        self.wanted = OVERHEAD_BYTES
        """Bytes from ``offset`` on that the next record needs, as far as its header was seen; 0 when dead."""
        self.dead = False
        self.damage: list[Damage] = []
        """The first damaged places, at most a thousand."""
        self.damaged = 0
        """How many there are."""
        self.tags: list[str] = []
        self._ids: dict[str, int] = {}
        self._stated: set[int] = set()

    def feed(self, data: Data) -> Columns:
        """What the whole records in ``data`` hold; ``data`` begins at ``offset`` of the file."""
        if self.dead:
            return self._columns(reference.scan(b"", self.offset))
        found = native.scan(data, self.offset) if native.core else reference.scan(bytes(data), self.offset)
        self.offset = found.end
        self.wanted = found.wanted
        self.dead = found.wanted == 0
        self.damaged += found.damaged
        self.damage += _damage(found.damage[: reference.MAX_DAMAGE - len(self.damage)])
        return self._columns(found)

    def revive(self) -> None:
        """Try again at ``offset``: the file has changed."""
        if self.dead:
            self.dead = False
            self.wanted = OVERHEAD_BYTES
            self.damage = [place for place in self.damage if place.offset < self.offset]
            self.damaged -= 1

    def _columns(self, found: reference.Scan) -> Columns:
        columns = Columns(**found.arrays, tags=self.tags, start=found.start, events=found.events)
        places: Array = np.empty(len(found.tags) + 1, np.int32)
        places[-1] = -1
        for place, tag in enumerate(found.tags):
            known = self._ids.get(tag)
            if known is None:
                known = self._ids[tag] = len(self.tags)
                self.tags.append(tag)
                columns.first[known] = found.first[place]
            stated = found.stated[place]
            if stated is not None and known not in self._stated:
                self._stated.add(known)
                columns.stated[known] = stated
            places[place] = known
        columns.tag = places[columns.tag]
        return columns


def record_ends(data: Data, offset: int = 0) -> tuple[int, int, list[Damage]]:
    """Where the whole records of ``data`` from ``offset`` on end, how many are valid, and what is damaged.

    Only framing and CRCs are looked at. Records whose payload fails its CRC are passed over and named; at a
    length that fails its CRC the end is reached. Places in the damage are those in ``data``.
    """
    if not 0 <= offset <= len(data):
        raise ValueError(f"offset {offset} is not within {len(data)} bytes")
    if native.core:
        end, count, places = native.record_ends(data, offset)
        return end, count, _damage(places)
    found = reference.scan(bytes(memoryview(data)[offset:]), offset, events=False)
    return found.end, found.events, _damage(found.damage)
