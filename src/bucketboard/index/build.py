"""Building an index and keeping it up to date."""

from __future__ import annotations

import contextlib
import datetime
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bucketboard.errors import BucketboardError, InvalidError, Reason
from bucketboard.events.columns import Damage
from bucketboard.events.filename import is_event_file
from bucketboard.index.compact import GRACE, compacted, expired
from bucketboard.index.index import Index
from bucketboard.index.manifest import MANIFEST, Manifest, Segment, Unreadable, read_manifest
from bucketboard.index.news import News
from bucketboard.index.objects import Objects, Source, Stored
from bucketboard.index.parquet import read_head
from bucketboard.index.parts import Head, chain, head_of
from bucketboard.index.share import Share, ShareRead, divided, look_share, modified, read_share
from bucketboard.selection import RUN_FILE, is_shown
from bucketboard.store.bucket import ObjectInfo

__all__ = ["Look", "Progress", "Report", "Scan", "look", "update"]

_log = logging.getLogger(__name__)
_SWAPS = 5

Progress = Callable[[int, int], None]
"""Called with bytes read and bytes to read, by any thread."""
Scan = Callable[[Sequence[Share]], Sequence[ShareRead]]
"""Has shares read by others, with `read_share`, and gives what came of each; what fails is in there."""
Look = Callable[[Sequence[Share]], Sequence[tuple[Head, ShareRead]]]
"""The same with `look_share`, of which nothing is stored."""


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
    scan: Scan | None = None,
) -> Report:
    """Bring an index up to date with what ``source`` shows; what it costs goes by what has grown.

    ``known`` is the index after the last update, so that less of it has to be read. With ``dry_run`` nothing
    is read of the files and nothing is stored: the report says what would be.

    With ``scan`` others read the files, and store segments; here they are only named. An update of that kind
    that was interrupted goes on: what was read within the last half hour is not read again.

    Raises:
        InvalidError: the index is of a newer version, or it may not be written.
        BucketboardError: the source can't be listed, or the index not be stored.
    """
    return _Update(source, objects, progress).run(known, dry_run, scan)


def look(
    source: Source,
    index: Index,
    listed: Mapping[str, ObjectInfo],
    progress: Progress | None = None,
    *,
    keep: bool = False,
    by: Look | None = None,
) -> tuple[Index, Report]:
    """``index`` with what it would say of the runs in ``listed`` after an update, and what that took.

    Nothing is stored. With ``keep`` the report has the steps and values of what is new; ``by`` has each run
    read by others.
    """
    return _Update(source, None, progress).look(index, listed, keep, by)


