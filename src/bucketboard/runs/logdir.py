"""What is logged below a prefix or in a directory, as data: ``bucketboard.open("s3://bucket/exp")``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from bucketboard.errors import InvalidError
from bucketboard.events.columns import Array
from bucketboard.runs.extra import extra
from bucketboard.runs.location import Location
from bucketboard.runs.points import Part, Points
from bucketboard.runs.scan import chosen, event_files
from bucketboard.runs.values import Place, Reader, Values
from bucketboard.store.bucket import ObjectInfo

__all__ = ["Logdir", "Names", "Restarts", "open"]

Names = str | Iterable[str] | None
"""A name or a glob, several, or None for all."""
Restarts = Literal["keep", "drop"]
_KEPT = ("keep", "drop")


def open(target: str | os.PathLike[str], *, restarts: Restarts = "keep", **settings: Any) -> Logdir:
    """The runs below ``s3://bucket/prefix``, or in a directory. Nothing is read before it is asked for.

    Where steps of a run overlap, because it was restarted from a checkpoint, ``restarts="keep"`` gives all
    that was logged, and ``"drop"`` what TensorBoard shows: a record of a step takes away what was logged
    before of the same tag at that step or a later one. ``settings`` are those of the bucket, such as
    ``endpoint_url``.

    Raises:
        InvalidError: there is no such directory, or an argument is wrong.
    """
    if restarts not in _KEPT:
        raise InvalidError(f"restarts={restarts!r} is not known", hint="use 'keep' or 'drop'")
    return Logdir(Location.of(target, settings), restarts)


class Logdir:
    """Runs as they were when something was first asked of them, or at the last :meth:`refresh`.

    Names of runs and tags are given as a name, a glob in which ``*`` crosses slashes, or several of them.
    Rows are sorted by run, then by tag, and are then in the order in which they were logged. Every method
    that reads raises BucketboardError where the bucket can't be read.
    """

    def __init__(self, location: Location, restarts: Restarts = "keep") -> None:
        self._location = location
        self._restarts = restarts
        self._files: dict[str, ObjectInfo] | None = None
        self._points: Points | None = None

    def __repr__(self) -> str:
        return f"bucketboard.open({self._location.target!r})"

    def refresh(self) -> None:
        """Look anew at the next question."""
        self._files = self._points = None

    def runs(self, runs: Names = None) -> list[str]:
        """The names of runs, sorted: their directories, "." for the top."""
        return list(self._runs(runs))

    def scalars(self, runs: Names = None, tags: Names = None, *, wide: bool = False) -> Any:
        """All scalars as a pandas DataFrame with the columns run, tag, step, wall_time and value.

        With ``wide``, a column for each tag: run, step, and the value last logged of each tag at that step.

        Raises:
            InvalidError: pandas is not installed.
        """
        pandas = extra("pandas", "bucketboard[data]")
        table = self._scalars(runs, tags)
        names = {name: np.array(known, object)[codes] for name, (codes, known) in table.names.items()}
        frame = pandas.DataFrame({**names, **table.arrays})
        frame = frame.astype(dict.fromkeys(names, "str"))
        if not wide:
            return frame
        last = frame.drop_duplicates(["run", "step", "tag"], keep="last")
        return (
            last.pivot(index=["run", "step"], columns="tag", values="value")
            .rename_axis(columns=None)
            .reset_index()
        )

    def scalars_arrow(self, runs: Names = None, tags: Names = None) -> Any:
        """The same as a table of pyarrow, run and tag as dictionaries."""
        pa = extra("pyarrow", "bucketboard[data]")
        table = self._scalars(runs, tags)
        names = {
            name: pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(known, pa.string()))
            for name, (codes, known) in table.names.items()
        }
        return pa.table({**names, **{name: pa.array(array) for name, array in table.arrays.items()}})

    def scalars_polars(self, runs: Names = None, tags: Names = None) -> Any:
        """The same as a DataFrame of polars."""
        return extra("polars", "polars").from_arrow(self.scalars_arrow(runs, tags))

    def histograms(self, runs: Names = None, tags: Names = None) -> Values:
        """Histograms: edges and counts of their buckets, and totals where they were logged."""
        return self._values("histograms", runs, tags)

    def images(self, runs: Names = None, tags: Names = None) -> Values:
        """Images, encoded as they were logged."""
        return self._values("images", runs, tags)

    def audio(self, runs: Names = None, tags: Names = None) -> Values:
        """Sounds, encoded as they were logged."""
        return self._values("audio", runs, tags)

    def text(self, runs: Names = None, tags: Names = None) -> Values:
        """Texts."""
        return self._values("text", runs, tags)

    def hparams(self, runs: Names = None, tags: Names = None) -> Values:
        """Hyperparameters, a row for each."""
        return self._values("hparams", runs, tags)

    def pr_curves(self, runs: Names = None, tags: Names = None) -> Values:
        """Precision and recall by threshold, and what they are made of."""
        return self._values("pr_curves", runs, tags)

    def tensors(self, runs: Names = None, tags: Names = None) -> Values:
        """Every other tensor, of whatever plugin."""
        return self._values("tensors", runs, tags)

    def graphs(self, runs: Names = None, tags: Names = None) -> Values:
        """Graphs and what a run of them took, as serialised protocol buffers."""
        return self._values("graphs", runs, tags)

    def _runs(self, runs: Names) -> dict[str, list[str]]:
        if self._files is None:
            self._files = self._location.source().files()
        wanted = chosen(runs)
        return {run: paths for run, paths in event_files(self._files).items() if wanted(run)}

    def _parts(self, kind: str, runs: Names, tags: Names) -> dict[str, list[list[Part]]]:
        """By run, a list for each tag with what each file has of it, in their order."""
        chosen_runs = self._runs(runs)
        assert self._files is not None
        if self._points is None:
            self._points = Points(self._location.source(), self._files)
        paths = [path for of_run in chosen_runs.values() for path in of_run]
        found = self._points.parts(paths, kind, chosen(tags))
        by_run: dict[str, list[list[Part]]] = {}
        for run, of_run in chosen_runs.items():
            by_tag: dict[str, list[Part]] = {}
            for path in of_run:
                for part in found[path]:
                    by_tag.setdefault(part.tag, []).append(part)
            by_run[run] = [by_tag[tag] for tag in sorted(by_tag)]
        return by_run

    def _kept(self, parts: Sequence[Part]) -> Array | None:
        """The rows of a tag's parts that are shown; None: all."""
        if self._restarts == "keep":
            return None
        steps = np.concatenate([part.step for part in parts])
        least = np.minimum.accumulate(steps[::-1])[::-1]
        return np.append(steps[:-1] < least[1:], True)

    def _scalars(self, runs: Names, tags: Names) -> _Scalars:
        names: dict[str, list[str]] = {"run": [], "tag": []}
        places: dict[str, dict[str, int]] = {"run": {}, "tag": {}}
        codes: dict[str, list[Array]] = {"run": [], "tag": []}
        arrays: dict[str, list[Array]] = {name: [] for name in _SCALARS}
        for run, by_tag in self._parts("scalars", runs, tags).items():
            for parts in by_tag:
                kept = self._kept(parts)
                count = 0
                for name, found in arrays.items():
                    array = np.concatenate([getattr(part, name) for part in parts])
                    array = array if kept is None else array[kept]
                    found.append(array)
                    count = len(array)
                for column, name in (("run", run), ("tag", parts[0].tag)):
                    place = places[column].setdefault(name, len(names[column]))
                    if place == len(names[column]):
                        names[column].append(name)
                    codes[column].append(np.full(count, place, np.int32))
        return _Scalars(
            {column: (_joined(codes[column], np.int32), names[column]) for column in names},
            {name: _joined(found, _SCALARS[name]) for name, found in arrays.items()},
        )

    def _values(self, kind: str, runs: Names, tags: Names) -> Values:
        places: list[Place] = []
        by_run = self._parts(kind, runs, tags)
        assert self._points is not None
        reader = Reader(self._location.source(), self._points.log_id)
        for run, by_tag in by_run.items():
            for parts in by_tag:
                kept = self._kept(parts)
                found = [place for part in parts for place in _places(run, part)]
                for part in parts:
                    reader.keep(run, part.path, part.events)
                places += found if kept is None else [found[row] for row in np.flatnonzero(kept)]
        return Values(kind, reader, places)


_SCALARS: dict[str, Any] = {"step": np.int64, "wall_time": np.float64, "value": np.float64}


class _Scalars:
    """Columns: names as places in a list, and arrays."""

    def __init__(self, names: dict[str, tuple[Array, list[str]]], arrays: dict[str, Array]) -> None:
        self.names = names
        self.arrays = arrays


def _joined(arrays: list[Array], dtype: Any) -> Array:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _places(run: str, part: Part) -> list[Place]:
    assert part.offset is not None
    assert part.length is not None
    assert part.index is not None
    columns = (part.step, part.wall_time, part.offset, part.length, part.index)
    return [
        Place(run, part.tag, step, wall_time, part.path, part.plugin, offset, length, index)
        for step, wall_time, offset, length, index in zip(*(each.tolist() for each in columns), strict=True)
    ]
