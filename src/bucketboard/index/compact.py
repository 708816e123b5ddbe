"""Making few segments of many, and removing what no manifest names any more."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from typing import Any

import numpy as np

from bucketboard.errors import BucketboardError, CorruptDataError, Reason
from bucketboard.index.index import Index
from bucketboard.index.manifest import MANIFEST, Manifest, Segment
from bucketboard.index.objects import Objects
from bucketboard.index.parquet import RUNS, SCALARS, codes, in_order, join, pa, read_rows
from bucketboard.index.parts import Head, Part, RunFile, Tag, joined
from bucketboard.index.segment import ORDER, store

__all__ = ["GRACE", "compacted", "expired"]

GRACE = datetime.timedelta(hours=1)
"""For which a segment stays when it is not named any more: readers may be at it."""
_MANY = 8
_MOST = 16
_SMALL = 1 << 20
"""Bytes that are rewritten without a thought."""


class _Lost(Exception):
    """A segment is gone or damaged."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def compacted(
    index: Index, objects: Objects, files: Collection[str], now: datetime.datetime
) -> Manifest | None:
    """The manifest with fewer segments, which are stored; None where it is not worth it.

    Small segments are made one when there are many. Everything is rewritten when a tenth of what the
    segments hold counts no more, when one is lost, or when there are very many.
    """
    segments = index.manifest.segments
    valid = {path: numbers for path, numbers in index.valid.items() if path in files}
    if not segments:
        return None
    if _stale(index, valid) > 0.1 or len(segments) > _MOST or index.lost:
        chosen = list(range(len(segments)))
    elif len(segments) > _MANY:
        chosen = _longest_stretch([segment.bytes for segment in segments])
        if len(chosen) < 2:
            return None
    else:
        return None
    try:
        made = _merged(index, objects, chosen, valid, files)
    except _Lost as lost:
        return compacted(index.without(lost.number), objects, files, now)
    later = [*segments[: chosen[0]], *([made] if made else ()), *segments[chosen[-1] + 1 :]]
    return index.manifest.with_segments(later, now)


def _longest_stretch(sizes: list[int]) -> list[int]:
    """Small segments behind each other: what is between two parts of a file must not be left out."""
    small = max(sum(sizes) / 10, _SMALL)
    stretches: list[list[int]] = [[]]
    for number, size in enumerate(sizes):
        if size > small:
            stretches.append([])
        else:
            stretches[-1].append(number)
    return max(stretches, key=len)


def _stale(index: Index, valid: dict[str, list[int]]) -> float:
    """Which part of the events that the segments hold counts no more."""
    total = sum(part.events for head in index.heads if head for part in head.parts.values())
    alive = sum(
        head.parts[path].events
        for path, numbers in valid.items()
        for number in numbers
        if (head := index.heads[number])
    )
    return 1 - alive / total if total else 0.0


def _merged(
    index: Index,
    objects: Objects,
    chosen: list[int],
    valid: dict[str, list[int]],
    files: Collection[str],
) -> Segment | None:
    parts: dict[str, Part] = {}
    tags: dict[tuple[str, str], Tag] = {}
    run_files: dict[str, RunFile] = {}
    scalars, values = [], []
    for number in chosen:
        head = index.heads[number]
        if head is None:
            continue
        counts = {path for path in head.parts if number in valid.get(path, ())}
        for path in counts:
            before = parts.get(path)
            parts[path] = before.continued(head.parts[path]) if before else head.parts[path]
        for tag in head.tags:
            if tag.path in counts:
                key = (tag.path, tag.tag)
                known = tags.get(key)
                tags[key] = known.continued(tag) if known else tag
        segment = index.manifest.segments[number]
        try:
            if segment.scalars:
                scalars.append(_of(read_rows(objects, segment.scalars, None, SCALARS), counts))
            values.append(_of(read_rows(objects, segment.runs, None, RUNS), counts))
        except BucketboardError as error:
            if error.reason is Reason.NOT_FOUND or isinstance(error, CorruptDataError):
                raise _Lost(number) from error
            raise
        run_files |= {path: each for path, each in head.run_files.items() if path in files}
    if not parts and not run_files:
        return None
    tables = (in_order(join(scalars, SCALARS), ORDER), in_order(join(values, RUNS), ORDER))
    return store(objects, Head(parts, list(tags.values()), run_files), *tables)


def _of(table: Any, paths: Collection[str]) -> Any:
    """The rows of some files."""
    if not len(table):
        return table
    runs, run_names = codes(table, "run")
    files, file_names = codes(table, "file")
    pairs = runs.astype(np.int64) * len(file_names) + files
    known, inverse = np.unique(pairs, return_inverse=True)
    wanted = np.array(
        [
            joined(run_names[pair // len(file_names)], file_names[pair % len(file_names)]) in paths
            for pair in known
        ]
    )
    return table.filter(pa.array(wanted[inverse]))


def expired(manifest: Manifest, objects: Objects, now: datetime.datetime) -> list[str]:
    """Objects that nobody can be at any more: not named for long, or never."""
    retired = dict(manifest.retired)
    kept = manifest.names | {MANIFEST}
    found = []
    for stored in objects.list():
        if stored.name not in kept and stored.name.endswith((".parquet", ".json")):
            since = retired.get(stored.name) or (stored.modified.timestamp() if stored.modified else None)
            if since is not None and now.timestamp() - since > GRACE.total_seconds():
                found.append(stored.name)
    return found
