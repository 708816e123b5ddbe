"""Making segments: rows of many files gathered, sorted and stored."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np

from bucketboard.events.columns import Columns
from bucketboard.events.metadata import is_scalar, plugin_of
from bucketboard.index.manifest import Segment
from bucketboard.index.news import News
from bucketboard.index.objects import Objects
from bucketboard.index.parquet import RUNS, SCALARS, empty, in_order, join, names, pa, write
from bucketboard.index.parts import Head, Part, RunFile, Tag, head_table, split

__all__ = ["ORDER", "Gathering", "store"]

ORDER = ("tag", "run", "file")
"""By what the rows of a segment are sorted, before their order in the file."""

_Series = tuple[str, str, str]
_POINT = ("step", "wall_time", "value", "kind")


def store(objects: Objects, head: Head, scalars: Any, values: Any) -> Segment:
    """Store a segment of sorted tables. Objects that no manifest names count for nothing."""
    name = uuid.uuid4().hex
    runs = write(objects, f"runs/{name}.parquet", head_table(head), values)
    if not len(scalars):
        return Segment(runs, None)
    return Segment(runs, write(objects, f"scalars/{name}.parquet", None, scalars))


class Gathering:
    """What the next segment will hold.

    Whether a series is one of scalars is what its first value in the file says: each file can be read alone.
    """

    def __init__(self, known: Mapping[str, Mapping[str, Tag]], *, heads_only: bool = False) -> None:
        """``known`` are the tags of files that are gone on with, by path and name. With ``heads_only`` no
        values are kept."""
        self._known = known
        self._heads_only = heads_only
        self.clear()

    def clear(self) -> None:
        """Begin with another segment."""
        self.parts: dict[str, Part] = {}
        self.run_files: dict[str, RunFile] = {}
        self.rows = 0
        self._tags: list[Tag] = []
        self._scalars: dict[_Series, list[tuple[Any, ...]]] = {}
        self._values: list[Any] = []

    def head(self) -> Head:
        """What it says of files, tags and runs."""
        return Head(self.parts, self._tags, self.run_files)

    def tables(self) -> tuple[Any, Any]:
        """Scalars and other values, sorted."""
        return self._sorted_scalars(), in_order(join(self._values, RUNS), ORDER)

    def _sorted_scalars(self) -> Any:
        # By series, of which there are few beside the rows: to sort those takes several times as long.
        series = sorted(self._scalars)
        pieces = [piece for key in series for piece in self._scalars[key]]
        counts = [sum(len(piece[0]) for piece in self._scalars[key]) for key in series]
        if not pieces:
            return empty(SCALARS)
        columns = {}
        for place, name in enumerate(ORDER):
            known: dict[str, int] = {}
            codes = [known.setdefault(key[place], len(known)) for key in series]
            columns[name] = names(np.repeat(np.array(codes, np.int32), counts), list(known))
        for name, arrays in zip(_POINT, zip(*pieces, strict=True), strict=True):
            columns[name] = np.concatenate(arrays)
        columns["kind"] = columns["kind"].astype(np.int8)
        return pa.Table.from_arrays([pa.array(columns[field.name]) for field in SCALARS], schema=SCALARS)

    def add(self, news: News) -> None:
        """Add what is new of a file."""
        path = news.part.path
        self.parts[path] = news.part
        run, file = split(path)
        before = self._known.get(path, {}) if news.part.begin else {}
        known = {name: is_scalar(tag.kind, tag.first) for name, tag in before.items()}
        tags: dict[str, Tag] = {}
        for columns in news.columns:
            if not len(columns):
                continue
            self._note_tags(columns, path, tags, before, known)
            if self._heads_only:
                continue
            scalar_tags = np.array([known[tag] for tag in columns.tags] + [False], bool)
            scalars = columns.is_scalar & scalar_tags[columns.tag]
            self._add_scalars(columns, scalars, run, file)
            self._add_values(columns.take(~scalars), run, file, tags, news.events)
            self.rows += len(columns)
        self._tags += tags.values()

    def _note_tags(
        self,
        columns: Columns,
        path: str,
        tags: dict[str, Tag],
        before: Mapping[str, Tag],
        known: dict[str, bool],
    ) -> None:
        places, first_rows, counts = np.unique(columns.tag, return_index=True, return_counts=True)
        last_rows = len(columns) - 1 - np.unique(columns.tag[::-1], return_index=True)[1]
        for place, first_row, count, last_row in zip(
            places.tolist(), first_rows.tolist(), counts.tolist(), last_rows.tolist(), strict=True
        ):
            if place < 0:
                continue
            name = columns.tags[place]
            step, wall_time = int(columns.step[last_row]), float(columns.wall_time[last_row])
            here = tags.get(name)
            first, stated = columns.first.get(place, b""), columns.stated.get(place)
            kind = int(columns.kind[first_row])
            if here is not None:
                kind, first, count = here.kind, here.first, here.count + count
                stated = here.stated if here.stated is not None else stated
            known.setdefault(name, is_scalar(kind, first))
            plugin = before[name].plugin if name in before else plugin_of(kind, first)
            value = float(columns.value[last_row]) if known[name] else None
            tags[name] = Tag(path, name, plugin, kind, first, stated, count, step, wall_time, value)

    def _add_scalars(self, columns: Columns, rows: Any, run: str, file: str) -> None:
        order = np.flatnonzero(rows)
        if not len(order):
            return
        places = columns.tag[order]
        few = len(columns.tags) < 1 << 16  # of which numpy sorts by radix
        by_tag = np.argsort(places.astype(np.uint16) if few else places, kind="stable")
        order, places = order[by_tag], places[by_tag]
        arrays = [getattr(columns, name)[order] for name in _POINT]
        bounds: list[int] = (np.flatnonzero(np.diff(places)) + 1).tolist()
        for begin, end in itertools.pairwise([0, *bounds, len(order)]):
            tag = columns.tags[int(places[begin])]
            piece = tuple(array[begin:end] for array in arrays)
            self._scalars.setdefault((tag, run, file), []).append(piece)

    def _add_values(
        self, columns: Columns, run: str, file: str, tags: dict[str, Tag], events: dict[int, bytes]
    ) -> None:
        if not len(columns):
            return
        zeros: Any = np.zeros(len(columns), np.int32)
        plugins = [tags[tag].plugin if tag in tags else "" for tag in columns.tags]
        tag = np.where(columns.tag < 0, len(columns.tags), columns.tag)
        known: dict[str, Any] = {
            "what": names(zeros, ["value"]),
            "run": names(zeros, [run]),
            "file": names(zeros, [file]),
            "tag": names(tag, [*columns.tags, ""]),
            "plugin": pa.array([*plugins, ""]).take(pa.array(tag)).dictionary_encode(),
            "event": pa.array([events.get(offset) for offset in columns.offset.tolist()], pa.binary()),
        }
        for name in ("step", "wall_time", "offset", "length", "index", "elements", "rank", "value"):
            known[name] = pa.array(getattr(columns, name))
        known["kind"] = pa.array(columns.kind.astype(np.int8))
        arrays = [known.get(field.name, pa.nulls(len(columns), field.type)) for field in RUNS]
        self._values.append(pa.Table.from_arrays(arrays, schema=RUNS))
