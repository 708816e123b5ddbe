"""Which keys are shown, and which run an event file belongs to: what TensorBoard makes of the same tree."""

from __future__ import annotations

__all__ = ["is_event_file", "is_shown", "parent", "run_name"]

_HIDDEN = ".bucketboard"


def is_event_file(path: str) -> bool:
    """Whether TensorBoard reads the file as events."""
    return "tfevents" in path.rpartition("/")[2]


def parent(path: str) -> str:
    """The directory that ``path`` is in, "" at the top."""
    return path.rpartition("/")[0]


def is_shown(path: str) -> bool:
    """Whether ``path`` has a place in a tree and none of its components is ours.

    A component that no path can name, such as the "" after a folder marker's slash, has none.
    """
    return not any(part in ("", ".", "..") or part.startswith(_HIDDEN) for part in path.split("/"))


def run_name(directory: str, mount: str = "") -> str:
    """The run in a directory: its path, "." for the top; below a named log directory the name comes first."""
    return f"{mount}/{directory or '.'}" if mount else directory or "."
