"""Where errors go that must not be raised into training."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bucketboard.errors import BucketboardError

__all__ = ["OnError", "Reporter"]

logger = logging.getLogger("bucketboard")

OnError = Callable[[BucketboardError], None]
_MOST_KINDS = 100


class Reporter:
    """Hands errors to ``on_error``, or logs each once as a warning of the logger ``bucketboard``."""

    def __init__(self, on_error: OnError | None) -> None:
        self._on_error = on_error
        self._seen: set[str] = set()

    def __call__(self, error: BucketboardError) -> None:
        """Report ``error``. Never raises."""
        try:
            if self._on_error is not None:
                self._on_error(error)
            elif str(error) not in self._seen and len(self._seen) < _MOST_KINDS:
                self._seen.add(str(error))
                logger.warning("%s", error)
        except Exception:
            logger.exception("on_error failed on: %s", error)
