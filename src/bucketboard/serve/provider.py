"""TensorBoard's data interface over the catalog."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

from tensorboard import errors
from tensorboard.data import provider

from bucketboard.errors import BucketboardError
from bucketboard.serve.catalog import Catalog
from bucketboard.serve.compat import BLOBS, SCALAR, TENSOR, UNKNOWN, blobs_of, tensor_of
from bucketboard.serve.description import description
from bucketboard.serve.reservoir import downsample as places_of
from bucketboard.serve.run import Run
from bucketboard.serve.series import Series

__all__ = ["CatalogProvider", "UnavailableNow", "select"]


class UnavailableNow(errors.PublicError):  # type: ignore[misc]
    """The bucket does not answer."""

    http_code = 503


def select(
    catalog: Catalog, data_class: int, plugin: str, run_tag_filter: Any = None, *, load: bool = True
) -> list[tuple[Run, list[Series]]]:
    """The runs, each with its series of a class and plugin that have points and pass the filter.

    Without ``load`` the points of some may not have been fetched yet, but what is latest of them is known.
    """
    found = [
        (run, series)
        for run, series in _candidates(catalog, run_tag_filter)
        if _is(series, data_class, plugin)
    ]
    unread = [pair for pair in found if pair[1].unread and (load or pair[1].latest is None)]
    if unread:
        try:
            read = catalog.load(unread)
        except BucketboardError as error:
            raise UnavailableNow(str(error)) from error
        if not read:
            return select(catalog, data_class, plugin, run_tag_filter, load=load)
    chosen: dict[Run, list[Series]] = {}
    for run, series in found:
        if len(series.points) or (series.unread and not load):
            chosen.setdefault(run, []).append(series)
    return list(chosen.items())


def _candidates(catalog: Catalog, run_tag_filter: Any) -> Iterator[tuple[Run, Series]]:
    names = run_tag_filter.runs if run_tag_filter is not None else None
    tags = run_tag_filter.tags if run_tag_filter is not None else None
    known = catalog.runs
    for run in list(known.values()) if names is None else [known[name] for name in names if name in known]:
        for series in list(run.series.values()) if tags is None else map(run.series.get, tags):
            if series is not None:
                yield run, series


def _is(series: Series, data_class: int, plugin: str) -> bool:
    return series.metadata.data_class == data_class and series.metadata.plugin == plugin


class CatalogProvider(provider.DataProvider):  # type: ignore[misc]
    """Answers from what the catalog holds; tensors and blobs are read when they are asked for.

    Points and their sampling are those of TensorBoard's data server; metadata and values are made by
    TensorBoard's own rules in Python.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __str__(self) -> str:
        return f"CatalogProvider({self._catalog.location!r})"

    def experiment_metadata(self, ctx: Any = None, *, experiment_id: str) -> Any:
        """Where the data lies, and what the runs' writers say of them."""
        return provider.ExperimentMetadata(
            data_location=self._catalog.location,
            experiment_description=description(list(self._catalog.runs.values())),
        )

    def list_plugins(self, ctx: Any = None, *, experiment_id: str) -> list[str]:
        """The plugins that have data."""
        runs = list(self._catalog.runs.values())
        everything = (series.metadata for run in runs for series in list(run.series.values()))
        return sorted({metadata.plugin for metadata in everything if metadata.data_class != UNKNOWN})

    def list_runs(self, ctx: Any = None, *, experiment_id: str) -> list[Any]:
        """The runs that have events, by the time of their first one."""
        started = [
            run for run in list(self._catalog.runs.values()) if run.start == run.start
        ]  # NaN: no event
        return [
            provider.Run(run.name, run.name, run.start) for run in sorted(started, key=lambda run: run.start)
        ]

    def list_scalars(
        self, ctx: Any = None, *, experiment_id: str, plugin_name: str, run_tag_filter: Any = None
    ) -> dict[str, dict[str, Any]]:
        """What scalar series there are."""
        return self._list(SCALAR, plugin_name, run_tag_filter, provider.ScalarTimeSeries)

    def list_tensors(
        self, ctx: Any = None, *, experiment_id: str, plugin_name: str, run_tag_filter: Any = None
    ) -> dict[str, dict[str, Any]]:
        """What tensor series there are."""
        return self._list(TENSOR, plugin_name, run_tag_filter, provider.TensorTimeSeries)

    def list_blob_sequences(
        self, ctx: Any = None, *, experiment_id: str, plugin_name: str, run_tag_filter: Any = None
    ) -> dict[str, dict[str, Any]]:
        """What blob sequences there are."""
        return self._list(
            BLOBS,
            plugin_name,
            run_tag_filter,
            provider.BlobSequenceTimeSeries,
            lambda series: {"max_length": int(series.lengths(series.points).max())},
        )

    def read_scalars(
        self,
        ctx: Any = None,
        *,
        experiment_id: str,
        plugin_name: str,
        downsample: int | None = None,
        run_tag_filter: Any = None,
    ) -> dict[str, dict[str, list[Any]]]:
        """Points of scalar series."""
        most = _checked(downsample)
        return {
            run.name: {series.tag: _scalars(series, most) for series in found}
            for run, found in select(self._catalog, SCALAR, plugin_name, run_tag_filter)
        }

    def read_last_scalars(
        self, ctx: Any = None, *, experiment_id: str, plugin_name: str, run_tag_filter: Any = None
    ) -> dict[str, dict[str, Any]]:
        """The latest point of scalar series."""
        return {
            run.name: {series.tag: _scalars(series, 1)[0] for series in found}
            for run, found in select(self._catalog, SCALAR, plugin_name, run_tag_filter)
        }

    def read_tensors(
        self,
        ctx: Any = None,
        *,
        experiment_id: str,
        plugin_name: str,
        downsample: int | None = None,
        run_tag_filter: Any = None,
    ) -> dict[str, dict[str, list[Any]]]:
        """Points of tensor series, their values read from the files."""
        most = _checked(downsample)
        return {
            run.name: {series.tag: self._tensors(run, series, most) for series in found}
            for run, found in select(self._catalog, TENSOR, plugin_name, run_tag_filter)
        }

    def read_blob_sequences(
        self,
        ctx: Any = None,
        *,
        experiment_id: str,
        plugin_name: str,
        downsample: int | None = None,
        run_tag_filter: Any = None,
    ) -> dict[str, dict[str, list[Any]]]:
        """Points of blob sequences, with keys to ask for each blob."""
        most = _checked(downsample)
        return {
            run.name: {series.tag: _blobs(experiment_id, run, series, most) for series in found}
            for run, found in select(self._catalog, BLOBS, plugin_name, run_tag_filter)
        }

    def read_blob(self, ctx: Any = None, *, blob_key: str) -> bytes:
        """One blob. A key names a point that is shown, nothing else can be read by it."""
        name, tag, step, index = _parse_key(blob_key)
        run = self._catalog.runs.get(name)
        series = run.series.get(tag) if run is not None else None
        if run is None or series is None or series.metadata.data_class != BLOBS:
            raise errors.NotFoundError("no such blob")
        if series.unread and not self._catalog.load([(run, series)]):
            return self.read_blob(ctx, blob_key=blob_key)
        points = series.points
        points = points[points["step"] == step][:1]
        plugin = series.metadata.plugin
        values = self._values(run, points, lambda payload, at: blobs_of(payload, at, plugin))
        if not values or values[0] is None or not 0 <= index < len(values[0]):
            raise errors.NotFoundError("no such blob")
        blob: bytes = values[0][index]
        return blob

    def _list(
        self,
        data_class: int,
        plugin: str,
        run_tag_filter: Any,
        make: Callable[..., Any],
        more: Callable[[Series], dict[str, Any]] | None = None,
    ) -> dict[str, dict[str, Any]]:
        result: dict[str, dict[str, Any]] = {}
        for run, found in select(self._catalog, data_class, plugin, run_tag_filter, load=more is not None):
            tags = result[run.name] = {}
            for series in found:
                latest, metadata = series.latest, series.metadata
                if latest is not None:
                    tags[series.tag] = make(
                        max_step=latest[0],
                        max_wall_time=latest[1],
                        plugin_content=metadata.content,
                        description=metadata.description,
                        display_name=metadata.display_name,
                        **(more(series) if more else {}),
                    )
        return result

    def _tensors(self, run: Run, series: Series, most: int) -> list[Any]:
        points = series.points
        points = points[places_of(len(points), most)]
        values = self._values(run, points, tensor_of)
        return [
            provider.TensorDatum(step, wall_time, value)
            for step, wall_time, value in zip(
                points["step"].tolist(), points["wall_time"].tolist(), values, strict=True
            )
            if value is not None
        ]

    def _values(self, run: Run, points: Any, parse: Callable[[bytes, int], Any]) -> list[Any]:
        """What ``parse`` makes of the points' values; None where it can make nothing of one."""
        try:
            payloads = self._catalog.records.read(run, points)
        except BucketboardError as error:
            raise UnavailableNow(str(error)) from error
        return [
            None if payload is None else _parsed(parse, payload, index)
            for payload, index in zip(payloads, points["index"].tolist(), strict=True)
        ]


