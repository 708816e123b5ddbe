"""Reading an index: which files it covers up to where, their tags, and their data by tag."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from bucketboard.errors import BucketboardError, CorruptDataError, Reason
from bucketboard.index.manifest import Manifest, Segment, Unreadable, read_manifest
from bucketboard.index.objects import Objects
from bucketboard.index.parquet import RUNS, SCALARS, codes, empty, numbers, read_head, read_rows
from bucketboard.index.parts import Head, Part, RunFile, Tag, chain, head_of, joined

__all__ = ["Covered", "Index", "ScalarRows", "ValueRows"]

_log = logging.getLogger(__name__)
_READERS = 8


@dataclass(frozen=True, slots=True)
class Covered:
    """An event file as far as the index has it. Whoever reads on makes sure that it is still the same file:
    by the log id in its headers, or where there is none by ``tail``, which is read again."""

    end: int
    """Everything before is indexed; a record begins here."""
    looked: int
    """Bytes of the version ``etag`` that were looked at, 0 or more of them behind ``end``."""
    etag: str
    log_id: str | None
    tail: bytes
    start: float
    """The earliest wall time of its events; NaN without any."""
    events: int


@dataclass(frozen=True, slots=True)
class ScalarRows:
    """The scalars of a tag of a file, in the order of the file."""

    step: Any  # int64
    wall_time: Any  # float64
    value: Any  # float64
    kind: Any  # int8

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True, slots=True)
class ValueRows:
    """The other values of a tag of a file, in the order of the file; arrays as in Columns.

    Also numbers where the tag's first value in the file does not say that they are scalars.
    """

    step: Any
    wall_time: Any
    value: Any
    kind: Any
    offset: Any
    length: Any
    index: Any
    elements: Any
    rank: Any
    event: list[bytes | None]
    """The serialised Event that the value is in, where it is short."""

    def __len__(self) -> int:
        return len(self.step)


class Index:
    """An index as it was when it was opened. One that is missing, foreign, newer or broken covers less, or
    nothing: ``trouble`` says why."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.manifest = Manifest()
        self.trouble = ""
        self.newer = False
        """Whether it is of a version that is not ours to change."""
        self.error: BucketboardError | None = None
        """What kept some of it from being read now; later it may be there."""
        self.lost: set[int] = set()
        """Places of segments that are gone or damaged."""
        self.files: dict[str, Covered] = {}
        self.tags: dict[str, dict[str, Tag]] = {}
        """By file and tag, in the order of their first values' segments."""
        self.parts: dict[str, Part] = {}
        """What is known of each file as a whole."""
        self.run_files: dict[str, RunFile] = {}
        """By path, what ``bucketboard.json`` of a run said."""
        self.heads: list[Head | None] = []
        self.valid: dict[str, list[int]] = {}
        """Which segments count for each file."""

    @classmethod
    def open(cls, objects: Objects, known: Index | None = None) -> Index:
        """Read what there is. Never raises: what can't be read is not covered, and ``trouble`` says why.

        With ``known``, the index as it was before, only what was added is read.
        """
        index = cls(objects)
        try:
            index.manifest = read_manifest(objects)
        except Unreadable as error:
            index.trouble = str(error)
            index.newer = error.newer
            index.manifest = Manifest(etag=error.etag)
        except BucketboardError as error:
            index.trouble = f"the index can't be read: {error.message}"
            index.error = error
        segments = index.manifest.segments
        if segments:
            before: dict[Segment, Head | None] = {}
            if known:
                before = dict(zip(known.manifest.segments, known.heads, strict=True))
            with ThreadPoolExecutor(min(_READERS, len(segments)), "bucketboard-index") as pool:
                heads = (
                    pool.submit(index._head, n) if not before.get(s) else None for n, s in enumerate(segments)
                )
                index.heads = [
                    future.result() if future else before[segment]
                    for future, segment in zip(list(heads), segments, strict=True)
                ]
            index._join()
        if index.trouble:
            _log.warning("%s", index.trouble)
        return index

    def extended(self, manifest: Manifest, heads: Collection[Head]) -> Index:
        """This index with segments that were added to it, as ``manifest`` names them."""
        later = Index(self._objects)
        later.manifest, later.heads, later.lost = manifest, [*self.heads, *heads], self.lost
        later._join()
        return later

    def without(self, lost: int) -> Index:
        """This index where a segment turned out to be gone or damaged."""
        later = Index(self._objects)
        later.manifest, later.lost = self.manifest, self.lost | {lost}
        later.heads = [None if number == lost else head for number, head in enumerate(self.heads)]
        later._join()
        return later

    def scalars(
        self, tags: Collection[str] | None = None, paths: Collection[str] | None = None
    ) -> dict[tuple[str, str], ScalarRows]:
        """By file and tag, the scalars of some tags (None: all) in some files.

        Raises:
            BucketboardError: the index can't be read now, or is not there any more: open it anew.
        """
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for key, arrays in self.stretches("scalars", ("step", "wall_time", "value", "kind"), tags, paths):
            found.setdefault(key, []).append(arrays)
        return {key: ScalarRows(**_concatenated(arrays)) for key, arrays in found.items()}

    def values(
        self, tags: Collection[str] | None = None, paths: Collection[str] | None = None
    ) -> dict[tuple[str, str], ValueRows]:
        """By file and tag, the places of values that are no scalars; those without a tag have the tag "".

        Raises:
            BucketboardError: the index can't be read now, or is not there any more: open it anew.
        """
        columns = (
            "step",
            "wall_time",
            "value",
            "kind",
            "offset",
            "length",
            "index",
            "elements",
            "rank",
            "event",
        )
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for key, arrays in self.stretches("runs", columns, tags, paths):
            found.setdefault(key, []).append(arrays)
        return {key: ValueRows(**_concatenated(arrays)) for key, arrays in found.items()}

    def stretches(
        self,
        which: str,
        columns: Collection[str],
        tags: Collection[str] | None = None,
        paths: Collection[str] | None = None,
    ) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
        """File and tag of rows that stand together, with some of their columns; those of a file and tag come
        in the order of the file. ``which`` is "scalars", or "runs" for other values.

        Raises:
            BucketboardError: the index can't be read now, or is not there any more: open it anew.
        """
        for number, table in self._tables(which, tags):
            arrays = {name: numbers(table.column(name)) for name in columns if name != "event"}
            for key, rows in self._groups(number, table, tags, paths):
                found = {name: array[rows] for name, array in arrays.items()}
                if "event" in columns:
                    found["event"] = (
                        table.column("event").slice(rows.start, rows.stop - rows.start).to_pylist()
                    )
                yield key, found

    def _head(self, number: int) -> Head | None:
        try:
            return head_of(read_head(self._objects, self.manifest.segments[number].runs))
        except BucketboardError as error:
            self.trouble = f"a part of the index can't be read: {error.message}"
            if error.reason is not Reason.NOT_FOUND and not isinstance(error, CorruptDataError):
                self.error = error
                return None
        except (ValueError, TypeError) as error:
            self.trouble = f"a part of the index is damaged: {error}"
        self.lost.add(number)
        return None

    def _join(self) -> None:
        self.valid = chain(self.heads)
        by_file: list[dict[str, list[Tag]]] = []
        for head in self.heads:
            tags: dict[str, list[Tag]] = {}
            for tag in head.tags if head else ():
                tags.setdefault(tag.path, []).append(tag)
            by_file.append(tags)
            self.run_files |= head.run_files if head else {}
        for path, places in self.valid.items():
            part = functools.reduce(
                Part.continued, (head.parts[path] for number in places if (head := self.heads[number]))
            )
            self.parts[path] = part
            self.files[path] = Covered(
                part.end, part.looked, part.etag, part.log_id, part.tail, part.start, part.events
            )
            known = self.tags[path] = {}
            for tag in (tag for number in places for tag in by_file[number].get(path, ())):
                before = known.get(tag.tag)
                known[tag.tag] = before.continued(tag) if before else tag

    def _tables(self, which: str, tags: Collection[str] | None) -> Iterator[tuple[int, Any]]:
        """Of each segment that counts, the rows that may be of the tags."""
        wanted = sorted({number for places in self.valid.values() for number in places})
        schema = SCALARS if which == "scalars" else RUNS

        def read(number: int) -> Any:
            segment = self.manifest.segments[number]
            piece = segment.scalars if which == "scalars" else segment.runs
            return empty(schema) if piece is None else read_rows(self._objects, piece, tags, schema)

        if wanted:
            with ThreadPoolExecutor(min(_READERS, len(wanted)), "bucketboard-index") as pool:
                yield from zip(wanted, pool.map(read, wanted), strict=True)

    def _groups(
        self, number: int, table: Any, tags: Collection[str] | None, paths: Collection[str] | None
    ) -> Iterator[tuple[tuple[str, str], slice]]:
        """The stretches of a table that are of one file and tag, if they are wanted and count."""
        if not len(table):
            return
        places = {name: codes(table, name) for name in ("run", "file", "tag")}
        codes_of = [code for code, _ in places.values()]
        runs, files, labels = (known for _, known in places.values())
        changed = np.logical_or.reduce([code[1:] != code[:-1] for code in codes_of])
        bounds = [0, *(np.flatnonzero(changed) + 1).tolist(), len(table)]
        for begin, end in itertools.pairwise(bounds):
            run, file, label = (int(code[begin]) for code in codes_of)
            tag, path = labels[label], joined(runs[run], files[file])
            if (
                (tags is None or tag in tags)
                and (paths is None or path in paths)
                and number in self.valid.get(path, ())
            ):
                yield (path, tag), slice(begin, end)


def _concatenated(arrays: list[dict[str, Any]]) -> dict[str, Any]:
    if len(arrays) == 1:
        return arrays[0]
    return {
        name: np.concatenate([each[name] for each in arrays])
        if name != "event"
        else [event for each in arrays for event in each[name]]
        for name in arrays[0]
    }
