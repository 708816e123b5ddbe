"""The process behind `replicate`: works until its standard input says a word or ends, then finishes."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from bucketboard.errors import BucketboardError

__all__ = ["attend"]

_ALONE = 300.0
"""Seconds for the rest when whoever started us was killed."""
_LOOK = 1.0
_OVERDUE = 4.0


def attend() -> None:
    """Do as the first line of standard input says; the last line of standard output is the report."""
    # Schedulers signal every process of a job. Ours is to outlive the training: its end is our signal.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    answer = os.dup(1)
    os.dup2(2, 1)  # no library's print may get into the report
    parent = os.getppid()
    line, rest = _order()
    if not line:
        return
    order = json.loads(line)
    report = _replicate(order, parent, rest)
    with os.fdopen(answer, "wb") as out:
        out.write(json.dumps(report).encode())
    sys.stderr.flush()
    os._exit(0)  # threads may still hang in requests


def _replicate(order: dict[str, Any], parent: int, said: bytes) -> dict[str, Any]:
    try:
        from bucketboard.store.settings import Settings
        from bucketboard.store.url import S3Url
        from bucketboard.sync.replicator import Replicator, SyncOptions

        replicator = Replicator(
            Path(order["directory"]),
            S3Url.parse(order["url"]),
            SyncOptions(**order["options"]),
            Settings.resolve(),
            report=lambda event: None,
        )
        replicator.start()
        told = _told(said, parent)
        if not told:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
        timeout = float(order["timeout"]) if told else _ALONE
        overdue = threading.Timer(timeout + _OVERDUE, os._exit, (1,))
        overdue.daemon = True
        overdue.start()
        report = replicator.finish(timeout)
    except BucketboardError as error:
        return {"complete": False, "failed": [(order["directory"], str(error))]}
    return {
        "complete": report.complete,
        "files": report.files,
        "bytes": report.bytes,
        "failed": [(str(path), message) for path, message in report.failed],
    }


def _order() -> tuple[bytes, bytes]:
    """The first line, and what came behind it."""
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
        if os.getppid() != parent:  # a process that it forked may hold the pipe open
            return False
    return True
