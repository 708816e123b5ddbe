"""What a summary of each kind is as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bucketboard.errors import CorruptDataError

__all__ = ["COLUMNS", "Row", "arrow_schema", "columns_of", "rows_of"]

Row = tuple[Any, ...]

COLUMNS: dict[str, dict[str, str]] = {
    "scalars": {"value": "double"},
    "histograms": {
        **{"left": "doubles", "right": "doubles", "count": "doubles"},
        **dict.fromkeys(("min", "max", "num", "sum", "sum_squares"), "double"),
    },
    "images": {"index": "int", "width": "int", "height": "int", "image": "bytes"},
    "audio": {
        **{"index": "int", "content_type": "string", "sample_rate": "double", "length_frames": "int"},
        **{"label": "string", "audio": "bytes"},
    },
    "text": {"index": "int", "value": "string"},
    "hparams": {"name": "string", "number": "double", "text": "string", "flag": "bool"},
    "pr_curves": dict.fromkeys(
        ("true_positives", "false_positives", "true_negatives", "false_negatives", "precision", "recall"),
        "doubles",
    ),
    "tensors": {
        **{"plugin": "string", "dtype": "string", "shape": "ints", "numbers": "doubles"},
        **{"data": "bytes", "strings": "blobs", "content": "bytes"},
    },
    "graphs": {"what": "string", "graph": "bytes"},
}
"""Columns of each kind and their types; before them come ``tag``, ``step`` and ``wall_time``.

