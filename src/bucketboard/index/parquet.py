"""Tables as Parquet files, written once and read by few ranged requests."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bucketboard.errors import BucketboardError, CorruptDataError, InvalidError
from bucketboard.index.manifest import Piece
from bucketboard.index.objects import Objects

if TYPE_CHECKING:
    pa: Any
    pq: Any
else:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidError(
            "the index needs pyarrow, which is not installed",
            hint="pip install 'bucketboard[index]', or go without an index",
        ) from error

__all__ = [
    "RUNS",
    "SCALARS",
    "codes",
    "empty",
    "in_order",
    "join",
    "names",
    "numbers",
    "pa",
    "read_head",
    "read_rows",
    "values",
    "write",
]

_NAME = pa.dictionary(pa.int32(), pa.string())

SCALARS = pa.schema(
    [
        ("run", _NAME),
        ("tag", _NAME),
        ("step", pa.int64()),
        ("wall_time", pa.float64()),
        ("value", pa.float64()),
        ("kind", pa.int8()),
        ("file", _NAME),
    ]
)
RUNS = pa.schema(
    [
        ("what", _NAME),
        ("run", _NAME),
        ("file", _NAME),
        ("tag", _NAME),
        ("plugin", _NAME),
        ("kind", pa.int8()),
        ("step", pa.int64()),
        ("wall_time", pa.float64()),
        ("value", pa.float64()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("index", pa.int32()),
        ("elements", pa.int32()),
        ("rank", pa.int8()),
        ("event", pa.binary()),
        ("first", pa.binary()),
        ("stated", pa.binary()),
        ("count", pa.int64()),
        ("log_id", pa.string()),
        ("etag", pa.string()),
        ("begin", pa.int64()),
        ("end", pa.int64()),
        ("looked", pa.int64()),
        ("tail", pa.binary()),
        ("last", pa.float64()),
        ("modified", pa.float64()),
        ("state", pa.string()),
        ("hparams", pa.string()),
        ("metadata", pa.string()),
        ("gathered", pa.string()),
        ("labels", pa.string()),
    ]
)
_LATER = ("last", "modified", "state", "hparams", "metadata", "gathered", "labels")
"""Columns that segments of format 1 do not have."""
_DTYPES = {"double": "f8", "int64": "i8", "int32": "i4", "int8": "i1"}
_GROUP = 1 << 16
_WHOLE = 4 << 20
"""A file up to this size is read by one request."""
_GAP = 1 << 20
"""Bytes between two wanted stretches that are read along rather than asked for apart."""
_FOOTER_READ = 64 << 10
"""What pyarrow reads of a file's end when it opens it."""


def empty(schema: Any) -> Any:
    """No rows. Pyarrow's own way imports pandas."""
    return pa.Table.from_batches([], schema)


def numbers(column: Any) -> Any:
    """A column of numbers, of which none is null. By its buffer: pyarrow's own way imports pandas."""
    dtype = np.dtype(_DTYPES[str(column.type)])
    if not len(column):
        return np.empty(0, dtype)
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)


def values(table: Any, name: str) -> list[Any]:
    """A column as a list; many times as fast as pyarrow's own way where it has no nulls."""
    column = table.column(name)
    if column.null_count or not (pa.types.is_dictionary(column.type) or str(column.type) in _DTYPES):
        found: list[Any] = column.to_pylist()
        return found
    if pa.types.is_dictionary(column.type):
        places, known = codes(table, name)
        return [known[place] for place in places.tolist()]
    numbered: list[Any] = numbers(column).tolist()
    return numbered


def codes(table: Any, name: str) -> tuple[Any, list[str]]:
    """A column of names as places in a list."""
    if not len(table):
        return np.empty(0, np.int32), []
    column = table.column(name).unify_dictionaries().combine_chunks()
    return numbers(column.indices), column.dictionary.to_pylist()


def names(places: Any, known: Sequence[str]) -> Any:
    """A column from places in a list of names."""
    return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), pa.array(known, pa.string()))


def in_order(table: Any, by: Sequence[str]) -> Any:
    """The table sorted by columns of names; rows that are equal in them stay in their order."""
    keys = []
    for name in reversed(by):
        places, known = codes(table, name)
        rank: Any = np.empty(len(known), np.int32)
        rank[sorted(range(len(known)), key=known.__getitem__)] = np.arange(len(known), dtype=np.int32)
        keys.append(rank[places])
    return table.take(pa.array(np.lexsort(keys)))


def join(tables: Sequence[Any], schema: Any) -> Any:
    """One after the other."""
    return pa.concat_tables(tables) if tables else empty(schema)


def write(objects: Objects, name: str, head: Any, rows: Any) -> Piece:
    """Store a Parquet file: ``head`` in row groups of its own, then ``rows``; both sorted."""
    sink = io.BytesIO()
    by_name = [field.name for field in rows.schema if pa.types.is_dictionary(field.type)]
    encodings = {"step": "DELTA_BINARY_PACKED", "offset": "DELTA_BINARY_PACKED"}
    encodings |= {"wall_time": "BYTE_STREAM_SPLIT", "value": "BYTE_STREAM_SPLIT"}
    writer = pq.ParquetWriter(
        sink,
        rows.schema,
        compression="zstd",
        use_dictionary=by_name,
        column_encoding={name: kind for name, kind in encodings.items() if name in rows.schema.names},
        write_statistics=["tag", "run", "step"],
    )
    with writer:
        head_bytes = 0
        if head is not None:
            writer.write_table(head, row_group_size=_GROUP)
            head_bytes = sink.tell()
        if len(rows):
            writer.write_table(rows, row_group_size=_GROUP)
    body = sink.getvalue()
    footer = int.from_bytes(body[-8:-4], "little") + 8
    tags = [str(known) for known in codes(rows, "tag")[1] if known is not None]
    span = (min(tags, default=""), max(tags, default=""))
    objects.put(name, body)
    return Piece(name, len(body), footer, len(rows), head_bytes, span)


