"""The loop that keeps TensorBoard's picture up to date."""

from __future__ import annotations

import argparse
import logging
import threading
from collections.abc import Callable

from tensorboard.backend.event_processing.data_ingester import LocalDataIngester

from bucketboard.errors import BucketboardError
from bucketboard.serve.filesystem import unmount
from bucketboard.serve.prefix import Prefix

__all__ = ["Ingester"]

_log = logging.getLogger(__name__)
_CLOSE_TIMEOUT = 5.0


class Ingester(LocalDataIngester):  # type: ignore[misc]
    """TensorBoard's reader of log directories, in a loop that one error does not end.

    A cycle over a ``prefix`` makes one listing, then reads what the listing says has grown. Without a
    prefix it reads a local directory.
    """

    def __init__(self, flags: argparse.Namespace, prefix: Prefix | None) -> None:
        super().__init__(flags)
        self._prefix = prefix
        self._interval: float = flags.reload_interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bucketboard-reload", daemon=True)
        self._reported: str | None = None

    def start(self) -> None:
        """Begin with what the prefix's present listing shows."""
        self._thread.start()

    def close(self) -> None:
        """End the loop; waits a few seconds for what is being read."""
        self._stop.set()
        if self._prefix:
            self._prefix.close()
        self._thread.join(_CLOSE_TIMEOUT)

    def _run(self) -> None:
        try:
            self._load()
            # With an interval of 0 everything is read once.
            while not self._stop.wait(self._interval or None):
                if self._prefix is None or self._refresh(self._prefix):
                    self._load()
        finally:
            if self._prefix:
                unmount(self._prefix)

    def _refresh(self, prefix: Prefix) -> bool:
        try:
            lost = prefix.refresh()
        except BucketboardError as error:
            self._report(f"what is shown may be old, the listing failed: {error}")
            return False
        if lost:
            # A run without one of its files is another run: TensorBoard drops it here and reads it anew.
            prefix.forgotten = lost
            _attempt(self._multiplexer.Reload)
            prefix.forgotten = frozenset()
        return True

    def _load(self) -> None:
        for path, name in self._path_to_run.items():
            _attempt(self._multiplexer.AddRunsFromDirectory, path, name)
        _attempt(self._multiplexer.Reload)
        failures = self._prefix.failures if self._prefix else {}
        if failures and not self._stop.is_set():
            path, error = next(iter(failures.items()))
            self._report(f"{len(failures)} of the files could not be read, such as {path}: {error}")
        else:
            self._report(None)

    def _report(self, trouble: str | None) -> None:
        """Warn when the trouble changes, not each time it is met."""
        if trouble and trouble != self._reported:
            _log.warning("%s", trouble)
        elif self._reported and not trouble:
            _log.warning("everything can be read again")
        self._reported = trouble


def _attempt(read: Callable[..., object], *arguments: object) -> None:
    try:
        read(*arguments)
    except Exception:  # of whatever kind TensorBoard's loaders raise on one run: the others go on
        _log.warning("a run could not be read, trying again at the next reload", exc_info=True)
