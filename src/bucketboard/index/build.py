"""Building an index and keeping it up to date."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bucketboard.errors import BucketboardError, InvalidError, Reason
from bucketboard.events.columns import Damage
from bucketboard.events.filename import is_event_file
from bucketboard.index.compact import compacted, expired
from bucketboard.index.described import run_file
from bucketboard.index.index import Covered, Index
from bucketboard.index.manifest import MANIFEST, Manifest, Segment
from bucketboard.index.news import News, read_news
from bucketboard.index.objects import Objects, Source
from bucketboard.index.parts import Head, RunFile, chain
from bucketboard.index.segment import Gathering, store
from bucketboard.selection import RUN_FILE, is_shown
from bucketboard.store.bucket import ObjectInfo

__all__ = ["Progress", "Report", "look", "update"]

_log = logging.getLogger(__name__)
_READERS = 16
_AHEAD = 48
"""Files that are read before those in front of them are taken in."""
_ROWS = 1 << 25
"""Rows of a segment, which is made in memory."""
_SWAPS = 5

Progress = Callable[[int, int], None]
"""Called with bytes read and bytes to read, by any thread."""


@dataclass
class Report:
    """What an update did."""

    files: int = 0
    """Event files there are."""
    read: int = 0
    """Files that something was read of."""
    bytes_read: int = 0
    bytes_sent: int = 0
    rows: int = 0
    segments: int = 0
    """After it."""
    compacted: bool = False
    gave_way: bool = False
    """Whether other processes had indexed the same meanwhile."""
    damage: dict[str, list[Damage]] = field(default_factory=dict)
    failures: dict[str, BucketboardError] = field(default_factory=dict)
    """Files that could not be read now."""
    series: dict[str, list[tuple[Any, Any]]] = field(default_factory=dict)
    """By tag, steps and values in the order in which they were read, where they are kept."""
    index: Index | None = None
    """As it was found, or made."""


def update(
    source: Source,
    objects: Objects,
    *,
    known: Index | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Bring an index up to date with what ``source`` shows; what it costs goes by what has grown.

    ``known`` is the index after the last update, so that less of it has to be read. With ``dry_run`` nothing
    is read of the files and nothing is stored: the report says what would be.

    Raises:
        InvalidError: the index is of a newer version, or it may not be written.
        BucketboardError: the source can't be listed, or the index not be stored.
    """
    return _Update(source, objects, progress).run(known, dry_run)


def look(
    source: Source,
    index: Index,
    listed: Mapping[str, ObjectInfo],
    progress: Progress | None = None,
    *,
    keep: bool = False,
) -> tuple[Index, Report]:
    """``index`` with what it would say of the runs in ``listed`` after an update, and what that took.

    Nothing is stored. With ``keep`` the report has the steps and values of what is new.
    """
    return _Update(source, None, progress).look(index, listed, keep)