class _Ranges(io.RawIOBase):
    """A file of which only what is needed is fetched."""

    def __init__(self, objects: Objects, piece: Piece) -> None:
        self._objects = objects
        self._piece = piece
        self._at = 0
        self._known: list[tuple[int, bytes]] = []

    def fetch(self, start: int, stop: int) -> None:
        """Have bytes ``start`` to ``stop``."""
        if not any(at <= start and stop <= at + len(body) for at, body in self._known):
            body = self._objects.get(self._piece.name, start, stop)[0]
            if len(body) != stop - start:
                raise ValueError(f"{self._piece.name} is shorter than the manifest says")
            self._known.append((start, body))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._piece.bytes}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._piece.bytes if size < 0 else min(self._at + size, self._piece.bytes)
        start = self._at
        if start >= stop:
            return b""
        self.fetch(start, stop)
        self._at = stop
        return next(
            body[start - at : stop - at] for at, body in self._known if at <= start and stop <= at + len(body)
        )

    def size(self) -> int:
        """Bytes of the whole."""
        return self._piece.bytes


def _open(objects: Objects, piece: Piece) -> tuple[_Ranges, Any]:
    ranges = _Ranges(objects, piece)
    if piece.bytes <= _WHOLE:
        ranges.fetch(0, piece.bytes)
    else:
        ranges.fetch(max(piece.bytes - max(piece.footer, _FOOTER_READ), 0), piece.bytes)
    return ranges, pq.ParquetFile(ranges)


def _extent(metadata: Any, group: int) -> tuple[int, int]:
    columns = [metadata.row_group(group).column(i) for i in range(metadata.num_columns)]
    starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
    ends = [start + column.total_compressed_size for start, column in zip(starts, columns, strict=True)]
    return min(starts), max(ends)


def _read(ranges: _Ranges, file: Any, groups: Sequence[int]) -> Any:
    stretches: list[list[int]] = []
    for group in groups:
        start, stop = _extent(file.metadata, group)
        if stretches and start - stretches[-1][1] <= _GAP:
            stretches[-1][1] = max(stop, stretches[-1][1])
        else:
            stretches.append([start, stop])
    for start, stop in stretches:
        ranges.fetch(start, stop)
    return file.read_row_groups(list(groups), use_threads=False)


@contextlib.contextmanager
def _checked(piece: Piece) -> Iterator[None]:
    try:
        yield
    except BucketboardError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(
            f"{piece.name} of the index is damaged: {error}",
            hint="the next `bucketboard index` makes it anew; an index may also be deleted",
        ) from error


def read_head(objects: Objects, piece: Piece) -> Any:
    """What comes first in a file: about files and tags.

    Raises:
        CorruptDataError: it is no such file.
        BucketboardError: it can't be read.
    """
    with _checked(piece):
        return _as(RUNS, _head(objects, piece))


def _as(schema: Any, table: Any) -> Any:
    if schema is RUNS and not set(_LATER) & set(table.schema.names):
        for name in _LATER:
            table = table.append_column(name, pa.nulls(len(table), schema.field(name).type))
    if not table.schema.equals(schema):
        raise ValueError("other columns than it should have")
    table.validate(full=True)  # places in dictionaries, text
    return table


def _head(objects: Objects, piece: Piece) -> Any:
    if not piece.head:
        return empty(RUNS)
    ranges, file = _open(objects, piece)
    groups = [group for group in range(file.num_row_groups) if _extent(file.metadata, group)[1] <= piece.head]
    return _read(ranges, file, groups)


def read_rows(objects: Objects, piece: Piece, tags: Collection[str] | None, schema: Any) -> Any:
    """The rows behind the head; with ``tags`` those of row groups that may have one of them.

    Raises:
        CorruptDataError: it is no such file.
        BucketboardError: it can't be read.
    """
    with _checked(piece):
        return _as(schema, _rows(objects, piece, tags, schema))


_KEYS = ("run", "file", "tag")


def _rows(objects: Objects, piece: Piece, tags: Collection[str] | None, schema: Any) -> Any:
    if not piece.rows or (
        tags is not None and not any(piece.tags[0] <= tag <= piece.tags[1] for tag in tags)
    ):
        return empty(schema)
    ranges, file = _open(objects, piece)
    position = file.schema_arrow.names.index("tag")
    wanted = [
        group
        for group in range(file.num_row_groups)
        if _extent(file.metadata, group)[0] >= piece.head
        and _may_have(file.metadata.row_group(group).column(position).statistics, tags)
    ]
    if not wanted:
        return empty(schema)
    table = _read(ranges, file, wanted)
    if any(table.column(name).null_count for name in _KEYS):
        raise ValueError("rows without their run, file or tag")
    return table


def _may_have(statistics: Any, tags: Collection[str] | None) -> bool:
    if tags is None or statistics is None or not statistics.has_min_max:
        return True
    least, greatest = statistics.min, statistics.max
    return any(least <= tag <= greatest for tag in tags)
