"""What a training logged, without what differs from one run to the next: times, and names made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.graph_pb2 import GraphDef

from promised import Place, first_record, records

Logged = dict[str, list[str]]
"""Events as text by run, and other files by path."""

_TIME = re.compile(r"\b\d{9,}\.\d+\b")
_MEASURED = re.compile(r"runtime|per_second")


def of_directory(directory: Path) -> Logged:
    """What lies in a local log directory."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return _logged({path.relative_to(directory).as_posix(): path.read_bytes() for path in files})


def of_bucket(place: Place, prefix: str) -> Logged:
    """What lies below a prefix."""
    return _logged({key[len(prefix) + 1 :]: place.get(key) for key in place.keys(prefix + "/")})


def _logged(files: Mapping[str, bytes]) -> Logged:
    logged: Logged = {}
    for path, data in sorted(files.items()):
        place = _TIME.sub("<time>", path)
        if "tfevents" in path:
            run = place.rpartition("/")[0]
            logged.setdefault(run, []).extend(_events(data))
        elif path.endswith(".pt.trace.json"):
            logged.setdefault("traces", []).append("a trace")
        elif path.endswith(".ckpt"):
            logged[place] = ["a checkpoint"]
        else:
            logged[place] = [data.decode()]
    return logged


def _events(data: bytes) -> list[str]:
    found: list[str] = []
    for payload in records(data, first_record(data)):
        event = Event.FromString(payload)
        if any(_MEASURED.search(value.tag) for value in event.summary.value):
            continue
        event.ClearField("wall_time")
        for value in event.summary.value:
            _without_times(value)
        if event.graph_def:  # serialised maps have no order
            graph = str(GraphDef.FromString(event.graph_def))
            event.ClearField("graph_def")
            found.append(graph)
        found.append(str(event))
    return found


def _without_times(value: object) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    plugin = value.metadata.plugin_data  # type: ignore[attr-defined]
    if plugin.plugin_name == "hparams":
        content = HParamsPluginData.FromString(plugin.content)
        content.session_start_info.ClearField("start_time_secs")
        content.session_end_info.ClearField("end_time_secs")
        plugin.content = content.SerializeToString()
