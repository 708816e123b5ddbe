"""The routes that every page waits for, answered without TensorBoard's JSON: same content, from columns."""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import orjson
from tensorboard import errors
from tensorboard.backend import http_util
from tensorboard.data import provider
from werkzeug.wrappers import Request, Response

from bucketboard.serve.catalog import Catalog
from bucketboard.serve.compat import SCALAR
from bucketboard.serve.provider import select
from bucketboard.serve.reservoir import downsample
from bucketboard.serve.series import Series

__all__ = ["FastRoutes"]

_PLUGIN = "scalars"
_DEFAULT_SAMPLES = 1000
_GZIP_FROM = 1024
_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class FastRoutes:
    """Scalars of the scalars and the time series plugin; anything unusual goes to TensorBoard itself."""

    def __init__(self, app: _App, catalog: Catalog, samples: dict[str, int]) -> None:
        self._app = app
        self._catalog = catalog
        self._most = samples.get(_PLUGIN, _DEFAULT_SAMPLES)
        self._routes: dict[str, Callable[[Request], Any]] = {
            "/data/plugin/scalars/scalars": self._scalars,
            "/data/plugin/scalars/scalars_multirun": self._multirun,
            "/data/plugin/timeseries/timeSeries": self._time_series,
            "/data/logdir": lambda request: {"logdir": catalog.location},
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return self._answer_to(environ, start_response)
        except RecursionError as error:  # of a JSON parser, TensorBoard's or ours
            raise errors.InvalidArgumentError("the request nests too deeply") from error

    def _answer_to(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        route = self._routes.get(environ["PATH_INFO"])
        if route is None:
            return self._app(environ, start_response)
        body = Request(environ).get_data()
        environ["wsgi.input"] = io.BytesIO(body)
        request = Request(environ)
        content = route(request)
        if content is None:
            environ["wsgi.input"] = io.BytesIO(body)  # what was read of it can be read again
            return self._app(environ, start_response)
        return _response(request, content)(environ, start_response)

    def _scalars(self, request: Request) -> Any:
        tag, run = request.args.get("tag"), request.args.get("run")
        if tag is None or run is None or request.args.get("format") == "csv":
            return None
        for series in self._select([run], tag).values():
            return _triples(series, self._most)
        raise errors.NotFoundError(f"No scalar data for run={run!r}, tag={tag!r}")

    def _multirun(self, request: Request) -> Any:
        if request.method != "POST":
            return None
        tags = request.form.getlist("tag")
        if len(tags) != 1:
            raise errors.InvalidArgumentError("tag must be specified exactly once")
        found = self._select(request.form.getlist("runs"), tags[0])
        return {run: _triples(series, self._most) for run, series in found.items()}

    def _time_series(self, request: Request) -> Any:
        text = request.form.get("requests") if request.method == "POST" else request.args.get("requests")
        try:
            wanted = json.loads(text or "")
        except ValueError:
            return None
        if not isinstance(wanted, list) or not all(map(_is_plain, wanted)):
            return None
        return [self._answer(one) for one in wanted]

    def _answer(self, wanted: dict[str, Any]) -> dict[str, Any]:
        answer = {"plugin": wanted["plugin"], "tag": wanted["tag"]}
        if "run" in wanted:
            answer["run"] = wanted["run"]
        runs = [wanted["run"]] if wanted.get("run") else None
        found = self._select(runs, wanted["tag"])
        answer["runToSeries"] = {run: _points(series, self._most) for run, series in found.items()}
        return answer

    def _select(self, runs: list[str] | None, tag: str) -> dict[str, Series]:
        wanted = provider.RunTagFilter(runs=runs, tags=[tag])
        return {run.name: found[0] for run, found in select(self._catalog, SCALAR, _PLUGIN, wanted)}


def _is_plain(wanted: Any) -> bool:
    return (
        isinstance(wanted, dict)
        and wanted.keys() <= {"plugin", "tag", "run"}
        and wanted.get("plugin") == _PLUGIN
        and isinstance(wanted.get("tag"), str)
        and isinstance(wanted.get("run", ""), str)
    )


def _columns(series: Series, most: int) -> tuple[list[float], list[int], list[Any]]:
    points = series.points
    points = points[downsample(len(points), most)]
    column = points["value"]
    values = column.tolist()
    for at in np.flatnonzero(~np.isfinite(column)).tolist():
        value = values[at]
        values[at] = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return points["wall_time"].tolist(), points["step"].tolist(), values


def _triples(series: Series, most: int) -> orjson.Fragment:
    """Encoded at once, so that no more than one series is there as Python objects."""
    return orjson.Fragment(orjson.dumps(list(zip(*_columns(series, most), strict=True))))


def _points(series: Series, most: int) -> orjson.Fragment:
    points = [
        {"wallTime": wall_time, "step": step, "value": value}
        for wall_time, step, value in zip(*_columns(series, most), strict=True)
    ]
    return orjson.Fragment(orjson.dumps(points))


def _response(request: Request, content: Any) -> Response:
    body = orjson.dumps(content)
    encoding = None
    if len(body) >= _GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
        body, encoding = gzip.compress(body, 1, mtime=0), "gzip"
    response: Response = http_util.Respond(request, body, "application/json", content_encoding=encoding)
    return response
