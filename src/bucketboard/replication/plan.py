"""The append plan: what is stored, what is new, what the server can → what to send. A pure function.

S3 has no append, but it can build an object from a copied range of itself and an uploaded tail, so only
new bytes travel. Limits of parts are S3's own (Amazon S3 User Guide, "multipart upload limits").
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["MAX_PART", "MAX_TAIL", "MIN_PART", "Append", "Put", "plan"]

MIN_PART = 5 << 20
"""The least a part may have, unless it is the last one."""
MAX_PART = 5 << 30
COPY_RANGE = 256 << 20
"""Above this much, copying is divided into ranges that are copied side by side."""
MAX_TAIL = 16 << 20
"""As much as a writer's upload adds at most, as far as records allow: what is held in memory at once."""
MAX_PUT = 32 << 20
"""Above this much, an object that is sent whole is sent in parts."""
_MOST_PARTS = 9000  # of S3's 10,000; the rest is for copied ranges


@dataclass(frozen=True, slots=True)
class Put:
    """Send bytes 0 to ``stop`` as the whole object."""

    stop: int


@dataclass(frozen=True, slots=True)
class Append:
    """Copy ``copies`` (start, stop) out of the object itself, then send bytes ``tail`` to ``stop``.

    ``tail == stop``: nothing is sent, the object is only stored again with other metadata. No ``copies``: the
    whole is sent in parts.
    """

    copies: tuple[tuple[int, int], ...]
    tail: int
    stop: int

    @property
    def tails(self) -> Iterator[tuple[int, int]]:
        """The tail as parts (start, stop) of equal length but the last; one, unless it is long."""
        size = max(MAX_TAIL, -(-(self.stop - self.tail) // _MOST_PARTS))
        if self.stop - self.tail <= MAX_PUT:
            size = MAX_PUT
        for start in range(self.tail, self.stop, size):
            yield start, min(start + size, self.stop)


def plan(stored: int, stop: int, *, first: int = 0) -> Put | Append:
    """How to make an object of ``stored`` bytes one of ``stop`` bytes; ``first`` is the first byte at hand.

    Several copied ranges are equally long, as some servers demand of all parts but the last; the few bytes
    that remain go with the tail, or with the last range where they are no longer at hand.
    """
    if stored < MIN_PART:
        return Put(stop) if stop <= MAX_PUT else Append((), 0, stop)
    ranges = -(-stored // COPY_RANGE)
    length = stored // ranges
    edges = [length * number for number in range(ranges + 1)]
    if edges[-1] < first or stop == stored:
        edges[-1] = stored
    return Append(tuple(itertools.pairwise(edges)), edges[-1], stop)
