"""One tag of one run: what kind of data it is, and the points TensorBoard keeps of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bucketboard.events.columns import Kind
from bucketboard.serve.compat import AUDIO, BLOBS, RANK_0_BLOBS, SCALAR, TENSOR, Metadata
from bucketboard.serve.reservoir import Reservoir

__all__ = ["PLACES", "SCALARS", "Series", "Unread", "capacity_of"]

SCALARS = np.dtype([("step", np.int64), ("wall_time", np.float64), ("value", np.float64), ("kind", np.uint8)])
"""Points of a scalar series."""
PLACES = np.dtype(
    [
        *(("step", np.int64), ("wall_time", np.float64), ("kind", np.uint8), ("rank", np.int8)),
        *(("elements", np.int32), ("index", np.int32), ("file", np.int32)),
        *(("offset", np.int64), ("length", np.int64)),
    ]
)
"""Points whose value is read where it lies: in record ``offset``, ``length`` of the run's file ``file``."""

_CAPACITIES = {SCALAR: 1000, TENSOR: 100, BLOBS: 10}
_SHOWN = {
    SCALAR: (Kind.SIMPLE, Kind.SCALAR, Kind.NUMBER),
    TENSOR: (Kind.SIMPLE, Kind.SCALAR, Kind.NUMBER, Kind.TENSOR, Kind.HISTOGRAM),
    BLOBS: (Kind.TENSOR, Kind.IMAGE, Kind.AUDIO, Kind.GRAPH, Kind.RUN_METADATA),
}
_IMAGE_PARTS = 3


def capacity_of(metadata: Metadata, samples: Mapping[str, int | None]) -> int | None:
    """How many points TensorBoard keeps: by plugin where ``samples`` say so, else by class; None: all."""
    if metadata.data_class not in _CAPACITIES:
        return 0
    return samples.get(metadata.plugin, _CAPACITIES[metadata.data_class])


@dataclass(slots=True)
class Unread:
    """Points that an index has and that were not asked for yet."""

    step: int
    """Of the last one, as ``wall_time``."""
    wall_time: float
    later: list[tuple[int, Any]] = field(default_factory=list)
    """What was read of the files meanwhile, with the number of the file."""


class Series:
    """Points of a tag. Readers take ``points`` while a refresh replaces them."""

    __slots__ = ("_reservoir", "_valid", "metadata", "tag", "unread")

    def __init__(self, tag: str, metadata: Metadata, capacity: int | None) -> None:
        self.tag = tag
        self.metadata = metadata
        self._reservoir = Reservoir(capacity, SCALARS if metadata.data_class == SCALAR else PLACES)
        self._valid: tuple[Any, Any] | None = None
        self.unread: Unread | None = None
        """What is still to be fetched from an index; until then ``points`` has nothing."""

    @property
    def dtype(self) -> Any:
        """The type of its points."""
        return self._reservoir.points.dtype

    def offer(self, records: Any, number: int) -> None:
        """Take in records of the points' type, in the order in which they were written to a file."""
        if self.unread:
            self.unread.later.append((number, records))
        else:
            self._reservoir.offer(records)

    def fill(self, parts: Sequence[tuple[int, Any]]) -> None:
        """Take in what an index has, of each file in their order, with what came later."""
        if self.unread is None:
            return
        for number, records in parts:
            if records is not None:
                self._reservoir.offer(records)
            for other, later in self.unread.later:
                if other == number:
                    self._reservoir.offer(later)
        self.unread = None

    @property
    def latest(self) -> tuple[int, float] | None:
        """The last step and the latest wall time, as far as that is known without reading; else None."""
        if self.unread:
            return None if self.unread.later else (self.unread.step, self.unread.wall_time)
        points = self.points
        return (int(points["step"][-1]), float(points["wall_time"].max())) if len(points) else None

    @property
    def points(self) -> Any:
        """The points that can be shown; one of another kind than the series takes a place, but is none."""
        points = self._reservoir.points
        known = self._valid
        if known is None or known[0] is not points:
            shown = self._is_shown(points)
            known = self._valid = (points, points if shown.all() else points[shown])
        return known[1]

    def _is_shown(self, points: Any) -> Any:
        shown = np.isin(points["kind"], _SHOWN.get(self.metadata.data_class, ()))
        if self.metadata.data_class == BLOBS:
            rank, tensor = points["rank"], points["kind"] == Kind.TENSOR
            fits = rank == 1
            if self.metadata.plugin == AUDIO:
                fits |= rank == 2
            elif self.metadata.plugin in RANK_0_BLOBS:
                fits |= rank == 0
            shown &= fits | ~tensor
        return shown

    def lengths(self, points: Any) -> Any:
        """How many blobs each of ``points`` has."""
        counts = points["elements"].astype(np.int64)
        counts[points["kind"] == Kind.IMAGE] = _IMAGE_PARTS
        counts[np.isin(points["kind"], (Kind.AUDIO, Kind.GRAPH, Kind.RUN_METADATA))] = 1
        counts[points["rank"] == 2] //= 2  # clips and their labels, of which the labels are dropped
        return counts
