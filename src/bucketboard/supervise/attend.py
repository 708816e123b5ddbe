"""The process behind `replicate`: works until its standard input says a word or ends, then finishes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import sys
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from bucketboard.errors import BucketboardError
from bucketboard.logdir.report import QUIET, SyncEvent, SyncReport
from bucketboard.store.url import S3Url
from bucketboard.supervise.sending import Deadline, Sending
from bucketboard.supervise.spooled import Spooled

if TYPE_CHECKING:
    from bucketboard.logdir.replicator import Replicator

__all__ = ["attend"]

_ALONE = 300.0
"""Seconds for the rest when whoever started us has ended without a word."""
_LOOK = 1.0
_LET_GO = 2.0


def attend() -> None:
    """Do as the first line of standard input says; what standard output gets is the report."""
    # Schedulers signal every process of a job. Ours is to outlive the training: its end is our signal.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logging.getLogger("botocore").setLevel(logging.ERROR)  # warns in tracebacks of what we say in a sentence
    answer = os.dup(1)
    os.dup2(2, 1)  # no library's print may get into the report
    parent = os.getppid()
    line, rest = _first_line()
    if line:
        report = json.dumps(_replicate(json.loads(line), rest, parent)).encode()
        with contextlib.suppress(BrokenPipeError):  # nobody is left to read it
            os.write(answer, report)
    os._exit(0)  # a thread may still hang in a request


def _replicate(order: dict[str, Any], said: bytes, parent: int) -> dict[str, Any]:
    spooled = Spooled(Path(order["spooled"]), order["url"], {}) if order["spooled"] else None
    telling = _Telling(seldom=spooled is not None)
    if spooled is not None and not spooled.hold_to_send(_ALONE):
        return SyncReport(failed=[("", f"{spooled.path} is sent by another process")]).as_dict()
    try:
        replicator = _replicator(order, telling)
    except BucketboardError as error:
        _say("trouble", f"{order['directory']} is not replicated: {error}")
        return SyncReport(failed=[("", error.message)]).as_dict()
    ended = Event()
    sending = Sending(replicator, None, _say, ended.set)
    sending.start()
    told = _told(said, parent)
    if not told:
        telling.alone = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    timeout = float(order["timeout"]) if told else _ALONE
    last = Deadline(timeout + _LET_GO)
    sending.finish(Deadline(timeout))
    while not sending.done and last.left:
        ended.wait(last.left)
        ended.clear()
    outcome = sending.outcome
    report = outcome.report or SyncReport()
    report.failed += [("", message) for message in outcome.troubles]
    if outcome.report is None and not report.failed:
        report.failed.append(("", "out of time"))
    if spooled is not None and report.complete:
        spooled.remove()
    elif spooled is not None and not told:
        _say("trouble", f"{spooled.url} is incomplete, the rest is sent by: bucketboard recover")
    return report.as_dict()


def _replicator(order: dict[str, Any], telling: _Telling) -> Replicator:
    from bucketboard.logdir.once import split_settings
    from bucketboard.logdir.replicator import Replicator

    # An outage is waited for as long as there is time: whoever waits for us has said how long.
    options, settings = split_settings({"patience": max(order["timeout"], _ALONE), **order["options"]})
    url = S3Url.parse(order["url"])
    return Replicator(order["directory"], url, options, settings, report=telling, fast=True)


class _Telling:
    """What is said on standard error, which is the training's, while the replication goes on.

    ``seldom``: that something is tried again is said only once until something was sent. ``alone``: there is
    nobody left to whom the report could tell what has failed.
    """

    def __init__(self, *, seldom: bool) -> None:
        self._seldom = seldom
        self._retrying = False
        self.alone = False

    def __call__(self, event: SyncEvent) -> None:
        quiet = event.kind in QUIET or (event.kind == "failed" and not self.alone)
        quiet = quiet or (event.kind == "retry" and self._seldom and self._retrying)
        self._retrying = event.kind == "retry" or (self._retrying and event.kind != "sent")
        if not quiet:
            _say("trouble", ": ".join(filter(None, (event.kind, event.path, event.message))))


def _say(kind: str, message: str, **facts: Any) -> None:
    if kind == "trouble":
        with contextlib.suppress(OSError):  # the terminal may have gone
            sys.stderr.write(f"bucketboard: {message}\n")
            sys.stderr.flush()


def _first_line() -> tuple[bytes, bytes]:
    """The first line, and what came behind it; nothing if there is none."""
    data = b""
    while b"\n" not in data:
        block = os.read(0, 1 << 16)
        if not block:
            return b"", b""
        data += block
    line, _, rest = data.partition(b"\n")
    return line, rest


def _told(said: bytes, parent: int) -> bool:
    """Wait for the word to finish; False where the parent has ended without it."""
    while not said:
        if select.select([0], [], [], _LOOK)[0]:
            said = os.read(0, 64)
            return bool(said)
        if os.getppid() != parent:  # a process that it has forked may hold the pipe open
            return False
    return True
