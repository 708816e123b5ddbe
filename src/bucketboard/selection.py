"""Which files of a directory, or objects below a prefix, take part."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from bucketboard.events.filename import is_event_file

__all__ = ["HIDDEN", "RUN_FILE", "Selection", "is_hidden", "is_shown"]

HIDDEN = ".bucketboard"
RUN_FILE = "bucketboard.json"
"""Beside a run's event files: what is said of the run."""


def is_hidden(path: str) -> bool:
    """Whether a component begins with ``.bucketboard``: ours, and never a run."""
    return f"/{HIDDEN}" in f"/{path}"


def is_shown(path: str) -> bool:
    """Whether ``path`` has a place in a tree and none of its components is ours.

    A component that no path can name, such as the "" after a folder marker's slash, has none.
    """
    whole = f"/{path}/"
    return not is_hidden(path) and not ("//" in whole or "/./" in whole or "/../" in whole)


@dataclass(frozen=True)
class Selection:
    """Globs in which ``*`` crosses slashes, for paths with slashes; one that fits a directory fits all in it.

    One without a slash fits names wherever they are. With ``include`` a path must fit one of these; one that
    fits an ``exclude`` is left out.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    events_only: bool = False

    @classmethod
    def of(cls, include: Iterable[str], exclude: Iterable[str], events_only: bool) -> Selection:
        """From what a caller gives; a single glob may be given as it is."""
        return cls(_globs(include), _globs(exclude), events_only)

    def __call__(self, path: str) -> bool:
        """Whether the file at ``path`` takes part."""
        if is_hidden(path) or (self.events_only and not is_event_file(path)):
            return False
        if self.include and not _fits(path, self.include):
            return False
        return not (self.exclude and _fits(path, self.exclude))

    def leaves_out(self, path: str) -> bool:
        """Whether neither ``path`` takes part, whatever it is, nor anything below it."""
        return is_hidden(path) or (bool(self.exclude) and _fits(path, self.exclude))


def _globs(given: Iterable[str]) -> tuple[str, ...]:
    # Taken letter by letter a single one would fit nearly everything.
    return (given,) if isinstance(given, str) else tuple(given)


def _fits(path: str, globs: tuple[str, ...]) -> bool:
    parts = path.split("/")
    paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(
        fnmatch.fnmatchcase(each, glob.rstrip("/"))
        for glob in globs
        for each in (paths if "/" in glob.rstrip("/") else [*paths, *parts])
    )
