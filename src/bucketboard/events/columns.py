"""What a scan finds in event files, as columns: one row per value that TensorBoard may show."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np

__all__ = ["RUN_GRAPH_TAG", "Array", "Columns", "Damage", "Kind"]

Array = Any
"""A one-dimensional numpy array; its type is said where it is declared."""

RUN_GRAPH_TAG = "__run_graph__"
"""The tag of graphs, which have none in the event."""


class Kind(IntEnum):
    """What a row is. Below ``GRAPH`` a ``Summary.Value``, from there on an event of another kind."""

    SIMPLE = 0
    """``simple_value``."""
    SCALAR = 1
    """A tensor of rank 0 with one float32: what TensorBoard's data server takes for a scalar."""
    NUMBER = 2
    """Any other tensor of exactly one number, such as a double; ``value`` holds it, rounded to a double."""
    TENSOR = 3
    """Also a value of metadata alone: an empty vector."""
    IMAGE = 4
    """A legacy image, as also torch writes it."""
    AUDIO = 5
    HISTOGRAM = 6
    OBSOLETE = 7
    """A value of a kind that nothing has written for years."""
    GRAPH = 16
    RUN_METADATA = 17
    META_GRAPH = 18
    """Has no tag."""
    SESSION_START = 19
    """``SessionLog`` with status START; has no tag."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A place in a file that can't be read; ``length`` is 0 where it isn't known how far it reaches."""

    offset: int
    length: int
    message: str


@dataclass(slots=True)
class Columns:
    """Rows in the order of the file.

    ``offset`` and ``length`` are those of the whole record in the file: the serialised Event lies at
    ``offset + 12`` and has ``length - 16`` bytes; ``index`` is the value's place in its ``summary.value``.
    """

    step: Array  # int64
    wall_time: Array  # float64
    tag: Array  # int32, place in tags; -1: none
    value: Array  # float64, NaN where there is none
    kind: Array  # uint8, see Kind
    offset: Array  # int64
    length: Array  # int64
    index: Array  # int32
    elements: Array  # int32: strings in a string tensor, parts of an image (3) or audio (1); else 0
    rank: Array  # int8: dimensions of a tensor; 0 for anything else
    tags: list[str] = field(default_factory=list)
    """Of all that the scanner has seen so far; shared between the scanner's results."""
    first: dict[int, bytes] = field(default_factory=dict)
    """For tags with their first value among these rows: that value's serialised SummaryMetadata, b"" if
    it has none."""
    stated: dict[int, bytes] = field(default_factory=dict)
    """For tags whose first value with a SummaryMetadata is among these rows: that metadata."""
    start: float = float("nan")
    """The earliest wall time among all events read, also those without a row; NaN: no events."""
    events: int = 0
    """Valid events read, also those without a row."""

    def __len__(self) -> int:
        return len(self.step)

    @property
    def is_scalar(self) -> Array:
        """A mask of the rows that have a value."""
        return self.kind <= Kind.NUMBER

    def take(self, rows: Array) -> Columns:
        """Some of the rows: a mask, a slice or their places. Everything else is shared."""
        return replace(self, **{name: getattr(self, name)[rows] for name in ARRAYS})


ARRAYS = {
    "step": np.int64,
    "wall_time": np.float64,
    "tag": np.int32,
    "value": np.float64,
    "kind": np.uint8,
    "offset": np.int64,
    "length": np.int64,
    "index": np.int32,
    "elements": np.int32,
    "rank": np.int8,
}
"""The arrays of Columns, in order, and their types."""
