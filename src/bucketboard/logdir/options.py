"""What a replication of a directory can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bucketboard.errors import InvalidError
from bucketboard.replication.cadence import Cadence
from bucketboard.selection import Selection

__all__ = ["SyncOptions"]


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
    publish_index: bool = False
    """Bring the prefix's index up to date at the end, if anything was sent."""
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
    def selection(self) -> Selection:
        """Which files take part."""
        return Selection.of(self.include, self.exclude, self.events_only)

    @property
    def cadence(self) -> Cadence:
        """When a growing file's uploads are due."""
        return Cadence(self.upload_every, self.max_lag)
