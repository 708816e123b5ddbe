"""What event objects and a run's ``bucketboard.json`` say of the run, as the index keeps it: JSON objects."""

from __future__ import annotations

import json
import math
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from bucketboard.events.columns import Columns
from bucketboard.index.parts import RunFile
from bucketboard.store.bucket import ObjectInfo

__all__ = ["GATHERED", "STATE", "USER", "hparams_in", "pairs", "run_file"]

STATE = "bucketboard-state"
USER = "bucketboard-user"
GATHERED = "bucketboard-gathered"
_HPARAMS_TAG = "_hparams_/session_start_info"
_FORMAT = 1


def pairs(info: ObjectInfo, name: str) -> str:
    """The percent-encoded pairs in one of the object's metadata."""
    return _json(dict(urllib.parse.parse_qsl(info.metadata.get(name, ""), keep_blank_values=True)))


def hparams_in(columns: Iterable[Columns]) -> str | None:
    """The hyperparameters that the HParams plugin would show; None where none are stated."""
    for each in columns:
        for place, first in each.first.items():
            if each.tags[place] == _HPARAMS_TAG:
                return _json(_hparams(first))
    return None


def _hparams(metadata: bytes) -> dict[str, Any]:
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    try:
        content = SummaryMetadata.FromString(metadata).plugin_data.content
        values = HParamsPluginData.FromString(content).session_start_info.hparams
    except DecodeError:
        return {}
    found: dict[str, Any] = {}
    for name in sorted(values):
        which = values[name].WhichOneof("kind")
        if which in ("number_value", "string_value", "bool_value"):
            value = getattr(values[name], which)
            # JSON has no NaN and no infinity.
            found[name] = str(value) if isinstance(value, float) and not math.isfinite(value) else value
    return found


def run_file(path: str, body: bytes, info: ObjectInfo, modified: float | None) -> RunFile:
    """What ``bucketboard.json`` at ``path`` says; nothing where it is none of ours."""
    try:
        found = json.loads(body)
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            found = {}
    except (ValueError, RecursionError):
        found = {}
    parts = (found.get(name) for name in ("metadata", "gathered", "labels"))
    texts = [_json(part if isinstance(part, dict) else {}) for part in parts]
    return RunFile(path, info.etag, len(body), modified, *texts)


def _json(found: Mapping[str, Any]) -> str:
    # ASCII: surrogates that a value may have are no UTF-8.
    return json.dumps(found, separators=(",", ":"))
