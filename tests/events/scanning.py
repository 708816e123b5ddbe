"""What the tests of the scanner share: cores to choose from, columns to compare, events of all kinds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import strategies as st
from tensorboard.compat.proto import event_pb2, tensor_pb2

from bucketboard.events import native
from bucketboard.events.columns import ARRAYS, Columns
from bucketboard.events.scanner import Data, FileScanner


@contextmanager
def python_only() -> Iterator[None]:
    """Scan with the reference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "core", None)
        yield


def picture(parts: list[Columns], scanner: FileScanner) -> tuple[object, ...]:
    """All that was found, comparable."""
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    rows = tuple((name, arrays[name].dtype.str, arrays[name].tobytes()) for name in ARRAYS if name != "value")
    value = arrays["value"]
    # A NaN's bits may change between float and double.
    values = np.where(np.isnan(value), 0, value).tobytes(), np.isnan(value).tobytes()
    first: dict[int, bytes] = {}
    stated: dict[int, bytes] = {}
    for part in parts:
        assert not first.keys() & part.first.keys()
        assert not stated.keys() & part.stated.keys()
        first |= part.first
        stated |= part.stated
    starts = [part.start for part in parts if part.start == part.start]
    return (
        rows,
        values,
        scanner.tags,
        first,
        stated,
        min(starts, default=None),
        sum(part.events for part in parts),
        scanner.offset,
        scanner.dead,
        scanner.wanted,
        scanner.damage,
        scanner.damaged,
    )


def scanned(data: Data, splits: list[int] | None = None) -> tuple[object, ...]:
    """The picture of ``data`` when it becomes known up to each of ``splits``, then as a whole."""
    scanner = FileScanner()
    parts = [scanner.feed(memoryview(data)[scanner.offset : stop]) for stop in [*(splits or []), len(data)]]
    return picture(parts, scanner)


_words = st.binary(max_size=12)
_floats = st.floats(width=32)


@st.composite
def tensors(draw: st.DrawFn) -> bytes:
    """A serialised TensorProto, packed as protobuf does, of any type and shape, sensible or not."""
    tensor = tensor_pb2.TensorProto()
    tensor.dtype = draw(st.one_of(st.integers(0, 24), st.integers(-(2**31), 2**31 - 1)))
    for size in draw(st.lists(st.integers(0, 2), max_size=3)):
        tensor.tensor_shape.dim.add(size=size)
    if draw(st.booleans()):
        tensor.tensor_content = draw(_words)
    if draw(st.booleans()):
        name, values = draw(
            st.sampled_from(
                [
                    ("float_val", _floats),
                    ("double_val", st.floats()),
                    ("int_val", st.integers(-(2**31), 2**31 - 1)),
                    ("int64_val", st.integers(-(2**63), 2**63 - 1)),
                    ("bool_val", st.booleans()),
                    ("half_val", st.integers(0, 0xFFFF)),
                    ("uint32_val", st.integers(0, 2**32 - 1)),
                    ("uint64_val", st.integers(0, 2**64 - 1)),
                    ("string_val", _words),
                ]
            )
        )
        getattr(tensor, name).extend(draw(st.lists(values, max_size=3)))
    return bytes(tensor.SerializeToString())


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """A serialised Event."""
    event = event_pb2.Event(
        wall_time=draw(st.floats(allow_nan=False)), step=draw(st.integers(-(2**63), 2**63 - 1))
    )
    tags = st.sampled_from(["", "a", "loss/ü", "a longer tag of a run", "x" * 300])
    what = draw(st.integers(0, 12))
    if what == 1:
        event.graph_def = draw(_words)
    elif what == 2:
        event.file_version = "brain.Event:2"
    elif what == 3:
        event.session_log.status = draw(st.integers(0, 3))
    elif what == 4:
        event.tagged_run_metadata.tag = draw(tags)
        event.tagged_run_metadata.run_metadata = draw(_words)
    elif what == 5:
        event.meta_graph_def = draw(_words)
    elif what == 6:
        event.log_message.message = "hello"
    else:
        for _ in range(draw(st.integers(0, 3))):
            value = event.summary.value.add(tag=draw(tags))
            if draw(st.booleans()):
                value.metadata.plugin_data.plugin_name = draw(st.sampled_from(["", "scalars", "images"]))
                value.metadata.display_name = draw(st.sampled_from(["", "shown"]))
            kind = draw(st.integers(0, 7))
            if kind == 1:
                value.simple_value = draw(_floats)
            elif kind == 2:
                value.image.encoded_image_string = draw(_words)
            elif kind == 3:
                value.histo.bucket.extend([1, 2])
            elif kind == 4:
                value.audio.encoded_audio_string = draw(_words)
            elif kind == 5:
                value.obsolete_old_style_histogram = draw(_words)
            elif kind >= 6:
                value.tensor.MergeFromString(draw(tensors()))
    return bytes(event.SerializeToString())
