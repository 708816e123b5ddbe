"""Files that frameworks write below ``s3://``: what they open, and what is known of it without asking S3.

An event file becomes an `EventFileWriter` of ours, so that its bytes travel once, a killed process loses
nothing that was flushed, and no failure reaches the training. Any other file goes beside the event files.
"""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any

from bucketboard.errors import BucketboardError
from bucketboard.events.filename import is_event_file
from bucketboard.events.record import HEADER_BYTES, OVERHEAD_BYTES
from bucketboard.writer.event_file_writer import EventFileWriter

__all__ = ["WRITTEN", "EventStream", "RunFile", "Written", "writer_options"]

# What torch (tensorboard's writer) and tensorboardX put before the suffix.
_NAME = re.compile(r"events\.out\.tfevents\.\d+\.(?P<rest>.*)", re.DOTALL)


def writer_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a framework's writer: one run for all ranks, by rank 0, unless asked otherwise."""
    given = dict(options)
    if given.get("rank_zero_only") is None and not os.environ.get("BUCKETBOARD_RANK_ZERO_ONLY"):
        given["rank_zero_only"] = True
    return given


class EventStream:
    """The writing side of an event file: takes its bytes in pieces of any size, hands over whole records.

    The record that opens the file is ours, as our files may roll over to others.
    """

    def __init__(self, writer: EventFileWriter, on_close: Callable[[], None]) -> None:
        self._writer = writer
        self._on_close = on_close
        self._pending = bytearray()
        self._opened = False
        self._lock = threading.Lock()
        self.closed = False

    def write(self, data: bytes) -> int:
        """Take the next bytes of the file. Never raises, never waits for the network."""
        with self._lock:
            self._pending += data
            at = 0
            while len(self._pending) - at >= HEADER_BYTES:
                (length,) = struct.unpack_from("<Q", self._pending, at)
                end = at + length + OVERHEAD_BYTES
                if end > len(self._pending):
                    break
                self._add(bytes(memoryview(self._pending)[at + HEADER_BYTES : end - 4]))
                at = end
            if at:
                del self._pending[:at]
        return len(data)

    def _add(self, payload: bytes) -> None:
        opening, self._opened = not self._opened, True
        if not (opening and b"brain.Event:" in payload):
            self._writer.add_event(payload)

    def flush(self) -> None:
        """What was written is in the log; no network."""
        self._writer.flush()

    def close(self) -> None:
        """Wait for S3, at most ``close_timeout`` seconds."""
        if not self.closed:
            self.closed = True
            self._writer.close()
            self._on_close()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class RunFile(io.BytesIO):
    """Any other file: stored beside the event files when it is closed."""

    def __init__(self, written: Written, url: str) -> None:
        super().__init__()
        self._written = written
        self._url = url

    def write(self, data: Any) -> int:
        """Add bytes, or text where the file was opened for text."""
        return super().write(data.encode() if isinstance(data, str) else data)

    def close(self) -> None:
        """Keep the file; it is sent in the background."""
        if not self.closed:
            self._written.add_file(self._url, self.getvalue())
        super().close()


class Written:
    """What this process writes below ``s3://`` through frameworks. Methods may be called from any thread."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self._directories: set[str] = set()
        self._files: set[str] = set()
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: what is open belongs to the parent, and so may the lock."""
        self._open: dict[str, list[EventFileWriter]] = {}
        self._lock = threading.RLock()

    def open(self, url: str) -> EventStream | RunFile:
        """The file at ``url``, for writing; no request is made."""
        directory, _, name = url.rpartition("/")
        if not is_event_file(url):
            return RunFile(self, url)
        writer = EventFileWriter(directory, filename_suffix=_suffix(name), **writer_options(self.options))
        with self._lock:
            self._open.setdefault(directory, []).append(writer)
            self._directories.add(directory)
        return EventStream(writer, lambda: self._closed(directory, writer))

    def _closed(self, directory: str, writer: EventFileWriter) -> None:
        with self._lock:
            self._open[directory].remove(writer)
            if not self._open[directory]:
                del self._open[directory]

    def add_file(self, url: str, data: bytes) -> None:
        """Keep a file that is no event file; it is sent in the background, or after a crash. Never raises."""
        with self._lock:
            self._files.add(url)
            run = max((run for run in self._open if url.startswith(f"{run}/")), key=len, default=None)
            if run is not None:
                self._open[run][-1].add_file(url[len(run) + 1 :], data)
                return
        directory, _, name = url.rpartition("/")
        try:
            writer = EventFileWriter(directory, **writer_options(self.options))
        except BucketboardError:
            return  # the run's own writer has said what is wrong
        writer.add_file(name, data)
        writer.begin_close()  # what is left is waited for at the end of the interpreter

    def is_run(self, url: str) -> bool:
        """Whether this process has opened an event file in the directory ``url``."""
        with self._lock:
            return url in self._directories

    def kind(self, url: str) -> str | None:
        """ "file", "directory", or "" for neither, as far as that can be said without S3; None: it can't.

        What lies directly in a run that is open is known, but for its event files.
        """
        url = url.rstrip("/")
        if is_event_file(url):
            return None  # ours have names of their own
        with self._lock:
            if url in self._files:
                return "file"
            below = f"{url}/"
            if url in self._directories or any(
                known.startswith(below) for known in (*self._directories, *self._files)
            ):
                return "directory"
            return "" if url.rpartition("/")[0] in self._open else None

    def is_inside(self, url: str) -> bool:
        """Whether ``url`` lies anywhere below a run that is open."""
        with self._lock:
            return any(url.startswith(f"{run}/") for run in self._open)


def _suffix(name: str) -> str:
    """What the framework was asked to add to the name of its event file."""
    match = _NAME.fullmatch(name)
    rest = match["rest"] if match else ""
    host = socket.gethostname()
    if not rest.startswith(host):
        return ""
    return re.sub(rf"\A\.{os.getpid()}\.\d+", "", rest[len(host) :])


WRITTEN = Written()
"""That of this process."""
os.register_at_fork(after_in_child=WRITTEN.after_fork)
