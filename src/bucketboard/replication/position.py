"""How far a writer has come."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Boundary", "Mark", "Position"]


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """An amount of log: ``bytes`` of event files (framing and first records included), ``events`` in them.

    The record that opens every file is not counted as an event.
    """

    bytes: int = 0
    events: int = 0

    def __add__(self, other: Mark) -> Mark:
        return Mark(self.bytes + other.bytes, self.events + other.events)

    def __sub__(self, other: Mark) -> Mark:
        return Mark(self.bytes - other.bytes, self.events - other.events)


@dataclass(frozen=True, slots=True)
class Position:
    """Accepted by the writer, in the log (in spool mode: in its file), acknowledged by S3.

    ``appended >= logged >= stored`` at every moment; their differences are what could still be lost.
    """

    appended: Mark
    logged: Mark
    stored: Mark


@dataclass(frozen=True, slots=True)
class Boundary:
    """The end of a record in a file: bytes and events before it, and the CRC32C of those bytes."""

    bytes: int = 0
    events: int = 0
    crc: int = 0

    @property
    def mark(self) -> Mark:
        """Without the checksum."""
        return Mark(self.bytes, self.events)
