"""When to try again, for one file and for all of them."""

from __future__ import annotations

import random

__all__ = ["Backoff"]

_FIRST = 0.5
_MOST = 30.0


class Backoff:
    """Waiting times that double with each failure, jittered; one success ends them. Times in seconds."""

    def __init__(self) -> None:
        self.failures = 0
        self.until = float("-inf")
        self._last = float("-inf")
        self._random = random.Random()  # the process's own generator is not ours to use

    def failed(self, now: float, began: float | None = None) -> None:
        """Wait longer; but not for what ``began`` before the last failure, which is of the same trouble."""
        if began is not None and began <= self._last:
            return
        self._last = now
        wait = min(_MOST, _FIRST * 2 ** min(self.failures, 16))
        self.failures += 1
        self.until = now + wait * self._random.uniform(0.5, 1.5)

    def succeeded(self) -> None:
        """Go on without waiting."""
        self.failures = 0
        self.until = float("-inf")
