"""What a segment says of the files and tags in it, and what several segments say together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bucketboard.index.parquet import RUNS, codes, in_order, join, names, pa, values

__all__ = ["Head", "Part", "RunFile", "Tag", "chain", "head_of", "head_table", "joined", "split"]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of an event file that a segment covers: whole records from ``begin`` to ``end``."""

    path: str
    begin: int
    end: int
    looked: int
    """Bytes of the version ``etag`` that were looked at: behind ``end`` is a torn or unreadable record."""
    etag: str
    log_id: str | None
    tail: bytes
    """The last bytes before ``end``, by which a file without a log id is recognised."""
    start: float
    """The earliest wall time in it; NaN without any."""
    events: int
    last: float | None
    """The latest wall time of a value in it; NaN without any."""
    step: int | None
    """The greatest step in it; None without any."""
    modified: float | None
    """When that version was written, in seconds since the epoch, where its headers say it."""
    state: str | None
    """That of its object metadata, "" without any; None: from a segment that says nothing of runs."""
    hparams: str | None
    """Hyperparameters that are stated in it, as JSON."""
    metadata: str | None
    """The user's own pairs on the object, as JSON."""
    gathered: str | None
    """What the writer found out by itself, as JSON."""

    def continued(self, later: Part) -> Part:
        """This and the stretch behind it."""
        return later if later.begin == 0 else replace(self.joined(later), begin=self.begin)

    def joined(self, later: Part) -> Part:
        """What this and a later part say of a run; all else is that of the later one."""
        steps = [step for step in (self.step, later.step) if step is not None]
        return replace(
            later,
            start=float(np.fmin(self.start, later.start)),
            events=self.events + later.events,
            last=_latest(self.last, later.last),
            step=max(steps, default=None),
            hparams=later.hparams or self.hparams,
        )


