"""Replication beside a command, in threads of its own: live at first, then the rest against a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Protocol

from bucketboard.errors import BucketboardError

if TYPE_CHECKING:
    from bucketboard.logdir.replicator import Replicator
    from bucketboard.logdir.report import SyncReport

__all__ = ["Deadline", "Outcome", "Say", "Sending"]


class Say(Protocol):
    """Where events of a run go: ``kind`` and ``facts`` for programs, ``message`` for people."""

    def __call__(self, kind: str, message: str, **facts: Any) -> None: ...


class Deadline:
    """A moment that can be moved closer."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._at - time.monotonic())

    def shorten(self, seconds: float) -> None:
        """Not later than ``seconds`` from now."""
        self._at = min(self._at, time.monotonic() + seconds)


@dataclass
class Outcome:
    """What became of the directory and of the spool."""

    report: SyncReport | None = None
    troubles: list[str] = field(default_factory=list)
    recovered: int = 0
    """Spooled files that were sent in their dead writers' place."""
    held: int = 0
    """Spooled files whose writers live on."""
    stopped: bool = False
    """It was told not to go on to the end."""

    @property
    def complete(self) -> bool:
        whole = self.report is not None and self.report.complete
        return whole and not self.troubles and not self.stopped


class Sending:
    """The replicator and the spool of one run. Nothing it does can raise into who supervises."""

    def __init__(
        self, replicator: Replicator, spool: Path | None, say: Say, wake: Callable[[], None]
    ) -> None:
        self._replicator = replicator
        self._spool = spool
        self._say = say
        self._wake = wake
        self._ended = Event()
        self._over: list[str] = []
        self._deadline = Deadline(0)
        self._threads = [
            Thread(target=self._run, args=(work,), name=f"bucketboard-{work.__name__}", daemon=True)
            for work in (self._replicate, self._take_over)
        ]
        self.outcome = Outcome()

    def start(self) -> None:
        """Replicate live."""
        for thread in self._threads:
            thread.start()

    def finish(self, deadline: Deadline) -> None:
        """The command has ended: send what is left. Returns at once; `done` tells when."""
        self._deadline = deadline
        self._ended.set()

    def stop(self) -> None:
        """End it now, as far as it can be ended."""
        self.outcome.stopped = True
        self._guarded(self._replicator.stop)

    @property
    def done(self) -> bool:
        return len(self._over) == len(self._threads)

    def _run(self, work: Callable[[], object]) -> None:
        self._guarded(work)
        self._over.append(work.__name__)  # and not the thread's end, which comes after the waking
        self._wake()

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BucketboardError as error:
            self._trouble(str(error))
        except Exception as error:
            self._trouble(f"{type(error).__name__}: {error}")

    def _trouble(self, message: str) -> None:
        self.outcome.troubles.append(message)
        self._say("trouble", message)

    def _replicate(self) -> None:
        try:
            self._replicator.start()
        except Exception as error:  # may have passed when the command ends: the final pass needs no start
            self._say("trouble", f"not replicating while the command runs: {error}")
        self._ended.wait()
        self.outcome.report = self._replicator.finish(self._deadline.left)

    def _take_over(self) -> None:
        """Send what writers in the command left in the spool; those that live keep what they hold."""
        self._ended.wait()
        if self._spool is None or not self._spool.is_dir():
            return
        from bucketboard.supervise.recover import recover

        left = self._deadline.left
        for result in recover(self._spool, wait=left, within=left):
            if result.state == "sent":
                amount = f"{result.events:,} events" if result.events else f"{result.bytes:,} bytes"
                self.outcome.recovered += 1
                self._say(
                    "recovered",
                    f"sent {amount} of a writer that died → {result.target}",
                    target=result.target,
                    name=result.name,
                    events=result.events,
                    bytes=result.bytes,
                )
            elif result.state == "held":
                self.outcome.held += 1
                self._say("held", f"{result.target}: its writer lives and will send it", path=result.path)
            else:
                self._trouble(f"{result.target or result.path}: {result.error}")