class _Update:
    def __init__(self, source: Source, objects: Objects | None, progress: Progress | None) -> None:
        self._source = source
        self._objects: Any = _Counted(objects) if objects else None
        self._progress = progress
        self._report = Report()
        self._expected = 0

    def run(self, known: Index | None, dry_run: bool) -> Report:
        report = self._report
        listed = self._source.files()
        files = {path: info for path, info in listed.items() if _is_events(path)}
        index = Index.open(self._objects, known)
        if index.newer:
            raise InvalidError(index.trouble, hint="use a newer bucketboard, or another prefix")
        if index.error:
            raise index.error
        run_files = _changed_run_files(index, listed)
        report.files = len(files)
        wanted = {path: files[path] for path in sorted(files) if _is_wanted(index, path, files[path])}
        self._expected = sum(_expected(index, path, info) for path, info in wanted.items())
        if dry_run:
            report.read, report.bytes_read = len(wanted), self._expected
            report.segments = len(index.manifest.segments)
            return report
        added = self._added(index, wanted, run_files)
        if added:
            index = self._swap(index, added)
        report.segments, report.index = len(index.manifest.segments), index
        if not report.gave_way:
            self._compact(index, set(listed))
        report.bytes_sent = self._objects.sent
        return report

    def look(self, index: Index, listed: Mapping[str, ObjectInfo], keep: bool) -> tuple[Index, Report]:
        """What the index would say of runs after an update; nothing is stored."""
        wanted = {path: listed[path] for path in sorted(listed) if _is_events(path)}
        wanted = {path: info for path, info in wanted.items() if _is_wanted(index, path, info)}
        self._expected = sum(_expected(index, path, info) for path, info in wanted.items())
        gathering = Gathering(index, heads_only=True)
        for news in self._news(index, wanted):
            if news.damage:
                self._report.damage[news.part.path] = news.damage
            gathering.add(news)
            if keep:
                self._keep(news)
        gathering.run_files = self._read_run_files(_changed_run_files(index, listed))
        if gathering.parts or gathering.run_files:
            index = index.extended(index.manifest, [gathering.head()])
        return index, self._report

    def _keep(self, news: News) -> None:
        for columns in news.columns:
            for place in np.unique(columns.tag[columns.tag >= 0]).tolist():
                rows = columns.tag == place
                series = self._report.series.setdefault(columns.tags[place], [])
                series.append((columns.step[rows], columns.value[rows]))

    def _added(
        self, index: Index, wanted: dict[str, ObjectInfo], run_files: dict[str, ObjectInfo]
    ) -> list[tuple[Segment, Head]]:
        gathering = Gathering(index)
        gathering.run_files = self._read_run_files(run_files)
        added = []
        for news in self._news(index, wanted):
            part = news.part
            if news.damage:
                self._report.damage[part.path] = news.damage
            if part.end:  # else there is no record in it yet
                gathering.add(news)
            if gathering.rows >= _ROWS:
                added.append(self._stored(gathering))
        if gathering.parts or gathering.run_files:
            added.append(self._stored(gathering))
        return added

    def _read_run_files(self, wanted: dict[str, ObjectInfo]) -> dict[str, RunFile]:
        def read(path: str) -> RunFile | BucketboardError:
            modified = _modified(wanted[path])
            try:
                return run_file(path, *self._source.get(path), modified)
            except BucketboardError as error:
                return error

        found: dict[str, RunFile] = {}
        with ThreadPoolExecutor(_READERS, "bucketboard-index") as pool:
            for path, result in zip(wanted, pool.map(read, wanted), strict=True):
                if isinstance(result, RunFile):
                    found[path] = result
                elif result.reason is not Reason.NOT_FOUND:
                    self._report.failures[path] = result
        return found

    def _stored(self, gathering: Gathering) -> tuple[Segment, Head]:
        head = gathering.head()
        segment = store(self._objects, head, *gathering.tables())
        self._report.rows += gathering.rows
        gathering.clear()
        return segment, head

    def _news(self, index: Index, wanted: dict[str, ObjectInfo]) -> Iterator[News]:
        """Read side by side, given in order."""
        waiting: deque[tuple[str, Future[News]]] = deque()
        paths = iter(wanted.items())
        with ThreadPoolExecutor(_READERS, "bucketboard-index") as pool:
            while True:
                for path, info in itertools.islice(paths, _AHEAD - len(waiting)):
                    known, tags = _continued(index, path), index.tags.get(path, {})
                    waiting.append(
                        (path, pool.submit(read_news, self._source, path, info, known, tags, self._read))
                    )
                if not waiting:
                    return
                path, future = waiting.popleft()
                try:
                    news = future.result()
                except BucketboardError as error:
                    if error.reason is not Reason.NOT_FOUND:  # else it was deleted since it was listed
                        self._report.failures[path] = error
                    continue
                self._report.read += 1
                yield news

    def _read(self, count: int) -> None:
        self._report.bytes_read += count
        if self._progress:
            self._progress(self._report.bytes_read, self._expected)

    def _swap(self, index: Index, added: list[tuple[Segment, Head]]) -> Index:
        """Name the new segments in the manifest; what others have named meanwhile stays."""
        segments = [segment for segment, _ in added]
        heads = [head for _, head in added]
        for _ in range(_SWAPS):
            manifest = index.manifest
            try:
                stored = self._put(manifest.with_segments([*manifest.segments, *segments]), manifest.etag)
                return index.extended(stored, heads)
            except BucketboardError as error:
                if error.reason not in (Reason.PRECONDITION, Reason.CONFLICT):
                    if error.reason is not Reason.OUTCOME_UNKNOWN:
                        self._discard(segments)
                    raise
            index = Index.open(self._objects, index)
            if index.manifest.names >= {segment.runs.name for segment in segments}:
                return index  # it was stored, and the answer lost
            if index.newer or index.error or not _counts(index, heads):
                break
        self._discard(segments)
        self._report.gave_way = True
        self._report.rows = 0
        return index

    def _put(self, manifest: Manifest, etag: str | None) -> Manifest:
        new = self._objects.put(MANIFEST, manifest.encode(), if_match=etag, if_none_match=etag is None)
        return manifest.with_etag(new)

    def _discard(self, segments: list[Segment]) -> None:
        for piece in (piece for s in segments for piece in (s.runs, s.scalars) if piece):
            with contextlib.suppress(BucketboardError):  # a later compaction finds it
                self._objects.delete(piece.name)

    def _compact(self, index: Index, files: set[str]) -> None:
        now = datetime.datetime.now(datetime.timezone.utc)
        later = compacted(index, self._objects, files, now)
        if later is None:
            return
        removed = expired(later, self._objects, now)
        later = later.without_retired(removed)
        try:
            stored = self._put(later, index.manifest.etag)
        except BucketboardError as error:
            if error.reason not in (Reason.PRECONDITION, Reason.CONFLICT):
                raise
            # Another process writes: it compacts. Unless it was stored, and the answer lost.
            named = Index.open(self._objects, index).manifest.names
            self._discard([s for s in later.segments if s.runs.name not in named | index.manifest.names])
            return
        self._report.compacted = True
        self._report.segments = len(stored.segments)
        for name in removed:
            with contextlib.suppress(BucketboardError):
                self._objects.delete(name)