class _Update:
    def __init__(self, source: Source, objects: Objects | None, progress: Progress | None) -> None:
        self._source = source
        self._objects: Any = _Counted(objects) if objects else None
        self._progress = progress
        self._report = Report()
        self._expected = 0
        self._done = 0

    def run(self, known: Index | None, dry_run: bool, scan: Scan | None) -> Report:
        report = self._report
        listed = self._source.files()
        index = Index.open(self._objects, known)
        if index.newer:
            raise InvalidError(index.trouble, hint="use a newer bucketboard, or another prefix")
        if index.error:
            raise index.error
        report.files = sum(map(_is_events, listed))
        share = _unread(index, listed)
        self._expected = share.bytes
        if dry_run:
            report.read, report.bytes_read = len(share.files), self._expected
            report.segments = len(index.manifest.segments)
            return report
        shares = divided(share) if scan and (share.files or share.run_files) else []
        if scan:
            added = self._scanned(shares, scan)
        else:
            added = self._taken(read_share(self._source, self._objects, share, self._read))
        if added:
            index = self._swap(index, added, ours=scan is None)
        for each in shares:
            with contextlib.suppress(BucketboardError):  # a later compaction finds it
                self._objects.delete(each.receipt)
        report.segments, report.index = len(index.manifest.segments), index
        if not report.gave_way:
            self._compact(index, set(listed))
        report.bytes_sent += self._objects.sent
        return report

    def look(
        self, index: Index, listed: Mapping[str, ObjectInfo], keep: bool, by: Look | None
    ) -> tuple[Index, Report]:
        """What the index would say of runs after an update; nothing is stored."""
        share = _unread(index, listed)
        self._expected = share.bytes
        if by:
            looked = list(by(share.by_run()))
        else:
            looked = [look_share(self._source, share, self._read, self._keep if keep else None)]
        for _, found in looked:
            self._taken(found)
        new = Head({}, [])
        for head, _ in looked:
            new.parts.update(head.parts)
            new.tags.extend(head.tags)
            new.run_files.update(head.run_files)
        if new.parts or new.run_files:
            index = index.extended(index.manifest, [new])
        return index, self._report

    def _keep(self, news: News) -> None:
        for columns in news.columns:
            for place in np.unique(columns.tag[columns.tag >= 0]).tolist():
                rows = columns.tag == place
                series = self._report.series.setdefault(columns.tags[place], [])
                series.append((columns.step[rows], columns.value[rows]))

    def _taken(self, found: ShareRead) -> list[tuple[Segment, Head]]:
        report = self._report
        report.read += found.read
        report.rows += found.rows
        report.bytes_read += found.bytes_read
        report.damage |= found.damage
        report.failures |= found.failures
        return found.added

    def _scanned(self, shares: Sequence[Share], scan: Scan) -> list[tuple[Segment, Head]]:
        there = {stored.name: stored for stored in self._objects.list()} if shares else {}
        known = {number: self._stored(share, there) for number, share in enumerate(shares)}
        left = [number for number, added in known.items() if not added]
        for number, found in zip(left, scan([shares[number] for number in left]), strict=True):
            known[number] = self._taken(found)
            self._report.bytes_sent += sum(segment.bytes for segment, _ in found.added)
        return [each for number in range(len(shares)) for each in known[number]]

    def _stored(self, share: Share, there: Mapping[str, Stored]) -> list[tuple[Segment, Head]]:
        """What an interrupted update has stored of a share; nothing if it is not all there."""
        receipt = there.get(share.receipt)
        now = datetime.datetime.now(datetime.timezone.utc)
        if receipt is None or receipt.modified is None or now - receipt.modified > GRACE / 2:
            return []
        try:
            segments = read_manifest(self._objects, share.receipt).segments
            for piece in (
                piece for segment in segments for piece in (segment.runs, segment.scalars) if piece
            ):
                if piece.name not in there or there[piece.name].size != piece.bytes:
                    return []
            return [(segment, head_of(read_head(self._objects, segment.runs))) for segment in segments]
        except (Unreadable, BucketboardError, ValueError):
            return []

    def _read(self, count: int) -> None:
        self._done += count
        if self._progress:
            self._progress(self._done, self._expected)

    def _swap(self, index: Index, added: list[tuple[Segment, Head]], *, ours: bool) -> Index:
        """Name the new segments in the manifest; what others have named meanwhile stays.

        What turns out not to be needed is removed if it is ``ours``: no other process may know of it.
        """
        segments = [segment for segment, _ in added]
        heads = [head for _, head in added]
        for _ in range(_SWAPS):
            manifest = index.manifest
            try:
                stored = self._put(manifest.with_segments([*manifest.segments, *segments]), manifest.etag)
                return index.extended(stored, heads)
            except BucketboardError as error:
                if error.reason not in (Reason.PRECONDITION, Reason.CONFLICT):
                    if ours and error.reason is not Reason.OUTCOME_UNKNOWN:
                        self._discard(segments)
                    raise
            index = Index.open(self._objects, index)
            if index.manifest.names >= {segment.runs.name for segment in segments}:
                return index  # it was stored, and the answer lost
            if index.newer or index.error or not _counts(index, heads):
                break
        if ours:
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


def _unread(index: Index, listed: Mapping[str, ObjectInfo]) -> Share:
    """What is listed and not, or not as it is now, in the index."""
    files = {
        path: listed[path]
        for path in sorted(listed)
        if _is_events(path) and _is_wanted(index, path, listed[path])
    }
    # An older index may say too little of a file for going on with it.
    covered = {
        path: index.files[path]
        for path in files
        if (part := index.parts.get(path)) is not None and part.state is not None
    }
    tags = {path: index.tags[path] for path in files if path in index.tags}
    return Share(files, _changed_run_files(index, listed), covered, tags)


def _changed_run_files(index: Index, listed: Mapping[str, ObjectInfo]) -> dict[str, ObjectInfo]:
    """Each run's ``bucketboard.json``, if it is not the one that the index knows."""
    runs = {path.rpartition("/")[0] for path in listed if _is_events(path)}
    changed = {}
    for path, info in listed.items():
        directory, _, name = path.rpartition("/")
        if name == RUN_FILE and directory in runs and is_shown(path):
            known = index.run_files.get(path)
            if known is None or (known.etag, known.modified) != (info.etag, modified(info)):
                changed[path] = info
    return changed


def _is_wanted(index: Index, path: str, listed: ObjectInfo) -> bool:
    known = index.parts.get(path)
    if listed.size == 0:
        return False
    if known is None or known.state is None or known.etag != listed.etag or known.looked < listed.size:
        return True
    # The ETag of equal bytes may be the same, while the object says that it is finished now.
    return known.modified is not None and known.modified != modified(listed)


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
