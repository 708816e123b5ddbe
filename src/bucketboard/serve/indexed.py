"""A mount's index, where there is one: runs begin with it, and their points are read when asked for."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bucketboard.errors import BucketboardError, InvalidError
from bucketboard.events.columns import Kind
from bucketboard.events.metadata import is_scalar
from bucketboard.events.scanner import FileScanner
from bucketboard.serve.compat import SCALAR, metadata_of
from bucketboard.serve.mount import Mount
from bucketboard.serve.records import Records
from bucketboard.serve.run import Run
from bucketboard.serve.series import Series, Unread
from bucketboard.source import BucketSource
from bucketboard.store.bucket import ObjectInfo

__all__ = ["MANIFEST_PATH", "Indexed", "open_index"]

_log = logging.getLogger(__name__)
MANIFEST_PATH = ".bucketboard/v1/manifest.json"
_UNTAGGED = (Kind.META_GRAPH, Kind.SESSION_START)


def open_index(mount: Mount, cache_size: int) -> Indexed | None:
    """The published index of what is mounted, else this machine's own; None if there is none that helps."""
    if not isinstance(mount.source, BucketSource):
        return None
    bucket: Any = mount.source.bucket
    try:
        from bucketboard.index import BucketObjects, Index, local_index

        if MANIFEST_PATH in mount.files:
            index = Index.open(BucketObjects(bucket, mount.source.url.prefix))
            if index.files:
                return Indexed(index)
        if cache_size > 0:
            index = Index.open(local_index(mount.source.identity, cache_size))
            if index.files:
                return Indexed(index)
    except (ImportError, InvalidError, BucketboardError) as error:
        _log.info("no index is used: %s", error)
    return None


class Indexed:
    """An index as it was when it was opened."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._lock = threading.Lock()

    def restore(self, run: Run, paths: Sequence[str], listed: Mapping[str, ObjectInfo]) -> bool:
        """Let a new run begin with what the index has of its first files; False if that is nothing."""
        known = []
        for path in paths:
            covered = self._index.files.get(path)
            if covered is None or not 0 < covered.end <= listed[path].size:
                break  # later files are read after this one, whether they are indexed or not
            known.append(path)
        series = self._series(known)
        if not known or series is None:
            return False
        for path in known:
            covered = self._index.files[path]
            file = run.file(path)
            file.etag, file.looked, file.log_id = covered.etag, covered.looked, covered.log_id
            file.tail, file.scanner = covered.tail, FileScanner(covered.end)
            part = self._index.parts[path]
            file.said = {**json.loads(part.metadata or "{}"), **json.loads(part.gathered or "{}")}
            run.start = float(np.fmin(run.start, covered.start))
        for tag, (metadata, unread) in series.items():
            run.add(tag, metadata).unread = unread
        return True

    def _series(self, paths: Iterable[str]) -> dict[str, tuple[Any, Unread]] | None:
        """What series there are, in files in their order; None if the index tells them apart otherwise."""
        found: dict[str, tuple[Any, Unread]] = {}
        for path in paths:
            for tag, rows in self._index.tags.get(path, {}).items():
                if rows.kind in _UNTAGGED:
                    continue
                metadata = found[tag][0] if tag in found else metadata_of(rows.kind, rows.first)
                if is_scalar(rows.kind, rows.first) != (metadata.data_class == SCALAR):
                    return None
                found[tag] = metadata, Unread(rows.step, rows.wall_time)
        return found

    def read(self, wanted: Sequence[tuple[Run, Series]], records: Records) -> None:
        """Fetch the points of series that are unread, those of one kind in few requests for all runs.

        Raises:
            BucketboardError: the index can't be read, or is not there any more.
        """
        with self._lock:
            unread = [(run, series) for run, series in wanted if series.unread]
            for scalars in (True, False):
                some = [pair for pair in unread if (pair[1].metadata.data_class == SCALAR) == scalars]
                if some:
                    self._read(some, scalars, records)

    def _read(self, some: Sequence[tuple[Run, Series]], scalars: bool, records: Records) -> None:
        tags = {series.tag for _, series in some}
        paths = {path for run, _ in some for path in run.files}
        found = self._index.scalars(tags, paths) if scalars else self._index.values(tags, paths)
        for run, series in some:
            parts: dict[int, Any] = {}
            for file in run.numbered:
                rows = found.get((file.path, series.tag))
                if rows is None:
                    continue
                parts[file.number] = _points(series.dtype, rows, file.number)
                if not scalars:
                    for offset, event in zip(rows.offset.tolist(), rows.event, strict=True):
                        if event is not None:
                            records.keep(run, file.number, offset, event)
            run.fill(series, parts)


def _points(dtype: Any, rows: Any, number: int) -> Any:
    points = np.empty(len(rows), dtype)
    for name in dtype.names:
        points[name] = number if name == "file" else getattr(rows, name)
    return points