def _is_events(path: str) -> bool:
    return is_event_file(path) and is_shown(path)


def _modified(listed: ObjectInfo) -> float | None:
    return listed.last_modified.timestamp() if listed.last_modified else None


def _changed_run_files(index: Index, listed: Mapping[str, ObjectInfo]) -> dict[str, ObjectInfo]:
    """Each run's ``bucketboard.json``, if it is not the one that the index knows."""
    runs = {path.rpartition("/")[0] for path in listed if _is_events(path)}
    changed = {}
    for path, info in listed.items():
        directory, _, name = path.rpartition("/")
        if name == RUN_FILE and directory in runs and is_shown(path):
            known = index.run_files.get(path)
            if known is None or (known.etag, known.modified) != (info.etag, _modified(info)):
                changed[path] = info
    return changed


def _is_wanted(index: Index, path: str, listed: ObjectInfo) -> bool:
    known = index.parts.get(path)
    if listed.size == 0:
        return False
    if known is None or known.state is None or known.etag != listed.etag or known.looked < listed.size:
        return True
    # The ETag of equal bytes may be the same, while the object says that it is finished now.
    return known.modified is not None and known.modified != _modified(listed)


def _continued(index: Index, path: str) -> Covered | None:
    """What is known of a file, if it can be gone on with: an older index may say too little."""
    part = index.parts.get(path)
    return index.files[path] if part is not None and part.state is not None else None


def _expected(index: Index, path: str, listed: ObjectInfo) -> int:
    known = _continued(index, path)
    return listed.size - (known.end if known and known.end <= listed.size else 0)


def _counts(index: Index, heads: list[Head]) -> bool:
    """Whether any of the new parts still tells more than the index."""
    valid = chain([*index.heads, *heads])
    return any(
        number >= len(index.heads) and heads[number - len(index.heads)].parts[path].end > _end(index, path)
        for path, numbers in valid.items()
        for number in numbers
    )


def _end(index: Index, path: str) -> int:
    known = index.files.get(path)
    return known.end if known else 0


class _Counted:
    """Objects, with the bytes that were sent."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.sent = 0
        self.get, self.list, self.delete = objects.get, objects.list, objects.delete

    def put(self, name: str, body: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        self.sent += len(body)
        return self._objects.put(name, body, if_match=if_match, if_none_match=if_none_match)
