"""What callers pass as tag, value, step and wall time, as an event holds it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, cast

from bucketboard.errors import InvalidError

__all__ = ["exact_tag", "number", "reject_meta_tensors", "seconds", "whole_step"]

_STEPS = range(-(2**63), 2**63)


def exact_tag(tag: Any) -> str:
    """The tag as it is, without any cleaning; a str subclass as a str."""
    if not isinstance(tag, str):
        raise InvalidError(f"a tag must be a str, not {type(tag).__name__}")
    return str.__str__(tag)


def number(value: Any) -> float:
    """A number, its text, or an array or tensor of one element as a float."""
    item = getattr(value, "item", None)
    return float(item() if callable(item) else value)


def whole_step(step: Any) -> int:
    """A step in the range of an event's (64 bits); ``None`` is 0."""
    whole = 0 if step is None else int(step)
    if whole not in _STEPS:
        raise InvalidError(f"step {whole} does not fit in 64 bits")
    return whole


def seconds(walltime: Any) -> float:
    """Seconds since the epoch; ``None`` is now."""
    return time.time() if walltime is None else float(walltime)


def reject_meta_tensors(values: Iterable[Any]) -> None:
    """Tensors without data: torch's builders would log random numbers for them, drawn from numpy's state."""
    if any(cast(bool, getattr(value, "is_meta", False)) for value in values):
        raise InvalidError("a tensor on the meta device has no values")
