"""The native core, where the package was built with a compiler."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    core: Any
else:
    try:
        from bucketboard.events import _scan as core
    except ImportError:
        core = None

__all__ = ["Data", "core", "record_ends"]

Data: TypeAlias = bytes | bytearray | memoryview | mmap.mmap


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
