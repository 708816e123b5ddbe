"""Records of event files, read again where a point says that they lie."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bucketboard.events.record import HEADER_BYTES
from bucketboard.events.scanner import record_ends
from bucketboard.serve.run import EventFile, Run

__all__ = ["Records"]

_GAP = 64 << 10
"""Bytes between two records that are read along rather than asked for apart."""
_SPAN = 8 << 20
_READERS = 16
_Place = tuple[int, int, int]


class Records:
    """Payloads by place, the latest used ones kept up to ``limit`` bytes."""

    def __init__(self, limit: int = 256 << 20) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[tuple[Run, int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_READERS, "bucketboard-values")

    def read(self, run: Run, points: Any) -> list[bytes | None]:
        """The payload of each point's record; None where the file does not hold it any more.

        Raises:
            BucketboardError: the file can't be read.
        """
        places = list(
            zip(points["file"].tolist(), points["offset"].tolist(), points["length"].tolist(), strict=True)
        )
        found = {place: payload for place in set(places) if (payload := self._known(run, place)) is not None}
        spans = list(_spans(sorted(set(places) - found.keys())))
        if len(spans) == 1:
            found |= self._fetch(run, spans[0])
        else:
            for fetched in self._pool.map(lambda span: self._fetch(run, span), spans):
                found |= fetched
        return [found.get(place) for place in places]

    def forget(self, runs: Collection[Run]) -> None:
        """Let go of what belongs to runs that are no more."""
        with self._lock:
            for key in [key for key in self._kept if key[0] in runs]:
                self._size -= len(self._kept.pop(key))

    def close(self) -> None:
        """Read nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _known(self, run: Run, place: _Place) -> bytes | None:
        with self._lock:
            key = (run, place[0], place[1])
            payload = self._kept.get(key)
            if payload is not None:
                self._kept.move_to_end(key)
            return payload

    def _fetch(self, run: Run, span: list[_Place]) -> dict[_Place, bytes]:
        file = run.numbered[span[0][0]]
        start, stop = span[0][1], max(offset + length for _, offset, length in span)
        data, info = run.source.get(file.path, start, stop)
        found = {}
        for place in span:
            payload = _payload(data, place[1] - start, place[2])
            if payload is None or _is_other(file, info.metadata):
                file.etag = ""  # so that the next refresh looks what has become of it
                continue
            found[place] = payload
            self.keep(run, place[0], place[1], payload)
        return found

    def keep(self, run: Run, number: int, offset: int, payload: bytes) -> None:
        """Remember the payload of a record of file ``number`` for a while."""
        key = (run, number, offset)
        with self._lock:
            if key not in self._kept and len(payload) <= self._limit // 4:
                self._kept[key] = payload
                self._size += len(payload)
            while self._size > self._limit:
                self._size -= len(self._kept.popitem(last=False)[1])


def _is_other(file: EventFile, metadata: Any) -> bool:
    return bool(metadata.get("bucketboard-log") != file.log_id)


def _payload(data: bytes, at: int, length: int) -> bytes | None:
    """The payload of the record at ``at``, if there is a valid one of ``length``."""
    record = data[at : at + length]
    end, count, damage = record_ends(record)
    return record[HEADER_BYTES:-4] if end == length and count == 1 and not damage else None


def _spans(places: list[_Place]) -> Iterator[list[_Place]]:
    """Places of one file that are near to each other, read at once."""
    span: list[_Place] = []
    for place in places:
        if span and (
            place[0] != span[0][0]
            or place[1] > span[-1][1] + span[-1][2] + _GAP
            or place[1] + place[2] - span[0][1] > _SPAN
        ):
            yield span
            span = []
        span.append(place)
    if span:
        yield span
