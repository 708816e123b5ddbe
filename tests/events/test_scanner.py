"""The scanner: what it finds, in whatever pieces a file comes; the native core is held to the reference."""

from __future__ import annotations

import math
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scanning import events, picture, python_only, scanned, tensors
from tensorboard.compat.proto import event_pb2, summary_pb2, types_pb2
from tensorboard.util import tensor_util

from bucketboard.events import native
from bucketboard.events.columns import Columns, Kind
from bucketboard.events.event import ScalarEncoder, varint
from bucketboard.events.record import frame
from bucketboard.events.reference import MAX_TAG
from bucketboard.events.scanner import FileScanner

needs_native = pytest.mark.skipif(native.core is None, reason="built without a compiler")


@pytest.fixture(params=["native", "reference"], autouse=True, scope="module")
def core(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each test with each core; what compares both is the same in both rounds."""
    if request.param == "native":
        if native.core is None and not shutil.which("cc"):
            pytest.skip("built without a compiler")
        yield "native"
    else:
        with python_only():
            yield "reference"


def _value(**fields: object) -> summary_pb2.Summary.Value:
    return summary_pb2.Summary.Value(**fields)


def _summary(*values: summary_pb2.Summary.Value, step: int = 1, wall_time: float = 2.0) -> bytes:
    event = event_pb2.Event(wall_time=wall_time, step=step)
    event.summary.value.extend(values)
    return frame(event.SerializeToString())


def _scan(data: bytes) -> tuple[Columns, FileScanner]:
    scanner = FileScanner()
    return scanner.feed(data), scanner


@pytest.mark.skipif(not shutil.which("cc"), reason="no compiler")
def test_the_native_core_was_built(core: str) -> None:
    if core == "native":
        assert native.core is not None, "build it: python setup.py build_ext --inplace"


def test_scalars() -> None:
    encoder = ScalarEncoder()
    rows = [("a", 0.5, 3, 10.0), ("b/ü", math.inf, -1, 11.0), ("a", -0.0, 2**62, 9.0)]
    records = [encoder.record(*row) for row in rows]
    found, scanner = _scan(b"".join(records))
    assert scanner.tags == found.tags == ["a", "b/ü"]
    assert found.tag.tolist() == [0, 1, 0]
    assert found.value.tolist() == [0.5, math.inf, -0.0]
    assert found.step.tolist() == [3, -1, 2**62]
    assert found.wall_time.tolist() == [10.0, 11.0, 9.0]
    assert found.offset.tolist() == [0, len(records[0]), len(records[0]) + len(records[1])]
    assert found.length.tolist() == [len(record) for record in records]
    assert found.kind.tolist() == [Kind.SIMPLE] * 3
    assert found.first == {0: b"", 1: b""}
    assert found.stated == {}
    assert found.start == 9.0
    assert found.events == 3


_SPECIAL = [0.0, -0.0, 1.5, -2.25, math.inf, -math.inf, math.nan, 2.0**-24, 6.0e-8, 65504.0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int16", "int32", "int64",
                                   "uint8", "uint16", "uint32", "uint64", "bool"])  # fmt: skip
@pytest.mark.parametrize("content", [True, False])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_tensors_of_one_number(dtype: str, content: bool, shape: tuple[int, ...]) -> None:
    numbers = _SPECIAL if dtype.startswith("float") else [0, 1, 100, -1 if dtype.startswith("int") else 2]
    values = []
    for number in numbers:
        array = np.full(shape, number, dtype)
        tensor = tensor_util.make_tensor_proto(array)
        if content:
            for name, _ in tensor.ListFields():
                if name.name.endswith("_val"):
                    tensor.ClearField(name.name)
            tensor.tensor_content = array.tobytes()
        values.append(_value(tag="t", tensor=tensor))
    found, scanner = _scan(_summary(*values))
    assert not scanner.damaged
    expected = [float(np.full((), number, dtype)) for number in numbers]
    np.testing.assert_array_equal(found.value, expected)
    kind = Kind.SCALAR if dtype == "float32" and not shape else Kind.NUMBER
    assert set(found.kind.tolist()) == {kind}
    assert set(found.rank.tolist()) == {len(shape)}
    assert found.index.tolist() == list(range(len(numbers)))


def test_bfloat16() -> None:
    value = _value(tag="t")
    value.tensor.dtype = types_pb2.DT_BFLOAT16
    value.tensor.half_val.append(0x3FC0)
    other = _value(tag="t")
    other.tensor.dtype = types_pb2.DT_BFLOAT16
    other.tensor.tensor_content = b"\xc0\xbf"
    assert _scan(_summary(value, other))[0].value.tolist() == [1.5, -1.5]


@given(tensors())
def test_numbers_are_what_tensorboard_makes_of_them(tensor: bytes) -> None:
    value = _value(tag="t")
    value.tensor.MergeFromString(tensor)
    found = _scan(_summary(value))[0]
    if found.kind[0] == Kind.TENSOR:
        assert math.isnan(found.value[0])
        return
    proto = value.tensor
    if len(proto.tensor_content) and len(proto.float_val):
        return  # TensorBoard's own two readers differ there
    if types_pb2.DataType.Name(proto.dtype) in ("DT_UINT8", "DT_INT16", "DT_INT8", "DT_UINT16"):
        limits = np.iinfo(types_pb2.DataType.Name(proto.dtype)[3:].lower())
        if proto.int_val and not limits.min <= proto.int_val[0] <= limits.max:
            return  # no such value
    if proto.dtype == types_pb2.DT_BFLOAT16:
        return  # needs a package of its own
    array = tensor_util.make_ndarray(proto)
    assert array.size == 1
    np.testing.assert_equal(found.value[0], float(array.item()))


def test_other_kinds() -> None:
    strings = _value(tag="text", tensor=tensor_util.make_tensor_proto([b"one", b"two"]))
    strings.metadata.plugin_data.plugin_name = "text"
    image = _value(tag="image")
    image.image.width = 3
    histogram = _value(tag="histogram")
    histogram.histo.max = 1
    audio = _value(tag="audio")
    audio.audio.sample_rate = 1
    bare = _value(tag="bare", metadata={"display_name": "no value"})
    found, scanner = _scan(_summary(strings, _value(), image, histogram, audio, bare))
    kinds = [Kind.TENSOR, Kind.IMAGE, Kind.HISTOGRAM, Kind.AUDIO, Kind.TENSOR]
    assert found.kind.tolist() == kinds
    assert found.elements.tolist() == [2, 3, 0, 1, 0]
    assert found.rank.tolist() == [1, 0, 0, 0, 1]
    assert found.index.tolist() == [0, 2, 3, 4, 5]
    assert scanner.tags == ["text", "image", "histogram", "audio", "bare"]
    assert found.first[0] == strings.metadata.SerializeToString()


def test_events_that_are_no_summary() -> None:
    stream = [
        event_pb2.Event(wall_time=5, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=6, graph_def=b"graph"),
        event_pb2.Event(wall_time=7, meta_graph_def=b"meta"),
        event_pb2.Event(wall_time=8, step=4, session_log=event_pb2.SessionLog(status="START")),
        event_pb2.Event(wall_time=9, session_log=event_pb2.SessionLog(status="STOP")),
        event_pb2.Event(tagged_run_metadata=event_pb2.TaggedRunMetadata(tag="step1", run_metadata=b"x")),
    ]
    found, scanner = _scan(b"".join(frame(event.SerializeToString()) for event in stream))
    kinds = [Kind.GRAPH, Kind.META_GRAPH, Kind.SESSION_START, Kind.RUN_METADATA]
    assert found.kind.tolist() == kinds
    assert found.tag.tolist() == [0, -1, -1, 1]
    assert scanner.tags == ["__run_graph__", "step1"]
    assert found.step.tolist() == [0, 0, 4, 0]
    assert found.start == 0.0
    assert found.events == 6


def test_metadata_of_the_first_value_and_the_first_that_is_stated() -> None:
    plain = _value(tag="a", simple_value=1)
    stated = _value(tag="a", simple_value=2)
    stated.metadata.display_name = "shown"
    later = _value(tag="a", simple_value=2)
    later.metadata.display_name = "later"
    scanner = FileScanner()
    one = scanner.feed(_summary(plain))
    two = scanner.feed(_summary(stated, later))
    assert (one.first, one.stated) == ({0: b""}, {})
    assert (two.first, two.stated) == ({}, {0: stated.metadata.SerializeToString()})


def test_the_last_of_a_oneof_counts_and_a_summary_may_come_in_pieces() -> None:
    graph = event_pb2.Event(graph_def=b"g").SerializeToString()
    one = event_pb2.Event(
        summary=summary_pb2.Summary(value=[_value(tag="a", simple_value=1)])
    ).SerializeToString()
    found, _ = _scan(frame(one + graph) + frame(graph + one + one))
    assert found.kind.tolist() == [Kind.GRAPH, Kind.SIMPLE, Kind.SIMPLE]
    assert found.index.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "payload",
    [
        b"\x08",  # ends in a key's value
        b"\x80" * 11,  # a varint without end
        b"\x10" + b"\xff" * 9 + b"\x02",  # beyond 64 bits
        b"\x00\x01",  # field 0
        b"\x2a\x05abc",  # longer than what there is
        b"\x2a" + varint(2**64 - 1) + b"abc",
        b"\x13\x14",  # a group
        b"\x2a\x06\x0a\x04\x0a\x02\xff\xfe",  # a tag that is no UTF-8
        b"\x09abc",
        b"\x2a\x09\x0a\x07\x42\x05\x2a\x03abc",  # three quarters of a float
    ],
)
def test_what_is_no_event_is_passed_over(payload: bytes) -> None:
    good = _summary(_value(tag="a", simple_value=1))
    found, scanner = _scan(good + frame(payload) + good)
    assert found.value.tolist() == [1, 1]
    assert [(place.offset, place.length) for place in scanner.damage] == [(len(good), len(payload) + 16)]
    assert "no event" in scanner.damage[0].message


def test_nothing_of_a_malformed_event_is_kept() -> None:
    event = event_pb2.Event(summary=summary_pb2.Summary(value=[_value(tag="new", simple_value=1)]))
    found, scanner = _scan(frame(event.SerializeToString() + b"\x08"))
    assert len(found) == 0
    assert scanner.tags == []


def test_a_wall_time_that_is_no_number() -> None:
    found, scanner = _scan(_summary(_value(tag="a", simple_value=1), wall_time=math.nan))
    assert len(found) == 0
    assert "wall time" in scanner.damage[0].message


@pytest.mark.parametrize("length", [MAX_TAG, MAX_TAG + 1])
def test_long_tags(length: int) -> None:
    found, scanner = _scan(_summary(_value(tag="x" * length, simple_value=1)))
    assert scanner.damaged == (length > MAX_TAG)
    assert len(found) == 1 - scanner.damaged


@pytest.mark.parametrize(
    "between",
    [
        b"",
        b"\x10\x05",  # a step that comes later counts
        b"\x10\x00",
        b"\x09" + bytes(8),
        b"\x22\x01g",  # a graph before the summary
    ],
)
@pytest.mark.parametrize("behind", [b"", b"\x10\x07", b"\x09" + struct.pack("<d", 4.0), b"\x22\x01g"])
def test_what_nearly_looks_like_a_scalar_seen_before(between: bytes, behind: bytes) -> None:
    records = []
    for step in (1, 300, 0, 2**62):
        encoded = ScalarEncoder().record("a", step + 0.5, step, 1e9 + step)[12:-4]
        at = encoded.index(b"\x2a")
        records.append(frame(encoded[:at] + between + encoded[at:] + behind))
    whole = scanned(b"".join(records))
    scanner = FileScanner()
    parts = []
    for record in records:
        with_others = FileScanner(scanner.offset)
        parts.append(with_others.feed(record))
        scanner.feed(record)
    assert [part.step.tolist() for part in parts] == [[step] for step in _steps(records)]
    with python_only():
        assert scanned(b"".join(records)) == whole


def _steps(records: list[bytes]) -> list[int]:
    return [event_pb2.Event.FromString(record[12:-4]).step for record in records]


def test_lost_framing_and_its_mending() -> None:
    good = _summary(_value(tag="a", simple_value=1))
    scanner = FileScanner()
    assert len(scanner.feed(good + bytes(len(good)))) == 1
    assert scanner.dead
    assert scanner.offset == len(good)
    assert scanner.wanted == 0
    assert scanner.damage[0].offset == len(good)
    assert len(scanner.feed(good)) == 0
    scanner.revive()
    assert scanner.damage == []
    assert len(scanner.feed(good)) == 1
    assert (scanner.dead, scanner.damaged, scanner.offset) == (False, 0, 2 * len(good))


def test_wanted_says_how_much_more_is_needed() -> None:
    good = _summary(_value(tag="a", simple_value=1))
    scanner = FileScanner()
    scanner.feed(good[:11])
    assert scanner.wanted == 16
    scanner.feed(good[:12])
    assert scanner.wanted == len(good)
    scanner.feed(good)
    assert (scanner.offset, scanner.wanted) == (len(good), 16)


def test_many_values_in_one_event() -> None:
    values = [_value(tag=f"tag{i}", simple_value=i) for i in range(5000)]
    found, scanner = _scan(_summary(*values) + _summary(*values, step=2))
    assert found.value.tolist() == list(range(5000)) * 2
    assert found.tag.tolist() == list(range(5000)) * 2
    assert len(scanner.tags) == 5000


def test_columns_can_be_narrowed() -> None:
    found, _ = _scan(b"".join(_summary(_value(tag="a", simple_value=i), step=i) for i in range(4)))
    part = found.take(found.step >= 2)
    assert part.value.tolist() == [2, 3]
    assert part.tags is found.tags
    assert found.is_scalar.all()


def _torch_file(directory: Path) -> bytes:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(directory)) as writer:
        _write_some(writer)
        writer.add_scalar("tensor", 0.25, 1, new_style=True)
        writer.add_scalar("tensor", 0.5, 2, new_style=True, double_precision=True)
    return next(directory.iterdir()).read_bytes()


def _tensorboardx_file(directory: Path) -> bytes:
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(directory)) as writer:
        _write_some(writer)
    return next(directory.iterdir()).read_bytes()


def _write_some(writer: object) -> None:
    w: object = writer
    for step in range(3):
        w.add_scalar("loss", step * 0.5, step)  # type: ignore[attr-defined]
    w.add_image("image", np.zeros((3, 2, 2), np.uint8), 1)  # type: ignore[attr-defined]
    w.add_text("text", "hello", 1)  # type: ignore[attr-defined]
    w.add_histogram("histogram", np.array([1.0, 2.0]), 1, bins=[0, 1, 2, 3])  # type: ignore[attr-defined]


@pytest.mark.parametrize("written", [_torch_file, _tensorboardx_file])
def test_every_byte_boundary_of_real_files(written: object, tmp_path: Path, core: str) -> None:
    data = written(tmp_path)  # type: ignore[operator]
    whole = scanned(data)
    scanner = FileScanner()
    assert picture([scanner.feed(data)], scanner) == whole
    assert scanner.offset == len(data)
    assert not scanner.damage
    assert {"loss", "image"} <= set(scanner.tags)
    for stop in range(len(data)):
        assert scanned(data, [stop]) == whole
    everywhere = FileScanner()
    parts = [everywhere.feed(data[everywhere.offset : stop]) for stop in range(len(data) + 1)]
    assert picture(parts, everywhere) == whole


_DATA = Path(__file__).with_name("data")
"""Written by TensorFlow 2.21 (tensorflow1: with its v1 writer) and Keras 3."""


@pytest.mark.parametrize("path", sorted(_DATA.iterdir()), ids=lambda path: path.stem)
def test_every_byte_boundary_of_tensorflows_files(path: Path, core: str) -> None:
    data = path.read_bytes()
    whole = scanned(data)
    scanner = FileScanner()
    assert picture([scanner.feed(data)], scanner) == whole
    assert (scanner.offset, scanner.damaged) == (len(data), 0)
    for stop in range(len(data)):
        assert scanned(data, [stop]) == whole
    with python_only():
        assert scanned(data) == whole


@given(st.lists(events(), max_size=6), st.data())
@needs_native
def test_both_agree(payloads: list[bytes], data: st.DataObject) -> None:
    stream = bytearray(b"".join(map(frame, payloads)))
    splits = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    whole = scanned(stream)
    assert scanned(stream, splits) == whole
    with python_only():
        assert scanned(stream) == whole


@given(st.lists(events(), min_size=1, max_size=3), st.data())
@needs_native
def test_both_agree_on_mutated_events(payloads: list[bytes], data: st.DataObject) -> None:
    """Payloads that are not what they were, in records that are valid."""
    mutated = []
    for payload in payloads:
        changed = bytearray(payload)
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(changed)))
            what = data.draw(st.sampled_from(["change", "insert", "cut"]))
            if what == "insert":
                changed[at:at] = data.draw(st.binary(max_size=4))
            elif what == "cut":
                del changed[at:]
            elif at < len(changed):
                changed[at] = data.draw(st.integers(0, 255))
        mutated.append(frame(bytes(changed)))
    stream = b"".join(mutated)
    found = scanned(stream)
    with python_only():
        assert scanned(stream) == found


@given(st.lists(events(), min_size=1, max_size=3), st.data())
@needs_native
def test_both_agree_on_mutated_files(payloads: list[bytes], data: st.DataObject) -> None:
    stream = bytearray(b"".join(map(frame, payloads)))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    found = scanned(stream)
    with python_only():
        assert scanned(stream) == found


def test_a_16_eib_length_is_no_allocation() -> None:
    from bucketboard.events.record import crc32c

    packed = struct.pack("<Q", 2**64 - 1)
    crc = crc32c(packed)
    header = packed + struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
    found, scanner = _scan(header + bytes(100))
    assert (len(found), scanner.dead) == (0, True)
