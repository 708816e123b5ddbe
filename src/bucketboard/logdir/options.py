"""What a replication of a directory can be told."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bucketboard.errors import InvalidError
from bucketboard.events.filename import is_event_file
from bucketboard.replication.cadence import Cadence

__all__ = ["Filter", "SyncOptions"]

HIDDEN = ".bucketboard"


@dataclass(frozen=True)
class Filter:
    """Which files of a directory, or objects of a prefix, take part.

    Patterns are shell globs in which ``*`` crosses slashes; one that matches a directory matches all in it.
    With ``include`` a file must match one of these; one that matches an ``exclude`` is left out.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    events_only: bool = False

    def __call__(self, path: str) -> bool:
        """Whether the file at ``path``, relative and with slashes, takes part."""
        if _hidden(path):
            return False
        if self.events_only and not is_event_file(path):
            return False
        if not (self.include or self.exclude):
            return True
        names = [path, *_parents(path)]
        if self.include and not _matches(names, self.include):
            return False
        return not _matches(names, self.exclude)

    def leaves_out(self, path: str) -> bool:
        """Whether neither ``path`` takes part, whatever it is, nor anything below it."""
        return _hidden(path) or (bool(self.exclude) and _matches([path, *_parents(path)], self.exclude))


def _hidden(path: str) -> bool:
    return any(part.startswith(HIDDEN) for part in path.split("/"))


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _matches(names: list[str], patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern.rstrip("/")) for pattern in patterns for name in names)


def _patterns(given: Iterable[str]) -> tuple[str, ...]:
    """One pattern may be given as it is: taken letter by letter it would match nearly everything."""
    return (given,) if isinstance(given, str) else tuple(given)


@dataclass(frozen=True)
class SyncOptions:
    """Times in seconds. ``cache`` is the file that remembers what was sent; None: one of the user's."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    events_only: bool = False
    delete: bool = False
    dry_run: bool = False
    checksum: bool = False
    """Trust neither the cache nor times: read every file and look at every object."""
    jobs: int = 16
    append: str = "auto"
    """"auto" grows objects where that is cheap, "grow" everywhere, "whole" sends whole files, seldom."""
    upload_every: float | None = None
    max_lag: float = 120.0
    settle: float = 2.0
    """A file that is no event file is sent when it has not changed for this long."""
    torn_after: float = 600.0
    """An event file with a torn or damaged end is sent as it is when it has not changed for this long."""
    patience: float = 60.0
    """How long the final pass goes on while nothing succeeds."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.append not in ("auto", "grow", "whole"):
            raise InvalidError(f"append={self.append!r} is not known", hint="use 'auto', 'grow' or 'whole'")
        if not 1 <= self.jobs <= 256:
            raise InvalidError(f"jobs={self.jobs!r} must be from 1 to 256")
        for name in ("max_lag", "torn_after", "patience"):
            if not getattr(self, name) > 0:
                raise InvalidError(f"{name}={getattr(self, name)!r} must be above 0 seconds")
        if self.upload_every is not None and not self.upload_every > 0:
            raise InvalidError(f"upload_every={self.upload_every!r} must be above 0 seconds")
        if not self.settle >= 0:
            raise InvalidError(f"settle={self.settle!r} must not be negative")

    @property
    def filter(self) -> Filter:
        """Which files take part."""
        return Filter(_patterns(self.include), _patterns(self.exclude), self.events_only)

    @property
    def cadence(self) -> Cadence:
        """When a growing file's uploads are due."""
        return Cadence(self.upload_every, self.max_lag)
