"""Reading what is new of event files: many side by side, each run's taken in by the order of their names."""

from __future__ import annotations

import threading
import urllib.parse
from collections import deque
from collections.abc import Mapping, Sequence

from bucketboard.errors import BucketboardError, CorruptDataError, Reason
from bucketboard.events.columns import Columns
from bucketboard.serve.run import EventFile, Run
from bucketboard.store.bucket import ObjectInfo

__all__ = ["InOrder", "Replaced", "read_file"]

CHUNK = 8 << 20
"""Bytes asked for at once of what is long."""
_TAIL = 64
"""A record's end has its CRC, so that this many bytes tell one file from another."""
_LOG_ID = "bucketboard-log"
_SAID = ("bucketboard-user", "bucketboard-gathered")


class Replaced(Exception):
    """The file is not the one that was read before: its run has to be read anew."""


class InOrder:
    """Takes in what is read of a run's files, which are read at once, file after file."""

    def __init__(self, run: Run, files: Sequence[EventFile]) -> None:
        self._run = run
        self._order = deque(files)
        self._waiting: dict[EventFile, list[Columns]] = {file: [] for file in files}
        self._finished: set[EventFile] = set()
        self._lock = threading.Lock()

    def take(self, file: EventFile, columns: Columns) -> None:
        """Take in more of ``file``, once those before it are finished."""
        with self._lock:
            if self._order[0] is file:
                self._run.take(file, columns)
            else:
                self._waiting[file].append(columns)

    def finish(self, file: EventFile) -> None:
        """There is no more of ``file``."""
        with self._lock:
            self._finished.add(file)
            while self._order and self._order[0] in self._finished:
                self._order.popleft()
                if self._order:
                    after = self._order[0]
                    for columns in self._waiting.pop(after):
                        self._run.take(after, columns)
                    self._waiting[after] = []


def read_file(run: Run, file: EventFile, listed: ObjectInfo, order: InOrder) -> None:
    """Read what ``file`` has beyond what was taken in of it.

    Raises:
        Replaced: it is another file than the one that was read before.
        BucketboardError: it could not be read; what was read before the error is taken in.
    """
    if file.etag != listed.etag:
        file.scanner.revive()
    size = listed.size
    checked = not file.looked
    while not file.scanner.dead:
        offset = file.scanner.offset
        # Objects of ours say in their headers which log they are; others are recognised by bytes read again.
        unsure = not checked and file.log_id is None
        again = len(file.tail) if unsure or size <= offset else 0
        # A record that goes on past the end is not there yet, or its length is a lie: it is not fetched.
        wanted = _TAIL if offset + file.scanner.wanted > size else max(CHUNK, file.scanner.wanted)
        stop = None if size - offset <= wanted else offset + wanted
        data, info = run.source.get(file.path, offset - again, stop)
        if checked and file.looked and info.etag != file.etag:
            checked = False  # it was written meanwhile
            if file.log_id is None and not again:
                size = info.size
                continue
        if file.looked:
            _check_same(file, info, offset, data[:again])
        checked = True
        size = info.size
        file.log_id = info.metadata.get(_LOG_ID)
        file.said = said_of(info.metadata)
        order.take(file, file.scanner.feed(memoryview(data)[again:]))
        taken = file.scanner.offset - offset
        if taken:
            file.tail = (file.tail + data[again : again + taken])[-_TAIL:]
        file.etag = info.etag
        file.looked = offset + len(data) - again
        if len(data) > again and file.scanner.wanted and file.scanner.offset + file.scanner.wanted > size:
            file.looked = size
        if file.looked >= size or len(data) <= again:
            break
    if file.scanner.damage:
        places = file.scanner.damage
        raise CorruptDataError(f"{places[0].message} ({file.scanner.damaged} damaged places)")


def said_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """What an object's metadata say of the run; the user's own pairs come first. See docs/FORMAT.md."""
    texts = [metadata.get(name, "") for name in _SAID]
    pairs = [urllib.parse.parse_qsl(text, keep_blank_values=True) for text in texts]
    return {**dict(pairs[0]), **{key: value for key, value in pairs[1] if key not in dict(pairs[0])}}


def _check_same(file: EventFile, info: ObjectInfo, offset: int, again: bytes) -> None:
    same_log = info.metadata.get(_LOG_ID) == file.log_id
    if not same_log or info.size < offset or (again and again != file.tail):
        raise Replaced


def is_gone(error: BucketboardError) -> bool:
    """Whether the file was deleted between the listing and the read."""
    return error.reason is Reason.NOT_FOUND
