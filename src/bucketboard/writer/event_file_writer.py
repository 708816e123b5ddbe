"""The event file writer: accepts events at once, encodes them later, keeps them in S3 or in a directory."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import fields
from pathlib import PurePath
from typing import Any

from bucketboard.errors import BucketboardError, ClosedError, InvalidError, UnavailableError
from bucketboard.events.event import summary_event
from bucketboard.replication.log import Item
from bucketboard.replication.options import MEMORY, Options
from bucketboard.replication.position import Mark, Position
from bucketboard.store.settings import Settings, from_environ
from bucketboard.store.url import S3Url, is_s3_url
from bucketboard.writer import registry, sigterm
from bucketboard.writer.report import OnError, Reporter
from bucketboard.writer.sink import LocalSink, S3Sink, Sink

__all__ = ["EventFileWriter"]

_MOST_QUEUED = 16384
_MOST_QUEUED_BYTES = 1 << 20
_BATCH = 8192
_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
_UNSET: Any = object()


class EventFileWriter:
    """Writes events to event files below ``logdir``: ``s3://bucket/prefix/run`` or a local directory.

    A drop-in for ``tensorboard.summary.writer.event_file_writer.EventFileWriter``; usable from any thread.
    Nothing but ``sync`` raises after construction, and nothing but ``sync`` and ``close`` waits for S3. A
    forked child that logs writes an event file of its own.

    Args:
        logdir: where the event files go. No request is made before the first event.
        max_queue_size, flush_secs: accepted for compatibility; the log is written twice a second anyway.
        filename_suffix: added to the names of the event files.
        metadata: the user's own keys and values, kept on the objects and in ``bucketboard.json``.
        spool: a directory for the log; None keeps it in memory; not given: the user's state directory.
        on_error: called with each `BucketboardError`, possibly from another thread; default: logged once.
        options: fields of `Options` and of `Settings` by name.

    Raises:
        InvalidError: an option or the URL is not valid.
        OSError: the local directory can't be written.
    """

    _queue: deque[Item]
    _lock: threading.RLock
    _draining: bool
    _sink: Sink | None
    _unfinished: list[Sink]
    _closed: bool

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        max_queue_size: int = 10,
        flush_secs: float = 120,
        filename_suffix: str = "",
        *,
        metadata: Mapping[str, Any] | None = None,
        spool: str | os.PathLike[str] | None = _UNSET,
        on_error: OnError | None = None,
        **options: Any,
    ) -> None:
        self._logdir = str(logdir)
        self._suffix = filename_suffix
        self._given = dict(options, metadata=metadata, on_error=on_error)
        if spool is not _UNSET:
            self._given["spool"] = spool
            options["spool"] = MEMORY if spool is None else os.fspath(spool)
        names = {entry.name for entry in fields(Options)}
        self._options = from_environ(Options, {key: options.pop(key) for key in names & set(options)})
        self._settings = Settings.resolve(**options)
        self._user = {_text(key): _text(value) for key, value in (metadata or {}).items()}
        self._report = Reporter(on_error)
        self._url = S3Url.parse(self._logdir).resolved if is_s3_url(self._logdir) else None
        self._enabled = not (self._options.rank_zero_only and _rank() != 0)
        self._dropped = 0
        self._reset(deque())
        self._open()

    def _open(self) -> None:
        self._closed = False
        if not self._enabled:
            return
        if self._url is None:
            self._require_sink()  # as other writers do: the directory and an empty file at once
        registry.add(self)
        if self._options.drain_on_sigterm:
            try:
                sigterm.install()
            except ValueError:
                self._report(InvalidError("drain_on_sigterm works only for a writer made in the main thread"))

    @property
    def enabled(self) -> bool:
        """Whether events are kept: not in other ranks than 0 with ``rank_zero_only``."""
        return self._enabled

    @property
    def close_timeout(self) -> float:
        """Seconds that ``close`` waits for S3."""
        return self._options.close_timeout

    @property
    def dropped(self) -> int:
        """Events that were accepted and left out: the log was full, or they could not be encoded."""
        return self._dropped + (self._sink.log.dropped if self._sink else 0)

    @property
    def position(self) -> Position:
        """How far everything has come, in bytes and events."""
        self.drain()
        sink = self._sink
        if sink is None:
            return Position(Mark(), Mark(), Mark())
        stored, appended = sink.stored, sink.log.logged
        logged = appended if sink.log.written >= appended.bytes else Mark(sink.log.written, stored.events)
        return Position(appended, logged, stored)

    def get_logdir(self) -> str:
        """The directory or URL of the run."""
        return self._logdir

    def add_scalar(self, tag: str, value: float, step: int, wall_time: float) -> None:
        """Append a scalar: ``value`` at ``step`` and ``wall_time`` (seconds since the epoch)."""
        queue = self._queue
        queue.append((tag, value, step, wall_time))
        if len(queue) > _MOST_QUEUED:
            self.drain()

    def add_event(self, event: Any) -> None:
        """Append a protobuf ``Event`` of whichever library, or the bytes of one."""
        try:
            data = event if isinstance(event, bytes) else event.SerializeToString()
        except Exception as error:
            self._dropped += 1
            self.report(error)
            return
        self._queue.append(data)
        self._queued_bytes += len(data)
        if self._queued_bytes > _MOST_QUEUED_BYTES or len(self._queue) > _MOST_QUEUED:
            self.drain()

    def add_summary(self, summary: Any, step: int, wall_time: float) -> None:
        """Append a protobuf ``Summary``, or the bytes of one, at ``step`` and ``wall_time``."""
        try:
            data = summary if isinstance(summary, bytes) else summary.SerializeToString()
            event = summary_event(data, step, wall_time)
        except Exception as error:
            self._dropped += 1
            self.report(error)
            return
        self.add_event(event)

    def add_file(self, name: str, data: bytes) -> None:
        """Keep a file at ``name`` (relative, with slashes) beside the event files; the last one stays."""
        if self._closed or not self._enabled:
            return
        try:
            path = PurePath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise InvalidError(f"{name!r} is no relative path below the run")
            with self._lock:
                self._require_sink().add_file(path.as_posix(), data)
        except Exception as error:
            self.report(error)

    def report(self, error: Exception) -> None:
        """Hand an error to ``on_error``, or log it. Never raises."""
        if not isinstance(error, BucketboardError):
            failure = InvalidError(f"{self._logdir}: {type(error).__name__}: {error}")
            failure.__cause__ = error
            error = failure
        self._report(error)

    def drain(self) -> None:
        """Move what was appended into the log: encode it, and in spool mode write it to the file."""
        with self._lock:
            if self._draining or not self._queue:
                return  # a signal handler that logs, in the middle of draining
            self._draining = True
            try:
                self._drain()
            except Exception as error:
                self.report(error)
            finally:
                self._draining = False

    def _drain(self) -> None:
        queue = self._queue
        while queue:
            self._queued_bytes = 0
            items = [queue.popleft() for _ in range(min(len(queue), _BATCH))]
            if self._closed or not self._enabled:
                self._dropped += len(items)
                if self._closed:
                    self._report(
                        ClosedError(f"{self._logdir}: events after close()", hint="call reopen() first")
                    )
                continue
            try:
                sink = self._require_sink()
            except Exception:
                self._dropped += len(items)
                raise
            sink.log.write(items)
            sink.logged()

    def _require_sink(self) -> Sink:
        if self._sink is None and self._url is None:
            self._sink = LocalSink(self._logdir, self._suffix, self._report)
        elif self._sink is None and self._url is not None:
            self._sink = S3Sink(
                self._url, self._suffix, self._options, self._settings, self._user, self._report
            )
        assert self._sink is not None
        return self._sink

    def flush(self) -> None:
        """Everything appended so far is in the log. No network, no fsync."""
        self.drain()

    def sync(self, timeout: float | None = None) -> Position:
        """Wait until S3 has acknowledged everything appended so far; gives the position then.

        Raises:
            UnavailableError: not within ``timeout`` seconds (None: as long as it takes).
            InvalidError, FencedError: it can't be sent as things are.
        """
        if self._draining and self._in_signal_handler():
            raise UnavailableError(f"{self._logdir}: sync() in a signal handler that interrupted logging")
        self.drain()
        if self._sink is not None:
            self._sink.sync(timeout)
        return self.position

    def close(self) -> None:
        """Send the rest and wait for it, ``close_timeout`` seconds at most. Never raises (but Ctrl-C)."""
        self.begin_close()
        self.end_close(self.close_timeout)

    def begin_close(self) -> None:
        """The first half of ``close``: nothing more is accepted, uploads of the rest begin."""
        if self._draining and self._in_signal_handler():
            return  # the interrupted thread holds the log; the exit handler will close it
        self.drain()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._sink is not None:
                self._unfinished.append(self._sink)
                self._sink.begin_close()

    def end_close(self, timeout: float) -> None:
        """The second half: wait up to ``timeout`` seconds, report what is left."""
        if not self._closed:
            return
        registry.remove(self)
        deadline = time.monotonic() + timeout
        while self._unfinished:
            try:
                self._unfinished.pop().close(max(0.0, deadline - time.monotonic()))
            except Exception as error:
                self.report(error)

    def reopen(self) -> None:
        """Accept events again after ``close``; they go to a new event file. Else does nothing."""
        if self._closed:
            self._dropped = self.dropped
            self._sink = None
            self._open()

    def child(self, name: str) -> EventFileWriter:
        """A writer with the same options for the run ``name`` below this one."""
        return EventFileWriter(
            f"{self._logdir.rstrip('/')}/{name}", filename_suffix=self._suffix, **self._given
        )

    def after_fork(self) -> None:
        """Begin anew: in a forked child queue, log and locks belong to the parent."""
        self._reset(_ForkedQueue(self))

    def leave_fork(self, queue: deque[Item]) -> None:
        """The forked child logs: look after this writer here too."""
        with self._lock:
            if isinstance(self._queue, _ForkedQueue):
                self._queue = queue
                registry.add(self)

    def requeue(self, item: Item) -> None:
        """Append an item that met a queue no longer in use."""
        self._queue.append(item)

    def _reset(self, queue: deque[Item]) -> None:
        self._queue = queue
        self._queued_bytes = 0
        self._draining = False
        self._lock = threading.RLock()
        self._sink = None
        self._unfinished = []

    def _in_signal_handler(self) -> bool:
        # An RLock that this thread can take while draining goes on is held by this very thread.
        if self._lock.acquire(blocking=False):
            self._lock.release()
            return True
        return False


class _ForkedQueue(deque[Item]):
    """Stands in for the queue of a forked child until it logs, so that one that never logs costs nothing."""

    def __init__(self, writer: EventFileWriter) -> None:
        super().__init__()
        self._writer = writer

    def append(self, item: Item) -> None:
        """Leave the place to a real queue, and put ``item`` there."""
        self._writer.leave_fork(deque())
        self._writer.requeue(item)


def _text(value: object) -> str:
    """``value`` as text that can be encoded, whatever surrogates it came with."""
    return str(value).encode(errors="backslashreplace").decode()


def _rank() -> int:
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    for name in _RANKS:
        text = os.environ.get(name, "")
        if text.isdigit():
            return int(text)
    return 0
