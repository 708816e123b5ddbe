"""Tables as files: Parquet, CSV, JSON lines. A file is there whole or not at all."""

from __future__ import annotations

import base64
import contextlib
import csv
import itertools
import json
import math
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from bucketboard.events.columns import Array
from bucketboard.runs.extra import extra
from bucketboard.runs.tables import Row, arrow_schema, columns_of

__all__ = ["FORMATS", "Sheet", "replace_file", "sweep"]

_TEMPORARY = ".new-"
_ROWS = 1 << 18
"""Scalars of a row group, at least but for the last."""
_OTHER_ROWS = 1 << 13
_OTHER_BYTES = 32 << 20


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under another name and then put it in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with open(temporary, "xb") as file:
            write(file)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _temporary(path: Path) -> Path:
    return path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")


def sweep(directory: Path) -> None:
    """Remove what was begun there and not finished."""
    for left in directory.glob(f"{_TEMPORARY}*"):
        left.unlink(missing_ok=True)


class Sheet(ABC):
    """A table of one kind and run that is being written; :meth:`finish` puts it in its place."""

    def __init__(self, path: Path, kind: str, run: str) -> None:
        self.path = path
        self.rows = 0
        self._kind = kind
        self._run = run
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)  # of one that was killed
        self._temporary = _temporary(path)
        self._file = open(self._temporary, "xb")  # noqa: SIM115

    def scalars(self, tags: list[str], codes: Array, step: Array, wall_time: Array, value: Array) -> None:
        """Add scalars; a tag is a place in ``tags``."""
        self.rows += len(codes)
        self._add_scalars(tags, codes, step, wall_time, value)

    def row(self, row: Row) -> None:
        """Add a row of another kind."""
        self.rows += 1
        self._add(row)

    def finish(self) -> int:
        """Put the file in its place; gives its bytes."""
        self._end()
        size = self._file.tell()
        self._file.close()
        os.replace(self._temporary, self.path)
        return size

    def discard(self) -> None:
        """Leave nothing behind. Does nothing once it is finished."""
        with contextlib.suppress(OSError):
            self._file.close()
            os.unlink(self._temporary)

    @abstractmethod
    def _add_scalars(
        self, tags: list[str], codes: Array, step: Array, wall_time: Array, value: Array
    ) -> None: ...

    @abstractmethod
    def _add(self, row: Row) -> None: ...

    def _end(self) -> None:  # noqa: B027
        """Write what is still to be written, if anything is."""


