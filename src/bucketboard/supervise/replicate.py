"""``replicate``: a directory kept equal to a prefix around a training loop, by a process of its own.

A process, because uploads in threads would take the training's interpreter lock, and would die with it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

from bucketboard.errors import InvalidError, UnavailableError
from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.report import IncompleteError, SyncReport
from bucketboard.store.settings import Settings, from_environ
from bucketboard.store.url import S3Url

__all__ = ["Replication", "replicate"]

logger = logging.getLogger("bucketboard")

_MARGIN = 5.0
"""Seconds beyond ``close_timeout`` in which the process is to answer."""
_AT_LEAST = 1.0
"""Seconds in which an answer is read that may have come long before anybody asked."""
_FINISH = b"finish\n"
_SOURCE = str(Path(__file__).parents[2])
# Neither the current directory, which -c puts first, may stand before the libraries, nor ours.
_ENTRY = (
    "import sys; sys.path[:] = [*filter(None, sys.path), {!r}]; "
    "from bucketboard.supervise.attend import attend; attend()"
)


def replicate(
    directory: str | os.PathLike[str],
    url: str,
    *,
    close_timeout: float = 60.0,
    check: bool = False,
    **options: Any,
) -> Replication:
    """Replicate ``directory`` to ``url`` while the ``with`` block runs, and what is left at its end.

        with bucketboard.replicate("runs", "s3://bucket/exp") as replication:
            train()
        print(replication.report)

    The work is done by a process of its own, which goes on to the end also if this one is killed. Trouble
    is logged and never raised into the block.

    Args:
        directory: what is logged to; need not exist yet.
        url: the prefix that gets to hold the same files.
        close_timeout: how long the end of the block waits for S3, in seconds.
        check: raise at the end of the block when the bucket is incomplete.
        options: fields of `SyncOptions` and of `Settings`, as ``profile="research"``.

    Raises:
        InvalidError: the URL or an option is wrong.
    """
    own = {entry.name for entry in fields(SyncOptions)}
    from_environ(SyncOptions, {name: value for name, value in options.items() if name in own})
    Settings.resolve(**{name: value for name, value in options.items() if name not in own})
    return Replication(Path(directory), S3Url.parse(url), options, close_timeout, check)


class Replication:
    """A directory being replicated; ``report`` is there after the block, None where it could not be had."""

    def __init__(
        self,
        directory: Path,
        url: S3Url,
        options: Mapping[str, Any],
        close_timeout: float,
        check: bool,
        spooled: Path | None = None,
    ) -> None:
        """``spooled``: the spooled log directory that is removed when the bucket has everything."""
        if not close_timeout >= 0:
            raise InvalidError(f"close_timeout={close_timeout!r} must not be negative")
        self._directory = directory
        self._url = url
        self._close_timeout = close_timeout
        self._check = check
        order = {
            "directory": str(directory.absolute()),
            "url": str(url),
            "options": options,
            "timeout": close_timeout,
            "spooled": spooled,
        }
        self._order = json.dumps(order, default=os.fspath).encode() + b"\n"
        self._process: subprocess.Popen[bytes] | None = None
        self._ends_by = 0.0
        self.report: SyncReport | None = None

    def __enter__(self) -> Replication:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self not in _live:
            return  # a forked child came out of the block that its parent is in
        self.report = self.finish()
        if self.report is not None and self.report.complete:
            return
        if self.report is not None:
            failure: UnavailableError = IncompleteError(self.report)
        else:
            failure = UnavailableError("the process that replicates gave no report")
        failure.message = f"{self._url} is incomplete: {failure.message}"
        failure.hint = f"send the rest with: bucketboard sync {self._directory} {self._url}"
        if self._check and kind is None:
            raise failure
        logger.warning("%s", failure)

    def start(self) -> None:
        """Begin, in a process of its own; that none could be started is logged."""
        _live.add(self)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _ENTRY.format(_SOURCE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # a terminal's Ctrl-C is for the training
            )
            assert self._process.stdin is not None
            self._process.stdin.write(self._order)
        except OSError as error:
            logger.warning(
                "%s is not replicated for now: no process could be started: %s", self._directory, error
            )

    def begin_finish(self) -> None:
        """Tell the process to finish, once."""
        process = self._process
        if process is None or self._ends_by:
            return
        assert process.stdin is not None
        self._ends_by = time.monotonic() + self._close_timeout + _MARGIN
        with contextlib.suppress(OSError):
            process.stdin.write(_FINISH)

    def finish(self) -> SyncReport | None:
        """Have the process finish, wait for it, and give what it reports."""
        try:
            return self._finish() or self._finish_anew()
        finally:
            _live.discard(self)

    def _finish(self) -> SyncReport | None:
        process = self._process
        if process is None:
            return None
        self.begin_finish()
        deadline, self._ends_by = self._ends_by, 0.0
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin, process.stdout:
            answer = _read(process.stdout.fileno(), deadline)
        if answer is None:
            process.poll()  # it ends by itself; were it to be killed, more would be missing
            self._close_timeout = 0
            return None
        process.wait()
        try:
            return SyncReport.from_dict(json.loads(answer))
        except (ValueError, TypeError, KeyError):
            return None

    def _finish_anew(self) -> SyncReport | None:
        """The process died: let another one finish."""
        if not self._close_timeout:
            return None
        self.start()
        return self._finish()

    def forget(self) -> None:
        """In a forked child: the process is the parent's, and must see its end."""
        process, self._process = self._process, None
        if process is not None:
            process.returncode = 0  # not ours to wait for
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _read(fd: int, deadline: float) -> bytes | None:
    """Everything up to the end; None when that does not come in time."""
    data = b""
    poll = select.poll()
    poll.register(fd, select.POLLIN | select.POLLHUP)
    while True:
        left = max(_AT_LEAST, deadline - time.monotonic())
        if not poll.poll(left * 1000):
            return None
        block = os.read(fd, 1 << 16)
        if not block:
            return data
        data += block


_live: weakref.WeakSet[Replication] = weakref.WeakSet()


def _after_fork() -> None:
    for replication in list(_live):
        replication.forget()
    _live.clear()


os.register_at_fork(after_in_child=_after_fork)
