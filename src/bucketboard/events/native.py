"""The native core, where the package was built with a compiler."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bucketboard.events.columns import ARRAYS
from bucketboard.events.reference import Scan

if TYPE_CHECKING:
    core: Any
else:
    try:
        from bucketboard.events import _scan as core
    except ImportError:
        core = None
    if getattr(core, "INTERFACE", 0) != 1:  # of another version, left behind in a source tree
        core = None

__all__ = ["Data", "core", "record_ends", "scan"]

Data: TypeAlias = bytes | bytearray | memoryview | mmap.mmap

_IN_BLOCK = ("step", "wall_time", "value", "offset", "length", "tag", "index", "elements", "kind", "rank")
"""The order in which the core lays out the columns."""

_SEED = int.from_bytes(os.urandom(8), "little")
"""Of the hashes of tags, so that no file can be made to have tags that collide."""


def _view(data: Data) -> Any:
    """The bytes as an array, which keeps them where they are; numpy has none of nothing."""
    return np.frombuffer(data, np.uint8) if len(data) else np.empty(0, np.uint8)


def _address(view: Any) -> int:
    return int(view.__array_interface__["data"][0])


def record_ends(data: Data, offset: int) -> tuple[int, int, list[tuple[int, int, int]]]:
    """As the reference's scan without events: end, count and damage as places in ``data``."""
    view = _view(data)[offset:]
    found: tuple[int, int, list[tuple[int, int, int]]] = core.record_ends(_address(view), len(view), offset)
    return found


def scan(data: Data, base: int) -> Scan:
    """As the reference's scan."""
    view = _view(data)
    end, wanted, events, start, block, rows, capacity, tags, damage, damaged = core.scan(
        _address(view), len(view), base, _SEED
    )
    arrays = {}
    at = 0
    for name in _IN_BLOCK:
        dtype = np.dtype(ARRAYS[name])
        arrays[name] = np.frombuffer(block, dtype, rows, at) if rows else np.empty(0, dtype)
        at += capacity * dtype.itemsize
    return Scan(
        end,
        wanted,
        events,
        start,
        arrays,
        [tag for tag, _, _ in tags],
        [first for _, first, _ in tags],
        [stated for _, _, stated in tags],
        damage,
        damaged,
    )
