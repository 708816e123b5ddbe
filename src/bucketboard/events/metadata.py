"""What a serialised SummaryMetadata says of a series, as far as a reader must know it before its data."""

from __future__ import annotations

from bucketboard.events.columns import Kind
from bucketboard.events.reference import Malformed, fields

__all__ = ["is_scalar", "plugin_of"]

_SCALAR_CLASS = 1
_IMPLIED = {
    Kind.SIMPLE: "scalars",
    Kind.IMAGE: "images",
    Kind.AUDIO: "audio",
    Kind.HISTOGRAM: "histograms",
    Kind.GRAPH: "graphs",
    Kind.RUN_METADATA: "graph_tagged_run_metadata",
}
"""Of values whose kind says what they are; what they state counts only if it has a class."""


def _parsed(metadata: bytes) -> tuple[str, int]:
    plugin, data_class = b"", 0
    try:
        for number, wire, value, begin, end in fields(metadata, 0, len(metadata)):
            if number == 4 and wire == 0:
                data_class = value
            elif number == 1 and wire == 2:
                for inner, inner_wire, _, at, stop in fields(metadata, begin, end):
                    if inner == 1 and inner_wire == 2:
                        plugin = metadata[at:stop]
    except Malformed:
        return "", 0
    return plugin.decode(errors="replace"), data_class


def plugin_of(kind: int, metadata: bytes) -> str:
    """The plugin of a series whose first value is of ``kind`` and states ``metadata``; "": none."""
    plugin, data_class = _parsed(metadata)
    return plugin if data_class else _IMPLIED.get(Kind(kind), plugin)


def is_scalar(kind: int, metadata: bytes) -> bool:
    """Whether such a series is one of scalars, by the rule of TensorBoard's data server."""
    data_class = _parsed(metadata)[1]
    if data_class:
        return data_class == _SCALAR_CLASS
    return plugin_of(kind, metadata) == "scalars"