def _checked(downsample: int | None) -> int:
    if not isinstance(downsample, int):
        raise TypeError(f"`downsample` must be an int, but got {downsample!r}")
    return downsample


def _scalars(series: Series, most: int) -> list[Any]:
    points = series.points
    points = points[places_of(len(points), most)]
    return list(
        map(
            provider.ScalarDatum,
            points["step"].tolist(),
            points["wall_time"].tolist(),
            points["value"].tolist(),
        )
    )


def _parsed(parse: Callable[[bytes, int], Any], payload: bytes, index: int) -> Any:
    try:
        return parse(payload, index)
    except Exception:  # of whatever kind protobuf, numpy and TensorBoard raise on what is no such value
        return None


def _blobs(experiment: str, run: Run, series: Series, most: int) -> list[Any]:
    points = series.points
    points = points[places_of(len(points), most)]
    return [
        provider.BlobSequenceDatum(
            step,
            wall_time,
            tuple(
                provider.BlobReference(
                    _key(experiment, series.metadata.plugin, run.name, series.tag, step, index)
                )
                for index in range(count)
            ),
        )
        for step, wall_time, count in zip(
            points["step"].tolist(),
            points["wall_time"].tolist(),
            series.lengths(points).tolist(),
            strict=True,
        )
    ]


def _key(*parts: str | int) -> str:
    """The key that TensorBoard itself gives to a blob."""
    text = json.dumps(parts, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii").rstrip("=")


def _parse_key(key: str) -> tuple[str, str, int, int]:
    try:
        _, _, run, tag, step, index = json.loads(base64.urlsafe_b64decode(key + "=="))
    except (ValueError, TypeError) as error:
        raise errors.NotFoundError("no such blob") from error
    if not (
        isinstance(run, str) and isinstance(tag, str) and isinstance(step, int) and isinstance(index, int)
    ):
        raise errors.NotFoundError("no such blob")
    return run, tag, step, index
