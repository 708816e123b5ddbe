"""When the next upload is due: soon for a young run, seldom for an old one, never in a stampede."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SEGMENT_SECONDS", "Cadence"]

YOUNG = 600.0
OLD = 3600.0
EVERY_YOUNG = 10.0
EVERY_OLD = 60.0
RESEND_RATE = 16 * 1024
"""Bytes per second that re-sending what is already stored may cost."""
SEGMENT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Cadence:
    """``upload_every`` seconds between uploads (None: 10 in the first ten minutes, 60 after an hour)."""

    upload_every: float | None = None
    max_lag: float = 120.0

    def interval(self, *, age: float, resent: int, last_duration: float, segments: bool = False) -> float:
        """Seconds from the last upload's start to the next one.

        ``age`` of the run in seconds, ``resent`` the bytes of the next upload that are stored already,
        ``last_duration`` the seconds the last upload took.
        """
        wanted = max(self._every(age), resent / RESEND_RATE, 10 * last_duration)
        if segments:
            wanted = max(wanted, SEGMENT_SECONDS)
        return min(wanted, max(self.max_lag, SEGMENT_SECONDS) if segments else self.max_lag)

    def _every(self, age: float) -> float:
        if self.upload_every is not None:
            return self.upload_every
        progress = min(1.0, max(0.0, (age - YOUNG) / (OLD - YOUNG)))
        return EVERY_YOUNG + progress * (EVERY_OLD - EVERY_YOUNG)
