"""The open writers of this process: drained twice a second, closed at exit, begun anew in forked children."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
import weakref
from typing import Protocol

__all__ = ["add", "close_all", "open_writers", "remove"]

_TICK = 0.5
"""What was appended stays outside the log for this many seconds at most."""


class _Writer(Protocol):
    @property
    def close_timeout(self) -> float: ...
    def drain(self) -> None: ...
    def begin_close(self) -> None: ...
    def end_close(self, timeout: float) -> None: ...
    def sync(self, timeout: float | None) -> object: ...
    def after_fork(self) -> None: ...


_writers: set[_Writer] = set()
_lock = threading.Lock()
_wake = threading.Event()
_thread: threading.Thread | None = None


def add(writer: _Writer) -> None:
    """Look after ``writer`` until it is removed."""
    global _thread
    with _lock:
        _writers.add(writer)
        if _thread is None:
            thread = threading.Thread(target=_tick, name="bucketboard-log", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads: full queues and flush() drain instead
                thread.start()
                _thread = thread
    _finish_in_child()


def remove(writer: _Writer) -> None:
    """The writer was closed."""
    with _lock:
        _writers.discard(writer)
    _wake.set()


def open_writers() -> list[_Writer]:
    """The writers not closed yet."""
    with _lock:
        return list(_writers)


def _tick() -> None:
    global _thread
    while True:
        _wake.wait(_TICK)
        _wake.clear()
        with _lock:
            if not _writers:
                _thread = None
                return
            writers = list(_writers)
        for writer in writers:
            writer.drain()


def close_all() -> None:
    """Close every writer, waiting once for all of them: as long as the most patient one asks."""
    writers = open_writers()
    if not writers:
        return
    deadline = time.monotonic() + max(writer.close_timeout for writer in writers)
    for writer in writers:
        writer.begin_close()
    for writer in writers:
        writer.end_close(max(0.0, deadline - time.monotonic()))


def _after_fork() -> None:
    global _lock, _wake, _thread
    _lock, _wake, _thread = threading.Lock(), threading.Event(), None
    writers = list(_writers)
    _writers.clear()
    for writer in writers:
        writer.after_fork()


def _finish_in_child() -> None:
    """Close at the end of a multiprocessing child too: it ends without running exit handlers."""
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, close_all, exitpriority=0)


# Exit handlers run last to first. The finalizers of HTTP connections, which closing may yet open, have to
# come after ours, and their handler is registered by the first finalizer there is.
weakref.finalize(close_all, bool)
atexit.register(close_all)
os.register_at_fork(after_in_child=_after_fork)
