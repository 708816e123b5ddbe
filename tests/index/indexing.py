"""Event files below a directory, an index of them in another, and what it must agree with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.util import tensor_util

from bucketboard.events.metadata import is_scalar
from bucketboard.events.record import HEADER_BYTES, frame
from bucketboard.events.scanner import FileScanner
from bucketboard.index import Directory, Index, update
from bucketboard.source import DirectorySource

NAME = "events.out.tfevents.{}.host.1.0"
_VALUES = ("step", "wall_time", "value", "kind", "offset", "length", "index", "elements", "rank")


def scalar(tag: str, step: int, value: float, wall_time: float = 1.0) -> bytes:
    """A record with a legacy scalar."""
    return event(step, summary_pb2.Summary.Value(tag=tag, simple_value=value), wall_time=wall_time + step)


def tensor(tag: str, step: int, value: object, plugin: str | None = None, wall_time: float = 1.0) -> bytes:
    """A record with a tensor; with ``plugin`` as the first of its tag."""
    made = summary_pb2.Summary.Value(tag=tag, tensor=tensor_util.make_tensor_proto(value))
    if plugin is not None:
        made.metadata.plugin_data.plugin_name = plugin
    return event(step, made, wall_time=wall_time)


def image(tag: str, step: int, size: int, wall_time: float = 1.0) -> bytes:
    """A record with a legacy image of ``size`` bytes."""
    made = summary_pb2.Summary.Value(tag=tag)
    made.image.encoded_image_string = bytes(size)
    return event(step, made, wall_time=wall_time)


def graph(wall_time: float = 3.0) -> bytes:
    """A record with a graph."""
    return frame(event_pb2.Event(wall_time=wall_time, graph_def=b"graph").SerializeToString())


def start(log: int = 0) -> bytes:
    """The record that a file begins with; with a number of its own, so that files differ."""
    return frame(event_pb2.Event(wall_time=0.5 + log, file_version="brain.Event:2").SerializeToString())


def event(step: int, *values: Any, wall_time: float = 1.0) -> bytes:
    """The record of an event."""
    made = event_pb2.Event(wall_time=wall_time, step=step)
    made.summary.value.extend(values)
    return frame(made.SerializeToString())


@dataclass
class Place:
    """What is indexed, and the index."""

    root: Path
    source: DirectorySource = field(init=False)
    objects: Directory = field(init=False)

    def __post_init__(self) -> None:
        self.source = DirectorySource(self.root / "exp")
        self.objects = Directory(self.root / "index")
        (self.root / "exp").mkdir()

    def write(self, path: str, body: bytes) -> None:
        """A new file, or other contents."""
        file = self.root / "exp" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(body)

    def append(self, path: str, body: bytes) -> None:
        """More of a file."""
        with (self.root / "exp" / path).open("ab") as file:
            file.write(body)

    def update(self) -> Any:
        """Bring the index up to date."""
        return update(self.source, self.objects)

    def check(self) -> Index:
        """The index says of each file exactly what a scan of it says."""
        index = Index.open(self.objects)
        files = self.source.files()
        assert index.trouble == ""
        assert index.files.keys() >= {
            path for path, info in files.items() if info.size and _has_records(self, path)
        }
        for path in files:
            if path in index.files:
                check_file(index, path, self.source.get(path)[0])
        return index


def _has_records(place: Place, path: str) -> bool:
    scanner = FileScanner()
    scanner.feed(place.source.get(path)[0])
    return scanner.offset > 0


def check_file(index: Index, path: str, body: bytes) -> None:
    """What the index has of a file is what a scan of its covered bytes finds."""
    known = index.files[path]
    scanner = FileScanner()
    columns = scanner.feed(body[: known.end])
    assert scanner.offset == known.end
    assert known.events == columns.events
    assert known.tail == body[max(known.end - 64, 0) : known.end]
    np.testing.assert_equal(known.start, columns.start)
    whole = FileScanner()
    whole.feed(body)
    assert known.end == whole.offset, "covered as far as there are records"
    tags = index.tags[path]
    assert set(tags) == set(scanner.tags)
    scalars = index.scalars(paths=[path])
    values = index.values(paths=[path])
    for place, tag in enumerate(scanner.tags):
        rows = columns.take(columns.tag == place)
        said = tags[tag]
        assert said.count == len(rows)
        assert (said.step, said.wall_time) == (rows.step[-1], rows.wall_time[-1])
        assert (said.kind, said.first) == (rows.kind[0], columns.first[place])
        assert said.stated == columns.stated.get(place)
        shown = rows.is_scalar & is_scalar(said.kind, said.first)
        _check_rows(scalars.get((path, tag)), rows.take(shown), ("step", "wall_time", "value", "kind"))
        others = rows.take(~shown)
        _check_rows(values.get((path, tag)), others, _VALUES)
        if len(others):
            _check_events(values[path, tag], body)
    untagged = columns.take(columns.tag < 0)
    _check_rows(values.get((path, "")), untagged, _VALUES)


def _check_rows(found: Any, expected: Any, names: tuple[str, ...]) -> None:
    assert (0 if found is None else len(found)) == len(expected)
    for name in names if found is not None else ():
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)


def _check_events(found: Any, body: bytes) -> None:
    for offset, length, known in zip(found.offset.tolist(), found.length.tolist(), found.event, strict=True):
        payload = body[offset + HEADER_BYTES : offset + length - 4]
        assert known == (payload if length <= 1024 else None)