def _latest(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else float(np.fmax(one, other))


@dataclass(frozen=True, slots=True)
class RunFile:
    """The contents of a run's ``bucketboard.json``, as JSON objects."""

    path: str
    etag: str
    end: int
    """Its length in bytes."""
    modified: float | None
    metadata: str
    gathered: str
    labels: str


@dataclass(slots=True)  # not frozen: made by the hundred thousand, which takes three times as long then
class Tag:
    """A tag of a file: what is known of it without its data."""

    path: str
    tag: str
    plugin: str
    kind: int
    """Of its first value, see :class:`bucketboard.events.columns.Kind`."""
    first: bytes
    """The serialised SummaryMetadata of its first value, b"" if it has none."""
    stated: bytes | None
    """The first one that a value has."""
    count: int
    step: int
    """Of the last value, as ``wall_time``."""
    wall_time: float
    value: float | None
    """The last value, if the series is one of scalars."""

    def continued(self, later: Tag) -> Tag:
        """This and what another segment says of the tag."""
        stated = self.stated if self.stated is not None else later.stated
        count = self.count + later.count
        return Tag(
            self.path,
            self.tag,
            self.plugin,
            self.kind,
            self.first,
            stated,
            count,
            later.step,
            later.wall_time,
            later.value,
        )


@dataclass(frozen=True, slots=True)
class Head:
    """What a segment says of files and tags."""

    parts: dict[str, Part]
    tags: list[Tag]
    run_files: dict[str, RunFile] = field(default_factory=dict)


def split(path: str) -> tuple[str, str]:
    """The run and the file's name; the run of the top is "." as TensorBoard shows it."""
    run, _, name = path.rpartition("/")
    return run or ".", name


def joined(run: str, name: str) -> str:
    """The path."""
    return name if run == "." else f"{run}/{name}"


def _table(what: str, rows: Sequence[Any], **columns: Any) -> Any:
    arrays = []
    for column in RUNS:
        if column.name == "what":
            arrays.append(names([0] * len(rows), [what]))
        elif column.name not in columns:
            arrays.append(pa.nulls(len(rows), column.type))
        elif pa.types.is_dictionary(column.type):
            arrays.append(pa.array(columns[column.name], pa.string()).dictionary_encode())
        else:
            arrays.append(pa.array(columns[column.name], column.type))
    return pa.Table.from_arrays(arrays, schema=RUNS)


def head_table(head: Head) -> Any:
    """The rows of a head: files by run, then tags by tag and run, then what runs say of themselves."""
    parts = list(head.parts.values())
    files = _table(
        "file",
        parts,
        run=[split(part.path)[0] for part in parts],
        file=[split(part.path)[1] for part in parts],
        wall_time=[part.start for part in parts],
        count=[part.events for part in parts],
        **{name: [getattr(part, name) for part in parts] for name in (*_PART, *_SUMMARY)},
    )
    tags = _table(
        "tag",
        head.tags,
        run=[split(tag.path)[0] for tag in head.tags],
        file=[split(tag.path)[1] for tag in head.tags],
        **{name: [getattr(tag, name) for tag in head.tags] for name in _TAG},
    )
    run_files = list(head.run_files.values())
    runs = _table(
        "run",
        run_files,
        run=[split(each.path)[0] for each in run_files],
        file=[split(each.path)[1] for each in run_files],
        **{name: [getattr(each, name) for each in run_files] for name in _RUN_FILE},
    )
    ordered = [
        in_order(files, ("run", "file")),
        in_order(tags, ("tag", "run", "file")),
        in_order(runs, ("run",)),
    ]
    return join(ordered, RUNS)


_PART = ("begin", "end", "looked", "etag", "log_id", "tail")
"""Fields of Part that are columns, in order; then come ``wall_time`` and ``count``, then these."""
_SUMMARY = ("last", "step", "modified", "state", "hparams", "metadata", "gathered")
_TAG = ("tag", "plugin", "kind", "first", "stated", "count", "step", "wall_time", "value")
"""Fields of Tag but for its path, in order."""
_RUN_FILE = ("etag", "end", "modified", "metadata", "gathered", "labels")
"""Fields of RunFile but for its path, in order."""


def head_of(table: Any) -> Head:
    """What the rows say: those about files, those about tags, and those about runs.

    Raises:
        ValueError: they are in another order.
    """
    whats, known = codes(table, "what")
    files, tags, runs = (
        _stretch(table, whats == known.index(what) if what in known else None) for what in _WHATS
    )
    parts = {}
    for row in _rows(files, (*_PART, "wall_time", "count", *_SUMMARY), {"log_id", *_SUMMARY}):
        parts[row[0]] = Part(*row)
    run_files = {row[0]: RunFile(*row) for row in _rows(runs, _RUN_FILE, {*_RUN_FILE[2:]})}
    return Head(parts, [Tag(*row) for row in _rows(tags, _TAG, {"stated", "value"})], run_files)


_WHATS = ("file", "tag", "run")


def _stretch(table: Any, mask: Any) -> Any:
    """The rows that the mask says, which are next to each other."""
    if mask is None:
        return table.slice(0, 0)
    rows = np.flatnonzero(mask)
    if not len(rows):
        return table.slice(0, 0)
    if len(rows) != rows[-1] + 1 - rows[0]:
        raise ValueError("rows about files, tags and runs are mixed")
    return table.slice(int(rows[0]), len(rows))


def _rows(table: Any, names: Sequence[str], nullable: Collection[str]) -> Iterator[tuple[Any, ...]]:
    """The path and some columns of each row; only those that are ``nullable`` may miss.

    Raises:
        ValueError: something is missing that each row must have.
    """
    for name in ("run", "file", *names):
        if name not in nullable and table.column(name).null_count:
            raise ValueError(f"rows without {name}")
    columns = [values(table, name) for name in ("run", "file", *names)]
    paths = map(joined, columns[0], columns[1])
    return zip(paths, *columns[2:], strict=True)


def chain(heads: Sequence[Head | None]) -> dict[str, list[int]]:
    """Which segments count for each file, in their order; None: a segment that is not there.

    A part that begins at 0 replaces what was known of the file; one that begins where the last one ended
    continues it; any other is of something else and does not count.
    """
    found: dict[str, list[int]] = {}
    ends: dict[str, tuple[int, str | None]] = {}
    for number, head in enumerate(heads):
        for path, part in (head.parts if head else {}).items():
            if part.begin == 0:
                found[path] = [number]
            elif ends.get(path) == (part.begin, part.log_id):
                found[path].append(number)
            else:
                continue
            ends[path] = part.end, part.log_id
    return found
