"""Which points of a series TensorBoard keeps: the reservoir of its data server, number for number.

A record with step *s* removes those before it with a step of *s* or more (a restart overlaps). Beyond its
capacity a reservoir keeps a random sample and always the latest record. The random numbers are the same for
every series: where there was no restart, those of one length keep the same places, which are looked up.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from bucketboard.serve.chacha import words, words32

__all__ = ["Reservoir", "downsample"]

_DRAWS = 1 << 16
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


class Reservoir:
    """The points kept of one series: a structured array with a ``step`` field, steps ascending.

    ``capacity`` None keeps all that no restart removed, 0 nothing.
    """

    __slots__ = ("_drawn", "_seen", "capacity", "points")

    def __init__(self, capacity: int | None, dtype: Any) -> None:
        self.capacity = capacity
        self.points = np.empty(0, dtype)
        self._seen = 0
        self._drawn = 0

    def offer(self, records: Any) -> None:
        """Take ``records`` in, in their order; they have the type of ``points``."""
        if self.capacity == 0 or not len(records):
            return
        if self.capacity is None:
            self._keep(records)
            return
        at = 0
        while at < len(records):
            free = self.capacity - self._seen
            if free > 0 and self._seen == len(self.points):  # no number is drawn below the capacity
                self._keep(records[at : at + free])
                self._seen = len(self.points)
                at += free
            else:
                rest = records[at:]
                falls = np.flatnonzero(rest["step"][1:] <= rest["step"][:-1])
                stop = int(falls[0]) + 1 if len(falls) else len(rest)
                self._preempt(int(rest["step"][0]))
                self._sample(rest[:stop])
                at += stop

    def _keep(self, records: Any) -> None:
        steps = records["step"]
        if len(steps) > 1 and not (steps[1:] > steps[:-1]).all():
            # What some later record has no smaller step than, that stays.
            least_after = np.minimum.accumulate(steps[::-1])[::-1]
            kept: Any = np.append(steps[:-1] < least_after[1:], True)
            first = int(least_after[0])
            records = records[kept]
        else:
            first = int(steps[0])
        before = self.points
        if len(before) and before["step"][-1] >= first:
            before = before[: np.searchsorted(before["step"], first)]
        self.points = np.concatenate((before, records)) if len(before) else records.copy()

    def _preempt(self, step: int) -> None:
        old = len(self.points)
        if old and self.points["step"][-1] >= step:
            new = int(np.searchsorted(self.points["step"], step))
            self.points = self.points[:new]
            self._seen = self._seen * new // old

    def _sample(self, records: Any) -> None:
        """Take in records of ascending steps, past those kept, drawing a number for each beyond capacity."""
        assert self.capacity is not None
        size = self.capacity
        without = min(max(size - self._seen, 0), len(records))
        if without:
            self.points = np.concatenate((self.points, records[:without]))
            self._seen += without
            records = records[without:]
        if not len(records):
            return
        kept, count = len(self.points), len(records)
        if kept == size == self._seen and self._drawn == 0:
            places, self._drawn = _selected(size, size + count)
        else:
            sample = _Sample(size, kept, self._seen, self._drawn)
            sample.take(count)
            places, self._drawn = np.array(sample.places, np.int64), sample.drawn
        self._seen += count
        old, new = places[places < kept], places[places >= kept]
        self.points = np.concatenate((self.points[old], records[new - kept]))


def _targets(start: int, seen: int, count: int) -> tuple[Any, int]:
    """``Uniform::from(0..n).sample`` for n = seen + 1, seen + 2, …; and where the stream then is.

    Raises:
        OverflowError: a series has more than four billion points.
    """
    if seen + count >= 1 << 32:
        raise OverflowError("a series of more than four billion points")
    out: Any = np.empty(count, np.int64)
    done = 0
    while done < count:
        draws = words(start, count - done)
        limits: Any = np.arange(seen + done + 1, seen + count + 1, dtype=np.uint64)
        upper = (draws >> _HALF) * limits + (((draws & _LOW) * limits) >> _HALF)
        zones = ~(np.negative(limits) % limits)
        refused = np.flatnonzero(draws * limits > zones)  # drawn again; happens once in 2**64 / n
        stop = int(refused[0]) if len(refused) else count - done
        out[done : done + stop] = (upper[:stop] >> _HALF).astype(np.int64)
        done += stop
        start += stop + bool(len(refused))
    return out, start


class _Sample:
    """Places of the records that are kept: ``kept`` were there before, new ones are counted on from them."""

    def __init__(self, size: int, kept: int, seen: int, drawn: int) -> None:
        self.places = list(range(kept))
        self.taken = 0
        self.drawn = drawn
        self._size, self._kept, self._seen = size, kept, seen

    def take(self, count: int) -> None:
        """Take in ``count`` more records."""
        while count:
            some = min(count, _DRAWS)
            targets, self.drawn = _targets(self.drawn, self._seen, some)
            base = self._kept + self.taken
            places, size = self.places, self._size
            # A record that is not drawn only replaces the latest one.
            for at in np.flatnonzero(targets < size).tolist():
                if at and places:
                    places[-1] = base + at - 1
                if len(places) >= size:
                    del places[targets[at]]
                places.append(base + at)
            if places:
                places[-1] = base + some - 1
            else:
                places.append(base + some - 1)
            self.taken += some
            self._seen += some
            count -= some


_lock = threading.Lock()


@lru_cache(maxsize=16)
def _common(size: int) -> _Sample:
    return _Sample(size, size, size, 0)


@lru_cache(maxsize=4096)
def _selected(size: int, total: int) -> tuple[Any, int]:
    """Places that are kept of ``total`` records without a restart, and where the stream then is."""
    with _lock:
        sample = _common(size)
        if sample.taken > total - size:
            sample = _Sample(size, size, size, 0)
        sample.take(total - size - sample.taken)
        return np.array(sample.places, np.int64), sample.drawn


def downsample(count: int, most: int) -> Any:
    """The places of at most ``most`` points to show out of ``count``; the last is one of them."""
    if most <= 0:
        return slice(0)
    if most >= count:
        return slice(None)
    return _downsampled(count, most)


@lru_cache(maxsize=1024)
def _downsampled(count: int, most: int) -> Any:
    """``rand::seq::index::sample`` of ``most - 1`` out of ``count - 1``, in order, and the last."""
    length, amount = count - 1, most - 1
    if amount < 163:
        slope, offset = (1.6, 10.0) if length < 500_000 else (8.0 / 45.0, 70.0 / 9.0)
        wide = (np.float32(offset) + np.float32(slope) * np.float32(amount)) * np.float32(amount)
        few = np.float32(length) < wide
        chosen = _shuffled(length, amount) if amount > 11 and few else _floyd(length, amount)
    else:
        ratio = np.float32(270.0 if length < 500_000 else 330.0 / 9.0)
        few = np.float32(length) < ratio * np.float32(amount)
        chosen = _shuffled(length, amount) if few else _distinct(length, amount)
    return np.array([*sorted(chosen), length], np.int64)


class _Draws:
    """``next_u32`` of the stream, and a number below a limit made of it."""

    def __init__(self) -> None:
        self._at = 0
        self._numbers: Iterator[int] = iter(())

    def _next(self) -> int:
        for number in self._numbers:
            return number
        self._numbers = iter(words32(self._at, 4096).tolist())
        self._at += 4096
        return next(self._numbers)

    def once(self, limit: int) -> int:
        """``gen_range(0, limit)``: its zone is the limit shifted to the top."""
        return self._below(limit, (limit << (32 - limit.bit_length())) - 1)

    def uniform(self, limit: int) -> int:
        """``Uniform::new(0, limit).sample``: its zone is exact."""
        return self._below(limit, 0xFFFFFFFF - (1 << 32) % limit)

    def _below(self, limit: int, zone: int) -> int:
        while True:
            product = self._next() * limit
            if product & 0xFFFFFFFF <= zone:
                return product >> 32


def _shuffled(length: int, amount: int) -> list[int]:
    draws, places = _Draws(), list(range(length))
    for at in range(amount):
        other = at + draws.once(length - at)
        places[at], places[other] = places[other], places[at]
    return places[:amount]


def _floyd(length: int, amount: int) -> set[int]:
    draws, chosen = _Draws(), set[int]()
    for at in range(length - amount, length):
        drawn = draws.once(at + 1)
        chosen.add(at if drawn in chosen else drawn)
    return chosen


def _distinct(length: int, amount: int) -> set[int]:
    draws, chosen = _Draws(), set[int]()
    while len(chosen) < amount:
        chosen.add(draws.uniform(length))
    return chosen
