"""What is told while a replication goes on, and what its report will say."""

from __future__ import annotations

from collections.abc import Callable

from bucketboard.errors import BucketboardError
from bucketboard.logdir.follower import Outcome
from bucketboard.logdir.report import SyncEvent, SyncReport

__all__ = ["Account"]


class Account:
    """Tells each thing once and keeps count of it."""

    def __init__(self, tell: Callable[[SyncEvent], None], *, dry_run: bool) -> None:
        self.report = SyncReport()
        self.sent: set[str] = set()
        """The files that had something new in this session."""
        self._tell = tell
        self._would = "would " if dry_run else ""
        self._told: set[tuple[str, str]] = set()

    def once(self, kind: str, path: str, message: str) -> bool:
        """Tell it, unless it was told before; gives whether it was told now."""
        if (path, message) in self._told:
            return False
        self._told.add((path, message))
        self._tell(SyncEvent(kind, path, message))
        return True

    def refused(self, path: str, why: str) -> None:
        """A file takes no part."""
        if self.once("refused", path, why):
            self.report.refused.append((path, why))

    def failed(self, path: str, why: BucketboardError | str) -> None:
        """A file (all of them: "") could not be stored, and will not be."""
        self.report.failed.append((path, str(why)))
        self._tell(SyncEvent("failed", path, str(why)))

    def passed(self, path: str, outcome: Outcome) -> None:
        """A pass over a file has succeeded."""
        if outcome.sent:
            self.sent.add(path)
            kinds = ("send", "replace") if self._would else ("sent", "replaced")
            if outcome.replaced:
                self.report.replaced.append((path, outcome.replaced))
            kind = self._would + kinds[bool(outcome.replaced)]
            self._tell(SyncEvent(kind, path, outcome.replaced, outcome.bytes))
        if outcome.damage and outcome.complete and self.once("damaged", path, outcome.damage):
            self.report.damaged.append((path, outcome.damage))

    def done(self, path: str) -> None:
        """The final pass is through with a file."""
        self.report.unchanged += path not in self.sent

    def deleted(self, path: str) -> None:
        """An object whose file is gone was deleted."""
        self.report.deleted += 1
        self.sent.discard(path)
        self._tell(SyncEvent("would delete" if self._would else "deleted", path))
