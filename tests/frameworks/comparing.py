"""Events without what differs between two runs of the same training: times, and counters in names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event

import bucketboard
from promised import Place, records


def events(data: bytes) -> list[Event]:
    """The events of a file, without the record that opens it, times, and the graphs themselves."""
    found = [Event.FromString(payload) for payload in records(data)]
    assert found[0].file_version == "brain.Event:2"
    for event in found:
        event.wall_time = 0
        for field in ("graph_def", "meta_graph_def"):
            if event.HasField(field):
                setattr(event, field, b"there")
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name.startswith("graph"):
                value.tensor.string_val[:] = [b"there"] * len(value.tensor.string_val)
    return found[1:]


def of_directory(root: Path) -> dict[str, list[Event]]:
    """The events of each run (a directory with event files) below ``root``, files in the order of names."""
    runs: dict[str, list[Event]] = {}
    for path in sorted(root.rglob("*tfevents*")):
        runs.setdefault(path.parent.relative_to(root).as_posix(), []).extend(events(path.read_bytes()))
    return runs


def of_bucket(place: Place, prefix: str) -> dict[str, list[Event]]:
    """The same of a prefix."""
    runs: dict[str, list[Event]] = {}
    for key in place.event_keys(f"{prefix}/"):
        run = key.removeprefix(f"{prefix}/").rpartition("/")[0] or "."
        runs.setdefault(run, []).extend(events(place.get(key)))
    return runs


def names(paths: list[str]) -> list[str]:
    """Paths without numbers and machine, in order."""
    return sorted(re.sub(r"\d+", "#", path) for path in paths)


def as_tensorboard_reads(run: Path) -> dict[str, Any]:
    """What the stock reader finds in a run: its tags, and the values of scalars and tensors by step."""
    reader = EventAccumulator(str(run), size_guidance={"tensors": 0, "scalars": 0})
    reader.Reload()
    tags = reader.Tags()
    values: dict[str, Any] = {}
    for tag in tags["tensors"]:
        if reader.SummaryMetadata(tag).plugin_data.plugin_name.startswith("graph"):
            continue
        values[tag] = [(e.step, e.tensor_proto.SerializeToString()) for e in reader.Tensors(tag)]
    for tag in tags["scalars"]:
        values[tag] = [(e.step, e.value) for e in reader.Scalars(tag)]
    return {
        "tags": {kind: sorted(t) if isinstance(t, list) else t for kind, t in tags.items()},
        "values": values,
    }


def pulled(place: Place, prefix: str, where: Path) -> Path:
    """A pulled copy of a prefix."""
    bucketboard.pull(f"s3://{place.bucket}/{prefix}", where, endpoint_url=place.server.endpoint)
    return where
