"""What a replication did, as it happens and at the end."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from bucketboard.errors import UnavailableError

__all__ = ["QUIET", "IncompleteError", "Progress", "SyncEvent", "SyncReport"]

QUIET = frozenset({"sent", "would send", "deleted", "would delete"})
"""Kinds of events that go without saying."""


@dataclass(frozen=True)
class SyncEvent:
    """One thing that happened.

    ``kind``: "sent" (``bytes`` of ``path`` are new in the bucket), "replaced" (and why), "deleted",
    "damaged" (an event file was stored with a torn or corrupt part), "refused" (a file that takes no part,
    and why), "whole" (files are sent whole, and why), "polling" (scans alone find changes), "cache" (why
    what was sent is not remembered), "index" (what became of it), "retry" (it will be tried again),
    "failed" (it will not), or, with ``dry_run``, "would send", "would replace", "would delete".
    """

    kind: str
    path: str
    message: str = ""
    bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Progress:
    """``files`` and ``bytes`` are what is done of the ``total_files`` and ``total_bytes`` that differ."""

    files: int
    total_files: int
    bytes: int
    total_bytes: int


@dataclass
class SyncReport:
    """``files`` were sent, in requests with ``bytes`` of bodies; ``unchanged`` had nothing new.

    ``stored`` are the bytes of the directory's files that the bucket is known to hold.
    """

    files: int = 0
    unchanged: int = 0
    bytes: int = 0
    stored: int = 0
    requests: int = 0
    retries: int = 0
    deleted: int = 0
    seconds: float = 0.0
    replaced: list[tuple[str, str]] = field(default_factory=list)
    damaged: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the bucket has everything that takes part."""
        return not self.failed

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "complete": self.complete}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SyncReport:
        """What `as_dict` gave, after a way through JSON."""
        report = cls(**{entry.name: values[entry.name] for entry in dataclasses.fields(cls)})
        for name in ("replaced", "damaged", "refused", "failed"):
            setattr(report, name, [(path, message) for path, message in getattr(report, name)])
        return report


class IncompleteError(UnavailableError):
    """Not all files could be stored; ``report`` tells which, and what was."""

    def __init__(self, report: SyncReport) -> None:
        path, message = report.failed[0]
        count = len(report.failed)
        what = (
            f"{count:,} files could not be stored, such as {path}" if count > 1 else f"{path} was not stored"
        )
        super().__init__(
            f"{what}: {message}",
            hint="sync again: what is stored already is not sent again",
        )
        self.report = report
