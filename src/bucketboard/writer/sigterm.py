"""Draining on SIGTERM, for those who ask: schedulers send it before they take the machine away."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from bucketboard.errors import BucketboardError
from bucketboard.writer import registry

__all__ = ["install"]

_Handler = Callable[[int, FrameType | None], object]


class _Drain:
    """The signal handler: the first SIGTERM drains, and is raised again for the earlier handler after it."""

    def __init__(self, previous: _Handler | int | None) -> None:
        self._previous = previous
        self._started = False
        self._done = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._done:
            self._pass_on(number, frame)
        elif not self._started:
            self._started = True
            threading.Thread(target=self._run, name="bucketboard-sigterm", daemon=True).start()

    def _run(self) -> None:
        writers = registry.open_writers()
        deadline = time.monotonic() + max((writer.close_timeout for writer in writers), default=0.0)
        for writer in writers:
            with contextlib.suppress(BucketboardError):
                writer.sync(0)  # wakes its upload
        for writer in writers:
            with contextlib.suppress(BucketboardError):
                writer.sync(max(0.0, deadline - time.monotonic()))
        self._done = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if callable(self._previous):
            self._started = self._done = False  # the earlier handler may let the process live on
            self._previous(number, frame)
        elif self._previous != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def install() -> None:
    """Upload on SIGTERM, then do what the signal did before.

    The handler only starts a thread: training goes on while the log is sent, for the writers'
    ``close_timeout`` at most.

    Raises:
        ValueError: not in the main thread, the only one that may install handlers.
    """
    previous = signal.getsignal(signal.SIGTERM)
    if not isinstance(previous, _Drain):
        signal.signal(signal.SIGTERM, _Drain(previous))
