"""What event files have beyond what an index covers of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bucketboard.errors import Reason, UnavailableError
from bucketboard.events.columns import Columns, Damage
from bucketboard.events.metadata import is_scalar
from bucketboard.events.record import HEADER_BYTES
from bucketboard.events.scanner import FileScanner
from bucketboard.index.described import GATHERED, STATE, USER, hparams_in, pairs
from bucketboard.index.index import Covered
from bucketboard.index.objects import Source
from bucketboard.index.parts import Part, Tag
from bucketboard.store.bucket import ObjectInfo

__all__ = ["EVENT_BYTES", "News", "read_news"]

EVENT_BYTES = 1024
"""Events up to this length are kept in the index, if they hold no scalars."""
_CHUNK = 16 << 20
_TAIL = 64
"""A record's end has its CRC, so that this many bytes tell one file from another."""
_LOG_ID = "bucketboard-log"
_TRIES = 3
_LIVE = "live"
_RACY = 2.0
"""Seconds: times in listings are whole ones."""


class _Replaced(Exception):
    """The file is not the one that it was."""


@dataclass
class News:
    """What was read of a file: the part it makes, and its rows with the short events that they are in."""

    part: Part
    columns: list[Columns]
    events: dict[int, bytes]
    """By offset."""
    damage: list[Damage]


def read_news(
    source: Source,
    path: str,
    listed: ObjectInfo,
    known: Covered | None,
    tags: Mapping[str, Tag],
    progress: Callable[[int], None],
) -> News:
    """Read ``path`` from where it is covered on, or from its beginning if it is another file by now.

    ``tags`` are those that are known of the file.

    Raises:
        BucketboardError: it can't be read.
    """
    for _ in range(_TRIES):
        try:
            return _read(source, path, listed, known, tags, progress)
        except _Replaced:
            known, tags = None, {}
    raise UnavailableError(f"{path} is replaced again and again", reason=Reason.CONFLICT)


def _read(
    source: Source,
    path: str,
    listed: ObjectInfo,
    known: Covered | None,
    tags: Mapping[str, Tag],
    progress: Callable[[int], None],
) -> News:
    begin, size = known.end if known else 0, listed.size
    scanner = FileScanner(begin)
    tail = known.tail if known else b""
    log_id = known.log_id if known else None
    etag, looked = "", 0
    info = listed
    found: list[Columns] = []
    events: dict[int, bytes] = {}
    others: dict[str, bool] = {name: not is_scalar(tag.kind, tag.first) for name, tag in tags.items()}
    start = math.nan
    while not scanner.dead:
        offset = scanner.offset
        # Objects of ours say in their headers which log they are; others are recognised by bytes read again.
        again = len(tail) if log_id is None else 0
        wanted = max(_CHUNK, scanner.wanted)
        stop = None if size - offset <= wanted else offset + wanted
        data, info = source.get(path, offset - again, stop)
        progress(len(data))
        first = not etag
        if not (first and known is None) and (
            info.metadata.get(_LOG_ID) != log_id or info.size < offset or data[:again] != tail[:again]
        ):
            raise _Replaced
        log_id, size, etag = info.metadata.get(_LOG_ID), info.size, info.etag
        fresh = memoryview(data)[again:]
        columns = scanner.feed(fresh)
        _keep_events(columns, fresh, offset, others, events)
        found.append(columns)
        start = min((time for time in (start, columns.start) if not math.isnan(time)), default=math.nan)
        taken = scanner.offset - offset
        tail = (tail + bytes(fresh[max(taken - _TAIL, 0) : taken]))[-_TAIL:]
        looked = offset + len(fresh)
        if looked >= size or not len(fresh):
            break
    count = sum(columns.events for columns in found)
    rows = [columns for columns in found if len(columns)]
    part = Part(
        path,
        begin,
        scanner.offset,
        looked,
        etag,
        log_id,
        tail,
        start,
        count,
        last=max((float(columns.wall_time.max()) for columns in rows), default=math.nan),
        step=max((int(columns.step.max()) for columns in rows), default=None),
        modified=_modified(listed, info.metadata.get(STATE, "")),
        state=info.metadata.get(STATE, ""),
        hparams=hparams_in(found),
        metadata=pairs(info, USER),
        gathered=pairs(info, GATHERED),
    )
    return News(part, found, events, scanner.damage)


def _modified(listed: ObjectInfo, state: str) -> float | None:
    """As it was listed, so that what is written after the listing is looked at once more. So is an object
    that may be finished, with the same bytes, within the second in which we look: NaN."""
    if listed.last_modified is None:
        return None
    modified = listed.last_modified.timestamp()
    return math.nan if state == _LIVE and time.time() - modified < _RACY else modified


def _keep_events(
    columns: Columns, data: memoryview, base: int, others: dict[str, bool], events: dict[int, bytes]
) -> None:
    """Keep short events of series that are not of scalars; ``others`` says which are."""
    for place, first in columns.first.items():
        kind = int(columns.kind[np.argmax(columns.tag == place)])
        others.setdefault(columns.tags[place], not is_scalar(kind, first))
    wanted = np.array([*(others[tag] for tag in columns.tags), True], bool)[columns.tag]
    short = wanted & (columns.length <= EVENT_BYTES)
    for offset, length in zip(columns.offset[short].tolist(), columns.length[short].tolist(), strict=True):
        at = offset - base
        events[offset] = bytes(data[at + HEADER_BYTES : at + length - 4])
