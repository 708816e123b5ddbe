"""What a segment says of the files and tags in it, and what several segments say together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bucketboard.index.parquet import RUNS, codes, in_order, join, names, pa

__all__ = ["Head", "Part", "Tag", "chain", "head_of", "head_table", "joined", "split"]


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


@dataclass(frozen=True, slots=True)
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

    def continued(self, later: Tag) -> Tag:
        """This and what another segment says of the tag."""
        stated = self.stated if self.stated is not None else later.stated
        return replace(
            self, stated=stated, count=self.count + later.count, step=later.step, wall_time=later.wall_time
        )


@dataclass(frozen=True, slots=True)
class Head:
    """What a segment says of files and tags."""

    parts: dict[str, Part]
    tags: list[Tag]


def split(path: str) -> tuple[str, str]:
    """The run and the file's name; the run of the top is "." as TensorBoard shows it."""
    run, _, name = path.rpartition("/")
    return run or ".", name


def joined(run: str, name: str) -> str:
    """The path."""
    return name if run == "." else f"{run}/{name}"


def _table(what: str, rows: Sequence[Any], **columns: Any) -> Any:
    arrays = []
    for field in RUNS:
        if field.name == "what":
            arrays.append(names([0] * len(rows), [what]))
        elif field.name not in columns:
            arrays.append(pa.nulls(len(rows), field.type))
        elif pa.types.is_dictionary(field.type):
            arrays.append(pa.array(columns[field.name], pa.string()).dictionary_encode())
        else:
            arrays.append(pa.array(columns[field.name], field.type))
    return pa.Table.from_arrays(arrays, schema=RUNS)


def head_table(head: Head) -> Any:
    """The rows of a head: files by run, then tags by tag and run."""
    parts = list(head.parts.values())
    files = _table(
        "file",
        parts,
        run=[split(part.path)[0] for part in parts],
        file=[split(part.path)[1] for part in parts],
        wall_time=[part.start for part in parts],
        count=[part.events for part in parts],
        **{name: [getattr(part, name) for part in parts] for name in _PART},
    )
    tags = _table(
        "tag",
        head.tags,
        run=[split(tag.path)[0] for tag in head.tags],
        file=[split(tag.path)[1] for tag in head.tags],
        **{name: [getattr(tag, name) for tag in head.tags] for name in _TAG},
    )
    return join([in_order(files, ("run", "file")), in_order(tags, ("tag", "run", "file"))], RUNS)


_PART = ("begin", "end", "looked", "etag", "log_id", "tail")
"""Fields of Part that are columns, in order; then come ``wall_time`` and ``count``."""
_TAG = ("tag", "plugin", "kind", "first", "stated", "count", "step", "wall_time")
"""Fields of Tag but for its path, in order."""
_MAY_BE_NULL = {"log_id", "stated"}


def head_of(table: Any) -> Head:
    """What the rows say: first those about files, then those about tags.

    Raises:
        ValueError: they are in another order.
    """
    whats, known = codes(table, "what")
    files, tags = (_stretch(table, whats == known.index(what) if what in known else None) for what in _WHATS)
    parts = {}
    for path, *values in _rows(files, (*_PART, "wall_time", "count")):
        parts[path] = Part(path, *values)
    return Head(parts, [Tag(*values) for values in _rows(tags, _TAG)])


_WHATS = ("file", "tag")


def _stretch(table: Any, mask: Any) -> Any:
    """The rows that the mask says, which are next to each other."""
    if mask is None:
        return table.slice(0, 0)
    rows = np.flatnonzero(mask)
    if not len(rows):
        return table.slice(0, 0)
    if len(rows) != rows[-1] + 1 - rows[0]:
        raise ValueError("rows about files and tags are mixed")
    return table.slice(int(rows[0]), len(rows))


def _rows(table: Any, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The path and some columns of each row.

    Raises:
        ValueError: something is missing that each row must have.
    """
    for name in ("run", "file", *names):
        if name not in _MAY_BE_NULL and table.column(name).null_count:
            raise ValueError(f"rows without {name}")
    columns = [table.column(name).to_pylist() for name in ("run", "file", *names)]
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
