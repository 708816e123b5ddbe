"""Which run an event file belongs to: what TensorBoard makes of the same tree."""

from __future__ import annotations

__all__ = ["parent", "run_name"]


def parent(path: str) -> str:
    """The directory that ``path`` is in, "" at the top."""
    return path.rpartition("/")[0]


def run_name(directory: str, mount: str = "") -> str:
    """The run in a directory: its path, "." for the top; below a named log directory the name comes first."""
    return f"{mount}/{directory or '.'}" if mount else directory or "."
