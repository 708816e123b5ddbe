"""Values that are fetched when they are asked for: where each lies, and what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from bucketboard.errors import Reason, UnavailableError
from bucketboard.runs.extra import extra
from bucketboard.runs.tables import COLUMNS, Row, arrow_schema, columns_of, rows_of
from bucketboard.serve.records import Records
from bucketboard.serve.run import Run
from bucketboard.source import Source

__all__ = ["Place", "Reader", "Value", "Values"]

_POINTS = np.dtype([("file", np.int64), ("offset", np.int64), ("length", np.int64)])


class Place(NamedTuple):
    """One logged value, and where it lies."""

    run: str
    tag: str
    step: int
    wall_time: float
    path: str
    plugin: str
    offset: int
    length: int
    number: int
    """Its place in the event's summary."""


class Reader:
    """Fetches events by few ranged reads side by side, and keeps the latest used."""

    def __init__(self, source: Source, log_id: Callable[[str], str | None]) -> None:
        self._source = source
        self._log_id = log_id
        self._records = Records()
        self._runs: dict[str, Run] = {}

    def keep(self, run: str, path: str, events: Mapping[int, bytes]) -> None:
        """Know the events of a file at some offsets without fetching them."""
        known = self._run(run)
        number = self._number(known, path)
        for offset, event in events.items():
            self._records.keep(known, number, offset, event)

    def read(self, places: Sequence[Place]) -> list[Any]:
        """The parsed Event that each is in.

        Raises:
            UnavailableError: one is not there any more.
            BucketboardError: a file can't be read.
        """
        from tensorboard.compat.proto.event_pb2 import Event

        found: list[Any] = [None] * len(places)
        by_run: dict[str, list[int]] = {}
        for number, place in enumerate(places):
            by_run.setdefault(place.run, []).append(number)
        for name, numbers in by_run.items():
            run = self._run(name)
            some = [places[number] for number in numbers]
            points = np.array(
                [(self._number(run, place.path), place.offset, place.length) for place in some], _POINTS
            )
            for number, place, payload in zip(numbers, some, self._records.read(run, points), strict=True):
                if payload is None:
                    raise UnavailableError(
                        f"{place.path} was replaced since it was looked at",
                        hint="call refresh() and ask again",
                        reason=Reason.CONFLICT,
                    )
                found[number] = Event.FromString(payload)
        return found

    def _run(self, name: str) -> Run:
        return self._runs.setdefault(name, Run(name, self._source, {}))

    def _number(self, run: Run, path: str) -> int:
        file = run.file(path)
        file.log_id = self._log_id(path)
        return file.number


class Value:
    """One logged value; :meth:`rows` fetches what was logged."""

    def __init__(self, kind: str, reader: Reader, place: Place) -> None:
        self.kind = kind
        self.run = place.run
        self.tag = place.tag
        self.step = place.step
        self.wall_time = place.wall_time
        """Seconds since the epoch."""
        self._reader = reader
        self._place = place

    def __repr__(self) -> str:
        return f"Value({self.kind!r}, run={self.run!r}, tag={self.tag!r}, step={self.step})"

    def rows(self) -> list[dict[str, Any]]:
        """What was logged: one mapping, or several where images, sounds or texts were logged at once.

        Raises:
            CorruptDataError: nothing can be made of it.
            BucketboardError: it can't be read.
        """
        [event] = self._reader.read([self._place])
        return [
            dict(zip(COLUMNS[self.kind], row, strict=True)) for row in _rows(self.kind, event, self._place)
        ]


class Values(Sequence[Value]):
    """Logged values in the order of runs, tags, and then as they were logged. Nothing is fetched before it is
    asked for; a table fetches all, so take a slice where there is much."""

    def __init__(self, kind: str, reader: Reader, places: Sequence[Place]) -> None:
        self.kind = kind
        self._reader = reader
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Value: ...
    @overload
    def __getitem__(self, at: slice) -> Values: ...
    def __getitem__(self, at: int | slice) -> Value | Values:
        if isinstance(at, slice):
            return Values(self.kind, self._reader, self._places[at])
        return Value(self.kind, self._reader, self._places[at])

    def __repr__(self) -> str:
        return f"<{len(self)} {self.kind}>"

    def to_arrow(self) -> Any:
        """All as a table of pyarrow: run, tag, step, wall_time, and the columns of the kind."""
        pa = extra("pyarrow", "bucketboard[data]")
        schema = arrow_schema(self.kind, run=True)
        rows = list(zip(*self._all(), strict=True)) or [()] * len(schema)
        return pa.table(
            [pa.array(column, field.type) for column, field in zip(rows, schema, strict=True)], schema
        )

    def to_pandas(self) -> Any:
        """The same as a DataFrame of pandas."""
        pandas = extra("pandas", "bucketboard[data]")
        return pandas.DataFrame(list(self._all()), columns=["run", *columns_of(self.kind)])

    def to_polars(self) -> Any:
        """The same as a DataFrame of polars."""
        return extra("polars", "polars").from_arrow(self.to_arrow())

    def _all(self) -> Iterator[Row]:
        for place, event in zip(self._places, self._reader.read(self._places), strict=True):
            for row in _rows(self.kind, event, place):
                yield place.run, place.tag, place.step, place.wall_time, *row


def _rows(kind: str, event: Any, place: Place) -> list[Row]:
    rows = rows_of(kind, event, place.number, place.plugin)
    return [row for found, row in rows if found == kind]