class ParquetSheet(Sheet):
    """The run is in the name of the directory, as readers of partitioned tables expect it."""

    def __init__(self, path: Path, kind: str, run: str) -> None:
        self._pa = extra("pyarrow", "bucketboard[data]")
        pq = extra("pyarrow.parquet", "bucketboard[data]")
        super().__init__(path, kind, run)
        self._schema = arrow_schema(kind, run=False)
        if kind == "scalars":
            names = self._pa.dictionary(self._pa.int32(), self._pa.string())
            self._schema = self._schema.set(0, self._pa.field("tag", names))
        encodings = {"step": "DELTA_BINARY_PACKED", "wall_time": "BYTE_STREAM_SPLIT"}
        if kind == "scalars":
            encodings["value"] = "BYTE_STREAM_SPLIT"
        self._writer = pq.ParquetWriter(
            self._file,
            self._schema,
            compression="zstd",
            use_dictionary=["tag"],
            column_encoding=encodings,
            store_schema=False,
        )
        self._tables: list[Any] = []
        self._waiting: list[Row] = []
        self._bytes = 0

    def _add_scalars(
        self, tags: list[str], codes: Array, step: Array, wall_time: Array, value: Array
    ) -> None:
        pa = self._pa
        names = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(tags, pa.string()))
        columns = [names, pa.array(step), pa.array(wall_time), pa.array(value)]
        self._tables.append(pa.Table.from_arrays(columns, schema=self._schema))
        if sum(map(len, self._tables)) >= _ROWS:
            self._write_scalars()

    def _write_scalars(self) -> None:
        # All of one row group have one dictionary.
        table = self._pa.concat_tables(self._tables).unify_dictionaries().combine_chunks()
        self._writer.write_table(table, row_group_size=len(table))
        self._tables.clear()

    def _add(self, row: Row) -> None:
        self._waiting.append(row)
        self._bytes += sum(len(cell) for cell in row if isinstance(cell, bytes | list))
        if len(self._waiting) >= _OTHER_ROWS or self._bytes >= _OTHER_BYTES:
            self._write_rows()

    def _write_rows(self) -> None:
        pa = self._pa
        columns = [
            pa.array(column, field.type)
            for column, field in zip(zip(*self._waiting, strict=True), self._schema, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._waiting.clear()
        self._bytes = 0

    def _end(self) -> None:
        if self._tables:
            self._write_scalars()
        if self._waiting:
            self._write_rows()
        self._writer.close()

    def discard(self) -> None:
        """Leave nothing behind. Does nothing once it is finished."""
        with contextlib.suppress(OSError, ValueError):
            self._writer.close()  # else it closes itself when it is collected, and complains
        super().discard()


class CsvSheet(Sheet):
    """RFC 4180 in UTF-8 with a header. Lists are JSON, bytes base64; a float reads back as what it was."""

    def __init__(self, path: Path, kind: str, run: str) -> None:
        super().__init__(path, kind, run)
        self._writer = csv.writer(_Utf8(self._file), lineterminator="\n")
        self._writer.writerow(["run", *columns_of(kind)])

    def _add_scalars(
        self, tags: list[str], codes: Array, step: Array, wall_time: Array, value: Array
    ) -> None:
        names = np.array(tags, object)[codes].tolist()
        columns = (step.tolist(), wall_time.tolist(), value.tolist())
        self._writer.writerows(zip(itertools.repeat(self._run), names, *columns, strict=False))

    def _add(self, row: Row) -> None:
        self._writer.writerow([self._run, *map(_cell, row)])


class JsonLinesSheet(Sheet):
    """One object a row. Bytes are base64; NaN and the infinities, which JSON has not, are strings."""

    def __init__(self, path: Path, kind: str, run: str) -> None:
        super().__init__(path, kind, run)
        self._names = ["run", *columns_of(kind)]

    def _add_scalars(
        self, tags: list[str], codes: Array, step: Array, wall_time: Array, value: Array
    ) -> None:
        names = np.array(tags, object)[codes].tolist()
        self._write(zip(names, step.tolist(), wall_time.tolist(), value.tolist(), strict=True))

    def _add(self, row: Row) -> None:
        self._write([row])

    def _write(self, rows: Iterable[Row]) -> None:
        import orjson

        for row in rows:
            cells = (cell if type(cell) in (str, int) else _plain(cell) for cell in row)
            record = dict(zip(self._names, (self._run, *cells), strict=True))
            self._file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))


FORMATS: dict[str, tuple[str, type[Sheet]]] = {
    "parquet": ("data.parquet", ParquetSheet),
    "csv": ("data.csv", CsvSheet),
    "jsonl": ("data.jsonl", JsonLinesSheet),
}
"""By name: how its files are called, and what writes them."""


class _Utf8:
    """What csv writes to."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())


def _plain(cell: Any) -> Any:
    if isinstance(cell, bytes):
        return base64.b64encode(cell).decode()
    if isinstance(cell, list):
        return [_plain(each) for each in cell]
    if isinstance(cell, float) and not math.isfinite(cell):
        return "NaN" if math.isnan(cell) else "Infinity" if cell > 0 else "-Infinity"
    return cell


def _cell(cell: Any) -> Any:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, list):
        return json.dumps(_plain(cell))
    return _plain(cell) if isinstance(cell, bytes) else cell
