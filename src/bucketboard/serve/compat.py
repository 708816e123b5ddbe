"""What TensorBoard's data server makes of what is on disk: metadata of series, and values in events.

The rules are those of its ``data_compat.rs``. Where it shows nothing at all (numbers of other types than
float32), those of TensorBoard's Python loader.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2, summary_pb2, types_pb2
from tensorboard.plugins.audio import plugin_data_pb2 as audio_pb2
from tensorboard.plugins.image import plugin_data_pb2 as image_pb2

from bucketboard.events.columns import Kind

__all__ = [
    "AUDIO",
    "BLOBS",
    "RANK_0_BLOBS",
    "SCALAR",
    "TENSOR",
    "UNKNOWN",
    "Metadata",
    "blobs_of",
    "metadata_of",
    "tensor_of",
]

UNKNOWN = int(summary_pb2.DATA_CLASS_UNKNOWN)
SCALAR = int(summary_pb2.DATA_CLASS_SCALAR)
TENSOR = int(summary_pb2.DATA_CLASS_TENSOR)
BLOBS = int(summary_pb2.DATA_CLASS_BLOB_SEQUENCE)

AUDIO = "audio"
RANK_0_BLOBS = frozenset({"graph_run_metadata", "graph_run_metadata_graph", "graph_keras_model"})
"""Plugins whose tensors of one string are sequences of one blob."""
_CLASSES = {
    "scalars": SCALAR,
    **dict.fromkeys(("histograms", "text", "hparams", "pr_curves", "mesh", "custom_scalars"), TENSOR),
    **dict.fromkeys(("images", AUDIO, *RANK_0_BLOBS), BLOBS),
}


_MOST_REPEATED = 1 << 20
"""Elements of a tensor beyond those that are there one by one: a single one may stand for all of them."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is the same for all points of a series."""

    data_class: int
    plugin: str
    content: bytes = b""
    description: str = ""
    display_name: str = ""


_IMPLIED = {
    Kind.SIMPLE: Metadata(SCALAR, "scalars"),
    Kind.IMAGE: Metadata(
        BLOBS, "images", image_pb2.ImagePluginData(converted_to_tensor=True).SerializeToString()
    ),
    Kind.AUDIO: Metadata(
        BLOBS, AUDIO, audio_pb2.AudioPluginData(converted_to_tensor=True).SerializeToString()
    ),
    Kind.HISTOGRAM: Metadata(TENSOR, "histograms"),
    Kind.GRAPH: Metadata(BLOBS, "graphs"),
    Kind.RUN_METADATA: Metadata(BLOBS, "graph_tagged_run_metadata"),
}
"""Of values whose kind says what they are; what they state counts only if it has a class."""


@lru_cache(maxsize=4096)
def metadata_of(kind: int, stated: bytes) -> Metadata:
    """The metadata of a series whose first value is of ``kind`` and states ``stated``.

    What is stated and is no metadata counts as not stated: the series of a run can't hide each other.
    """
    try:
        given = summary_pb2.SummaryMetadata.FromString(stated)
    except DecodeError:
        given = summary_pb2.SummaryMetadata()
    plugin = given.plugin_data.plugin_name
    implied = _IMPLIED.get(Kind(kind))
    if given.data_class == UNKNOWN and implied is not None:
        return implied
    return Metadata(
        given.data_class or _CLASSES.get(plugin, UNKNOWN),
        plugin,
        given.plugin_data.content,
        given.summary_description,
        given.display_name,
    )


def tensor_of(payload: bytes, index: int) -> Any:
    """Value ``index`` of a serialised Event as an array.

    Raises:
        Exception: of whatever kind protobuf and numpy raise on what is no tensor.
    """
    from tensorboard.util import tensor_util

    value = _value(event_pb2.Event.FromString(payload), index)
    what = value.WhichOneof("value")
    if what == "histo":
        return _histogram(value.histo)
    if what == "simple_value":
        return np.array(value.simple_value, np.float32)
    if what is None:  # a value that has metadata alone
        return np.empty(0, np.float32)
    elements = math.prod(dimension.size for dimension in value.tensor.tensor_shape.dim)
    if elements > max(len(payload), _MOST_REPEATED):
        raise ValueError(f"a tensor of {elements} elements in {len(payload)} bytes")
    return tensor_util.make_ndarray(value.tensor)


def blobs_of(payload: bytes, index: int, plugin: str) -> list[bytes]:
    """The blobs in value ``index`` of a serialised Event.

    Raises:
        Exception: of whatever kind protobuf raises on what is no event.
    """
    event = event_pb2.Event.FromString(payload)
    kind = event.WhichOneof("what")
    if kind == "graph_def":
        return [event.graph_def]
    if kind == "tagged_run_metadata":
        return [event.tagged_run_metadata.run_metadata]
    value = _value(event, index)
    what = value.WhichOneof("value")
    if what == "image":
        size = (value.image.width, value.image.height)
        return [*(str(number).encode() for number in size), value.image.encoded_image_string]
    if what == "audio":
        return [value.audio.encoded_audio_string]
    strings = list(value.tensor.string_val)
    if value.tensor.dtype != types_pb2.DT_STRING:
        return []
    shape = [dimension.size for dimension in value.tensor.tensor_shape.dim]
    # The second column of audio holds labels.
    return strings[::2] if len(shape) == 2 and plugin == AUDIO else strings


def _value(event: Any, index: int) -> Any:
    if index >= len(event.summary.value):
        raise ValueError(f"no value {index} in the event")
    return event.summary.value[index]


def _histogram(histogram: Any) -> Any:
    """Left and right edges and counts; the outermost edges are the least and the greatest value."""
    counts = np.array(histogram.bucket)
    limits = np.array(histogram.bucket_limit)
    if len(counts) != len(limits):
        raise ValueError("edges and counts of a histogram are not equally many")
    inner = limits[:-1]
    out = np.empty((len(counts), 3))
    if len(counts):
        out[:, 0] = np.concatenate(([histogram.min], inner))
        out[:, 1] = np.concatenate((inner, [histogram.max]))
        out[:, 2] = counts
    return out
