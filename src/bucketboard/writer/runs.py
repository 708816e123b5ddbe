"""A run and its sub-runs, which are flushed, synced and closed together."""

from __future__ import annotations

import contextlib
import threading
import time

from bucketboard.errors import BucketboardError
from bucketboard.replication.position import Mark, Position
from bucketboard.writer.event_file_writer import EventFileWriter

__all__ = ["Runs"]


class Runs:
    """The event file writer of a run and, by name, those of its sub-runs ``<logdir>/<name>``."""

    def __init__(self, main: EventFileWriter) -> None:
        self._main = main
        self._children: dict[str, EventFileWriter] = {}
        self._closed: set[str] = set()
        self._lock = threading.RLock()  # a signal handler may log in the middle of logging

    def child(self, name: str) -> EventFileWriter:
        """The writer of the sub-run, made at its first use and opened again after a close."""
        with self._lock:
            writer = self._children.get(name)
            if writer is None:
                writer = self._children[name] = self._main.child(name)
            elif name in self._closed:
                self._closed.remove(name)
                writer.reopen()
            return writer

    def finish(self, name: str) -> None:
        """The sub-run is complete: send the rest without waiting for it."""
        with self._lock:
            self._closed.add(name)
            self._children[name].begin_close()

    def flush(self) -> None:
        """Everything appended is in the logs; no network."""
        for writer in self._all():
            writer.flush()

    def sync(self, timeout: float | None) -> Position:
        """Ask for everything to be sent, then wait; ``timeout`` seconds for all runs together.

        Raises:
            BucketboardError: what the first run that failed raised, after all others were waited for.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        writers = self._all()
        if len(writers) > 1:
            for writer in writers:
                with contextlib.suppress(BucketboardError):
                    writer.sync(0)  # wakes its upload
        failure: BucketboardError | None = None
        for writer in writers:
            try:
                writer.sync(None if deadline is None else max(0.0, deadline - time.monotonic()))
            except BucketboardError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return self.position

    def close(self) -> None:
        """Close every run, waiting once for all of them."""
        with self._lock:
            self._closed = set(self._children)
        writers = self._all()
        deadline = time.monotonic() + self._main.close_timeout
        for writer in writers:
            writer.begin_close()
        for writer in writers:
            writer.end_close(max(0.0, deadline - time.monotonic()))

    @property
    def position(self) -> Position:
        """The sum over all runs."""
        positions = [writer.position for writer in self._all()]
        return Position(
            appended=sum((position.appended for position in positions), Mark()),
            logged=sum((position.logged for position in positions), Mark()),
            stored=sum((position.stored for position in positions), Mark()),
        )

    @property
    def dropped(self) -> int:
        """Events left out, in all runs."""
        return sum(writer.dropped for writer in self._all())

    def _all(self) -> list[EventFileWriter]:
        with self._lock:
            return [self._main, *self._children.values()]
