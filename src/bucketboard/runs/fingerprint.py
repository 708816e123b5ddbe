"""Fingerprints of the values in event files and in an index, by which the two are compared.

They are small: an index that has the rows of all runs together is read once, and of each run only its
fingerprints travel to whoever reads the run's files.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bucketboard.events.columns import Array, Columns
from bucketboard.events.metadata import is_scalar

if TYPE_CHECKING:
    from bucketboard.index import Covered, Index

__all__ = ["FilePrints", "IndexedFile", "Prints", "indexed_files"]

_SCALARS = ("step", "wall_time", "value", "kind")
_VALUES = ("step", "wall_time", "kind", "offset", "length", "index", "elements", "rank")
_DIGEST_BYTES = 16


class Prints:
    """A fingerprint for each tag, of its rows in their order, however they are divided."""

    def __init__(self) -> None:
        self._hashes: dict[str, Any] = {}

    def add(self, tag: str, columns: Sequence[Array]) -> None:
        """More rows of a tag."""
        if tag not in self._hashes:
            self._hashes[tag] = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        rows: Array = np.empty((len(columns[0]), len(columns)), np.int64)
        for place, column in enumerate(columns):
            # The bits of a float: NaN is the same as itself.
            rows[:, place] = column.view(np.int64) if column.dtype == np.float64 else column
        self._hashes[tag].update(rows.data)

    def digests(self) -> dict[str, bytes]:
        """By tag, 16 bytes."""
        return {tag: each.digest() for tag, each in self._hashes.items()}


class FilePrints:
    """Of the rows of one file before ``end``, scalars and other values apart, as an index has them."""

    def __init__(self, end: int) -> None:
        self.scalars = Prints()
        self.values = Prints()
        self._end = end
        self._is_scalar: dict[str, bool] = {}

    def add(self, columns: Columns) -> None:
        """What a scanner has read next."""
        for place, first in columns.first.items():
            kind = int(columns.kind[np.argmax(columns.tag == place)])
            self._is_scalar.setdefault(columns.tags[place], is_scalar(kind, first))
        columns = columns.take(columns.offset < self._end)
        if not len(columns):
            return
        series = np.array([self._is_scalar[tag] for tag in columns.tags] + [False], bool)
        scalars = columns.is_scalar & series[columns.tag]
        self._add(columns, scalars, self.scalars, _SCALARS)
        self._add(columns, ~scalars, self.values, _VALUES)

    def _add(self, columns: Columns, wanted: Array, prints: Prints, names: Sequence[str]) -> None:
        order = np.flatnonzero(wanted)
        if not len(order):
            return
        places = columns.tag[order]
        by_tag = np.argsort(places, kind="stable")
        order, places = order[by_tag], places[by_tag]
        arrays = [getattr(columns, name)[order] for name in names]
        bounds: list[int] = (np.flatnonzero(np.diff(places)) + 1).tolist()
        for begin, end in itertools.pairwise([0, *bounds, len(order)]):
            place = int(places[begin])
            tag = columns.tags[place] if place >= 0 else ""
            prints.add(tag, [array[begin:end] for array in arrays])


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """What an index has of a file: up to where, and the fingerprints of its rows by tag."""

    covered: Covered
    scalars: Mapping[str, bytes]
    values: Mapping[str, bytes]


def indexed_files(index: Index) -> dict[str, IndexedFile]:
    """By path, what the index has; all of its rows are read.

    Raises:
        BucketboardError: the index can't be read now.
    """
    found: dict[str, tuple[Prints, Prints]] = {path: (Prints(), Prints()) for path in index.files}
    for number, (which, names) in enumerate((("scalars", _SCALARS), ("runs", _VALUES))):
        for (path, tag), arrays in index.stretches(which, names):
            found[path][number].add(tag, [arrays[name] for name in names])
    return {
        path: IndexedFile(index.files[path], scalars.digests(), values.digests())
        for path, (scalars, values) in found.items()
    }
