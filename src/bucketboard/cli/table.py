"""Tables and times as people read them."""

from __future__ import annotations

import datetime
import math
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

__all__ = ["ago", "printable", "shown", "table", "when"]

_LEAST = 8
"""Characters that a column keeps when a line is too long."""


def when(time: float | None) -> str:
    """A time in seconds since the epoch, in the local time zone."""
    if time is None:
        return ""
    try:
        return datetime.datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{time:g}"


def ago(seconds: float) -> str:
    """A time span: 45 s, 12 min, 5 h, 3 d."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def shown(value: Any) -> str:
    """A value in a cell."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def printable(text: str) -> str:
    """Without what a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Lines; on a terminal no longer than it is wide, where the widest columns are cut."""
    cells = [[printable(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    if sys.stdout.isatty():
        most = shutil.get_terminal_size().columns
        while sum(widths) + 2 * (len(widths) - 1) > most and max(widths) > _LEAST:
            widths[widths.index(max(widths))] -= 1
    return [
        "  ".join(
            _padded(cell, width, at_right) for cell, width, at_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]


def _padded(cell: str, width: int, right: bool) -> str:
    if _width(cell) > width:
        while _width(cell) > width - 1:
            cell = cell[:-1]
        cell += "…"
    space = " " * (width - _width(cell))
    return space + cell if right else cell + space


def _width(text: str) -> int:
    """Columns of a terminal: some characters take two, some none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(unicodedata.combining(each) != 0 for each in text)