A histogram has its buckets' edges and counts; its totals where it was logged with them. Images, sounds and
texts that were logged at once have a row each, ``index`` says which. A tensor has its values in C order as
doubles where that is exact, else as little-endian ``data``, or as ``strings``; ``content`` is what its plugin
keeps beside it.
"""
_EXACT = 1 << 53
_CURVE_ROWS = 6


def columns_of(kind: str) -> dict[str, str]:
    """All columns of a kind, in order, but for the run."""
    return {"tag": "string", "step": "int", "wall_time": "double", **COLUMNS[kind]}


def arrow_schema(kind: str, *, run: bool) -> Any:
    """The columns as a schema of pyarrow, with ``run`` in front if asked for."""
    import pyarrow as pa

    types = {
        "double": pa.float64(),
        "doubles": pa.list_(pa.float64()),
        "int": pa.int64(),
        "ints": pa.list_(pa.int64()),
        "string": pa.string(),
        "bool": pa.bool_(),
        "bytes": pa.binary(),
        "blobs": pa.list_(pa.binary()),
    }
    names = columns_of(kind)
    return pa.schema([*([("run", pa.string())] if run else ()), *((n, types[t]) for n, t in names.items())])


def rows_of(kind: str, event: Any, place: int, plugin: str) -> Iterator[tuple[str, Row]]:
    """Value ``place`` of a parsed Event that was sorted as ``kind``: the kind of each row, and what it has
    after the first columns.

    What turns out not to have the form of its kind is a tensor.

    Raises:
        CorruptDataError: nothing can be made of it.
    """
    try:
        if kind == "graphs":
            yield kind, _graph(event)
            return
        if place >= len(event.summary.value):
            raise ValueError(f"no value {place} in the event")
        value = event.summary.value[place]
        rows = _MAKERS[kind](value) if kind in _MAKERS else None
        if rows is None:
            yield "tensors", _tensor(value, plugin)
        else:
            yield from ((kind, row) for row in rows)
    except Exception as error:  # of whatever kind protobuf and numpy raise
        raise CorruptDataError(f"a value can't be read: {error}") from error


def _graph(event: Any) -> Row:
    if event.HasField("graph_def"):
        return "graph", event.graph_def
    if event.HasField("meta_graph_def"):
        return "meta_graph", event.meta_graph_def
    return "run_metadata", event.tagged_run_metadata.run_metadata


def _array(value: Any) -> Any:
    from tensorboard.util import tensor_util

    return tensor_util.make_ndarray(value.tensor)


def _histogram(value: Any) -> list[Row] | None:
    if value.HasField("histo"):
        histogram = value.histo
        limits, counts = list(histogram.bucket_limit), list(histogram.bucket)
        if len(limits) != len(counts):
            raise ValueError("edges and counts of a histogram are not equally many")
        totals = (histogram.min, histogram.max, histogram.num, histogram.sum, histogram.sum_squares)
        return [([histogram.min, *limits[:-1]] if limits else [], limits, counts, *totals)]
    buckets = _array(value)
    if buckets.ndim != 2 or buckets.shape[1] != 3 or buckets.dtype.kind != "f":
        return None
    left, right, counts = buckets.astype(np.float64).T.tolist()
    return [(left, right, counts, None, None, None, None, None)]


def _images(value: Any) -> list[Row] | None:
    if value.HasField("image"):
        image = value.image
        return [(0, image.width, image.height, image.encoded_image_string)]
    strings = _strings(value)
    if strings is None or len(strings) < 2:
        return None
    width, height = int(strings[0]), int(strings[1])
    return [(place, width, height, image) for place, image in enumerate(strings[2:])]


def _audio(value: Any) -> list[Row] | None:
    if value.HasField("audio"):
        audio = value.audio
        return [
            (
                *(0, audio.content_type, audio.sample_rate, audio.length_frames, None),
                audio.encoded_audio_string,
            )
        ]
    strings = _strings(value)
    if strings is None:
        return None
    if len(value.tensor.tensor_shape.dim) != 2:
        return [(place, None, None, None, None, clip) for place, clip in enumerate(strings)]
    labels = [label.decode(errors="replace") for label in strings[1::2]]
    return [
        (place, None, None, None, label, clip)
        for place, (clip, label) in enumerate(zip(strings[::2], labels, strict=True))
    ]


def _text(value: Any) -> list[Row] | None:
    strings = _strings(value)
    if strings is None:
        return None
    return [(place, text.decode(errors="replace")) for place, text in enumerate(strings)]


def _strings(value: Any) -> list[bytes] | None:
    from tensorboard.compat.proto import types_pb2

    if not value.HasField("tensor") or value.tensor.dtype != types_pb2.DT_STRING:
        return None
    return [bytes(string) for string in _array(value).ravel()]


def _hparams(value: Any) -> list[Row] | None:
    from tensorboard.plugins.hparams import plugin_data_pb2

    data = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
    if not data.HasField("session_start_info"):
        return None
    rows: list[Row] = []
    for name, given in data.session_start_info.hparams.items():
        which = given.WhichOneof("kind")
        rows.append(
            (
                name,
                given.number_value if which == "number_value" else None,
                given.string_value if which == "string_value" else None,
                given.bool_value if which == "bool_value" else None,
            )
        )
    return rows


def _curve(value: Any) -> list[Row] | None:
    curve = _array(value)
    if curve.ndim != 2 or len(curve) != _CURVE_ROWS or curve.dtype.kind != "f":
        return None
    return [tuple(curve.astype(np.float64).tolist())]


def _tensor(value: Any, plugin: str) -> Row:
    content = value.metadata.plugin_data.content or None
    which = value.WhichOneof("value")
    if which == "simple_value":
        return plugin, "float32", [], [value.simple_value], None, None, content
    if which != "tensor":
        return plugin, None, None, None, None, None, content
    array = _array(value)
    shape = list(array.shape)
    if array.dtype == object:
        return plugin, "string", shape, None, None, [bytes(text) for text in array.ravel()], content
    if _is_exact(array):
        numbers = array.astype(np.float64).ravel().tolist()
        return plugin, array.dtype.name, shape, numbers, None, None, content
    little = array.astype(array.dtype.newbyteorder("<"))
    return plugin, array.dtype.name, shape, None, little.tobytes(), None, content


def _is_exact(array: Any) -> bool:
    """Whether all its values are doubles."""
    if array.dtype.kind == "b" or array.dtype in (np.float16, np.float32, np.float64):
        return True
    if array.dtype.kind not in "iu":
        return False
    return not array.size or (int(array.max()) <= _EXACT and int(array.min()) >= -_EXACT)


_MAKERS = {
    "histograms": _histogram,
    "images": _images,
    "audio": _audio,
    "text": _text,
    "hparams": _hparams,
    "pr_curves": _curve,
}
