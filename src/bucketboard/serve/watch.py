"""When to look for new data: at an interval while somebody looks, on demand after that, else never."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

from bucketboard.serve.catalog import Catalog
from bucketboard.serve.indexing import Indexing

__all__ = ["Watch"]

_log = logging.getLogger(__name__)
_PATIENCE = 12
"""Intervals without a request after which nobody looks any more."""
_STILL = 24
"""Looks in a row that show no change after which the time between two of them doubles, and once more."""
_DOUBLINGS = 2
_FIRST_WAIT = 10.0
_WAIT = 2.0
"""The longest that requests wait for the first data, and after idleness for new ones, in seconds."""
_CLOSE_TIMEOUT = 5.0


class Watch:
    """The thread that refreshes a catalog.

    Without requests it goes on for twelve intervals and then sends nothing at all. The first request after
    that has a refresh made, and waits a moment for it. While somebody looks at what does not change, it looks
    less often; a writer stores each minute, so that what is logged is no reason for that.
    """

    def __init__(self, catalog: Catalog, interval: float, indexing: Indexing) -> None:
        self._catalog = catalog
        self._indexing = indexing
        self._interval = interval
        self._changed = threading.Condition()
        self._asked = time.monotonic()
        self._refreshed = -1.0
        self._loaded = False
        self._listings: Sequence[Future[None]] = ()
        self._resting = False
        self._still = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="bucketboard-refresh", daemon=True)

    def start(self, listings: Sequence[Future[None]]) -> None:
        """Read what the first listings show once they are there, then keep it up to date.

        If one of them fails there is nothing to be kept: whoever made them sees to that.
        """
        self._listings = listings
        self._thread.start()

    def asked(self) -> None:
        """Somebody looks: wait for the first data, or for new ones after idleness, but not for long."""
        now = time.monotonic()
        with self._changed:
            idle = self._is_idle(now)
            self._asked = now
            if not self._loaded:
                self._changed.wait_for(lambda: self._loaded or self._stopped, _FIRST_WAIT)
            elif idle:
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._refreshed >= now or self._stopped, _WAIT)

    def close(self) -> None:
        """Refresh no more; waits a few seconds for what is being read."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._indexing.close()
        self._catalog.close()
        self._thread.join(_CLOSE_TIMEOUT)

    @property
    def idle(self) -> bool:
        """Whether nobody has looked for a while, so that nothing is sent."""
        return self._resting

    @property
    def interval(self) -> float:
        """Seconds between two looks, as of now."""
        return self._interval * (1 << min(self._still // _STILL, _DOUBLINGS))

    def _is_idle(self, now: float) -> bool:
        return self._interval > 0 and now - self._asked > _PATIENCE * self._interval

    def _run(self) -> None:
        if any(listing.exception() for listing in self._listings):
            return
        self._refresh(listing=False)
        self._indexing.start()
        while self._interval and self._wait():
            self._refresh(listing=True)

    def _wait(self) -> bool:
        """Wait until a refresh is due; False when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, self.interval)
            self._resting = self._is_idle(time.monotonic())
            if self._resting:
                self._changed.wait_for(lambda: self._stopped or not self._is_idle(time.monotonic()))
                self._resting, self._still = False, 0
            return not self._stopped

    def _refresh(self, listing: bool) -> None:
        began = time.monotonic()
        try:
            self._catalog.refresh(listing=listing)
        except Exception:  # nothing that one file or one answer holds may end the refreshing
            if not self._stopped:
                _log.exception("a refresh failed, trying again")
        with self._changed:
            changed = any(mount.changed for mount in self._catalog.mounts)
            self._still = 0 if changed else self._still + 1
            self._refreshed = began
            self._loaded = True
            self._changed.notify_all()
