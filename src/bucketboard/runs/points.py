"""The points of event files: from an index as far as there is one, else read from the files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bucketboard.errors import BucketboardError, InvalidError, Reason
from bucketboard.events.columns import Array, Damage
from bucketboard.runs.scan import KINDS, Replaced, Series, Sorter, read_pieces
from bucketboard.source import BucketSource, Source
from bucketboard.store.bucket import ObjectInfo

__all__ = ["Part", "Points"]

_log = logging.getLogger(__name__)
_READERS = 16
_MANIFEST = ".bucketboard/v1/manifest.json"
_ARRAYS = ("step", "wall_time", "value", "offset", "length", "index")


@dataclass
class Part:
    """Points of one kind and tag of a file, in its order."""

    path: str
    tag: str
    plugin: str
    step: Array
    wall_time: Array
    value: Array
    """NaN for what is no number."""
    offset: Array | None = None
    """Where the record is that the value is in; None for scalars that an index has."""
    length: Array | None = None
    index: Array | None = None
    events: Mapping[int, bytes] = field(default_factory=dict)
    """Serialised Events that are known, by offset."""


@dataclass
class _Scanned:
    """What was read of a file: all of it, or what is past an index."""

    arrays: dict[str, Array]
    tags: list[str]
    kinds: Array
    series: dict[str, Series]
    log_id: str | None
    begins: bool
    """Whether it was read from its beginning."""


class Points:
    """The points of files as they were listed. What was scanned is kept; an index is asked anew each time."""

    def __init__(self, source: Source, files: Mapping[str, ObjectInfo]) -> None:
        self._source = source
        self._files = files
        self._index: Any = _opened(source, files)
        self._scanned: dict[str, _Scanned | None] = {}

    def log_id(self, path: str) -> str | None:
        """The log that a file whose points were read is of; None: not written by us."""
        scanned = self._scanned.get(path)
        if scanned:
            return scanned.log_id
        known = self._index.files.get(path) if self._index else None
        return known.log_id if known else None

    def parts(self, paths: Sequence[str], kind: str, wanted: Callable[[str], bool]) -> dict[str, list[Part]]:
        """By file, in the order of tags, the points of a kind that have a wanted tag.

        Raises:
            BucketboardError: a file can't be read.
        """
        self._scan(paths)
        indexed = [path for path in paths if self._is_indexed(path)]
        found: dict[str, list[Part]] = {path: [] for path in paths}
        try:
            for part in self._of_index(indexed, kind, wanted) if indexed else ():
                found[part.path].append(part)
        except BucketboardError as error:
            _log.warning("the index is not used: %s", error)
            self._index = None
            self._scanned = {path: scan for path, scan in self._scanned.items() if scan and scan.begins}
            return self.parts(paths, kind, wanted)
        for path in paths:
            if scanned := self._scanned[path]:
                found[path] += _parts(path, scanned, KINDS.index(kind), wanted)
        return {path: sorted(parts, key=lambda part: part.tag) for path, parts in found.items()}

    def _is_indexed(self, path: str) -> bool:
        scanned = self._scanned[path]
        return self._index is not None and path in self._index.files and not (scanned and scanned.begins)

    def _scan(self, paths: Sequence[str]) -> None:
        missing = [path for path in paths if path not in self._scanned]
        if not missing:
            return
        with ThreadPoolExecutor(_READERS, "bucketboard-read") as pool:
            self._scanned |= dict(zip(missing, pool.map(self._read, missing), strict=True))

    def _read(self, path: str) -> _Scanned | None:
        listed = self._files[path]
        known = self._index.files.get(path) if self._index else None
        try:
            if known is not None and known.end <= listed.size:
                if known.etag == listed.etag and known.looked >= listed.size:
                    return None
                firsts = {name: (tag.kind, tag.first) for name, tag in self._index.tags[path].items()}
                try:
                    return self._read_from(path, known.end, known.log_id, known.tail, Sorter(firsts))
                except Replaced:
                    pass
            return self._read_from(path, 0, None, b"", Sorter())
        except BucketboardError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            return _scanned([], [], Sorter(), None, begins=True)  # deleted since it was listed

    def _read_from(self, path: str, start: int, log_id: str | None, tail: bytes, sorter: Sorter) -> _Scanned:
        columns, kinds, damage = [], [], list[Damage]()
        size = self._files[path].size
        for piece in read_pieces(
            self._source, path, size, start=start, log_id=log_id, tail=tail, damage=damage
        ):
            columns.append(piece.columns)
            kinds.append(sorter.sort(piece.columns))
            log_id = piece.log_id
        if damage:
            _log.warning("%s: %s (%d damaged places)", path, damage[0].message, len(damage))
        return _scanned(columns, kinds, sorter, log_id, begins=not start)

    def _of_index(self, paths: Sequence[str], kind: str, wanted: Callable[[str], bool]) -> Iterator[Part]:
        known = {path: self._index.tags[path] for path in paths}
        tags = {tag for of_file in known.values() for tag in of_file if wanted(tag)}
        if kind == "scalars":
            for (path, tag), rows in self._index.scalars(tags, set(paths)).items():
                yield Part(path, tag, "scalars", rows.step, rows.wall_time, rows.value)
            return
        if wanted(""):
            tags.add("")
        for (path, tag), rows in self._index.values(tags, set(paths)).items():
            first = known[path].get(tag)
            series = Series.of(tag, first.kind, first.first) if first else Series(False, -1, "")
            mask = series.sort(rows.kind) == KINDS.index(kind)
            if mask.any():
                events = zip(rows.offset.tolist(), rows.event, strict=True)
                arrays = {name: getattr(rows, name)[mask] for name in _ARRAYS}
                known_events = {offset: event for offset, event in events if event is not None}
                yield Part(path, tag, series.plugin, **arrays, events=known_events)


def _scanned(
    columns: Sequence[Any], kinds: Sequence[Array], sorter: Sorter, log_id: str | None, *, begins: bool
) -> _Scanned:
    names = (*_ARRAYS, "tag")
    if not columns:
        return _Scanned({name: np.empty(0) for name in names}, [], np.empty(0), sorter.series, log_id, begins)
    arrays = {name: np.concatenate([getattr(each, name) for each in columns]) for name in names}
    return _Scanned(arrays, columns[-1].tags, np.concatenate(kinds), sorter.series, log_id, begins)


def _parts(path: str, scanned: _Scanned, kind: int, wanted: Callable[[str], bool]) -> Iterator[Part]:
    rows = np.flatnonzero(scanned.kinds == kind)
    rows = rows[np.argsort(scanned.arrays["tag"][rows], kind="stable")]
    tags = scanned.arrays["tag"][rows]
    for some in np.split(rows, np.flatnonzero(tags[1:] != tags[:-1]) + 1):
        if not len(some):
            continue
        place = int(scanned.arrays["tag"][some[0]])
        tag = scanned.tags[place] if place >= 0 else ""
        if wanted(tag):
            plugin = scanned.series[tag].plugin if place >= 0 else ""
            yield Part(path, tag, plugin, **{name: scanned.arrays[name][some] for name in _ARRAYS})


def _opened(source: Source, files: Mapping[str, ObjectInfo]) -> Any:
    if not isinstance(source, BucketSource) or _MANIFEST not in files:
        return None
    try:
        from bucketboard.index import BucketObjects, Index
    except InvalidError as error:
        _log.info("no index is used: %s", error)
        return None
    index = Index.open(BucketObjects(source.bucket, source.url.prefix))
    return index if index.files else None
