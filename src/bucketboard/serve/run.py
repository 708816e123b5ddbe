"""A run: its event files as far as they were read, and its series."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bucketboard.errors import BucketboardError
from bucketboard.events.columns import Columns
from bucketboard.events.scanner import FileScanner
from bucketboard.serve.compat import Metadata, metadata_of
from bucketboard.serve.series import Series, capacity_of
from bucketboard.source import Source

__all__ = ["EventFile", "Run"]


@dataclass(eq=False)
class EventFile:
    """One event file as far as it was read."""

    path: str
    number: int
    """Its place among the run's files, by which points refer to it."""
    etag: str = ""
    """Of the version that was last looked at."""
    looked: int = 0
    """Bytes of that version that were looked at; the last record may be torn."""
    log_id: str | None = None
    tail: bytes = b""
    """The last bytes that were taken in, by which a file of unknown origin is recognised."""
    scanner: FileScanner = field(default_factory=FileScanner)
    trouble: BucketboardError | None = None
    failures: int = 0
    failed: str = ""
    """ETag of the version that could not be read."""
    wait: int = 0
    """Refreshes to let pass before that version is tried again."""
    said: dict[str, str] = field(default_factory=dict)
    """What its writer says of the run: the user's own pairs, and what it found out by itself."""


class Run:
    """Files are added in the order of their names; what they hold is offered in that order."""

    def __init__(self, name: str, source: Source, samples: Mapping[str, int | None]) -> None:
        self.name = name
        self.source = source
        self.files: dict[str, EventFile] = {}
        self.numbered: list[EventFile] = []
        self.series: dict[str, Series] = {}
        self.behind: set[str] = set()
        """Files that could not be read to their end while later ones were: the rest would be out of order."""
        self.start = math.nan
        """The earliest wall time of its events, NaN without any."""
        self._samples = samples
        self._lock = threading.Lock()

    @property
    def unread(self) -> bool:
        """Whether points of it are still to be fetched from an index."""
        return any(series.unread for series in list(self.series.values()))

    def file(self, path: str) -> EventFile:
        """The file at ``path``, new if it was not known."""
        known = self.files.get(path)
        if known is None:
            known = self.files[path] = EventFile(path, len(self.numbered))
            self.numbered.append(known)
        return known

    def take(self, file: EventFile, columns: Columns) -> None:
        """Add what was read of a file."""
        with self._lock:
            self.start = float(np.fmin(self.start, columns.start))
            if len(columns):
                self._take(file, columns)

    def _take(self, file: EventFile, columns: Columns) -> None:
        order = np.argsort(columns.tag, kind="stable")
        tags = columns.tag[order]
        bounds = [0, *(np.flatnonzero(tags[1:] != tags[:-1]) + 1).tolist(), len(tags)]
        records: dict[Any, Any] = {}  # by their type, made once for all series of it
        for begin, end in itertools.pairwise(bounds):
            place = int(tags[begin])
            if place < 0:
                continue
            tag = columns.tags[place]
            series = self.series.get(tag)
            if series is None:
                kind = int(columns.kind[order[begin]])
                series = self.add(tag, metadata_of(kind, columns.first.get(place, b"")))
            dtype = series.dtype
            if dtype not in records:
                records[dtype] = _records(dtype, columns, order, file.number)
            series.offer(records[dtype][begin:end], file.number)

    def add(self, tag: str, metadata: Metadata) -> Series:
        """A new series."""
        series = self.series[tag] = Series(tag, metadata, capacity_of(metadata, self._samples))
        return series

    def fill(self, series: Series, parts: Mapping[int, Any]) -> None:
        """Add what an index has of a series, by the numbers of the files."""
        with self._lock:
            ordered = [self.files[path].number for path in sorted(self.files)]
            series.fill([(number, parts.get(number)) for number in ordered])


def _records(dtype: Any, columns: Columns, order: Any, number: int) -> Any:
    """All rows as records of a type, in the given order."""
    out = np.empty(len(order), dtype)
    for name in dtype.names:
        out[name] = number if name == "file" else getattr(columns, name)[order]
    return out
