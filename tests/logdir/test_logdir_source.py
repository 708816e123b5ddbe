"""A source: the records of a file that something else writes, at any length, from any point, in pieces."""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bucketboard.errors import CorruptDataError
from bucketboard.events.record import crc32c, frame, scan
from bucketboard.logdir import source as room
from bucketboard.logdir.source import Source, SourceFile
from bucketboard.logdir.tree import Found
from bucketboard.replication.position import Boundary
from bucketboard.replication.replica import LogChanged

NAME = "events.out.tfevents.1"


def reference(data: bytes) -> tuple[int, bool]:
    """The end of the last whole record before anything torn or damaged, and whether there is such."""
    end = 0
    try:
        for record in scan(data):
            end = record.offset + record.length
    except CorruptDataError:
        pass
    return end, end < len(data)


def found(root: Path, path: str = NAME) -> Found:
    return Found.of(path, os.stat(root / path))


def opened(root: Path, data: bytes) -> Source:
    (root / NAME).write_bytes(data)
    return Source(root, found(root))


def measured(source: Source, stored: int = 0, whole: int = 0) -> SourceFile:
    file = SourceFile("log", source, stored=Boundary(stored, 0, source.crc(stored)), whole=whole)
    file.measure_records()
    return file


def check(root: Path, data: bytes, stored: int = 0, whole: int = 0) -> None:
    with opened(root, data) as source:
        file = measured(source, stored, whole)
        end, more = reference(data)
        assert file.whole == end
        assert file.end.bytes == max(end, stored)
        assert file.end.crc == crc32c(data[: file.end.bytes])
        assert bool(file.damage) == more
        assert file.damaged == (end if more else None)
        boundary = file.next_boundary(1 << 60)
        assert boundary == (file.end if file.end.bytes > stored else file.stored)
        file.measure_all()
        assert (file.end.bytes, file.end.crc) == (len(data), crc32c(data))
        assert file.next_boundary(1 << 60).bytes == len(data)


@pytest.fixture
def chunk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda size: monkeypatch.setattr(room, "_CHUNK", size)


RECORDS = [frame(b""), frame(b"x"), frame(b"twelve bytes"), frame(bytes(range(200))), frame(b"y" * 31)]
WHOLE = b"".join(RECORDS)


@pytest.mark.parametrize("size", [1, 7, 12, 16, 17, 40, 1 << 20])
def test_at_every_length_the_log_ends_with_the_last_whole_record(
    tmp_path: Path, chunk: Callable[[int], None], size: int
) -> None:
    chunk(size)
    for length in range(len(WHOLE) + 1):
        check(tmp_path, WHOLE[:length])


def torch_file(directory: Path) -> bytes:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(directory)) as writer:
        for step in range(3):
            writer.add_scalar("loss", step, step)
        writer.add_text("note", "word " * 30, 0)
    [path] = directory.iterdir()
    return path.read_bytes()


def tensorboardx_file(directory: Path) -> bytes:
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(directory)) as writer:
        for step in range(3):
            writer.add_scalar("loss", step, step)
        writer.add_text("note", "word " * 30, 0)
    [path] = directory.iterdir()
    return path.read_bytes()


@pytest.mark.parametrize("write", [torch_file, tensorboardx_file])
@pytest.mark.parametrize("size", [13, 1 << 20])
def test_real_files_at_every_length(
    tmp_path: Path, chunk: Callable[[int], None], write: Callable[[Path], bytes], size: int
) -> None:
    chunk(size)
    data = write(tmp_path / "run")
    assert reference(data) == (len(data), False)
    for length in range(len(data) + 1):
        check(tmp_path, data[:length])


@pytest.mark.parametrize("size", [1, 15, 64, 1 << 20])
def test_a_tail_of_zeros_of_any_length_is_damage(
    tmp_path: Path, chunk: Callable[[int], None], size: int
) -> None:
    """As after a power cut; also when too few of them are there for a whole record."""
    chunk(size)
    for count in range(40):
        check(tmp_path, WHOLE + bytes(count))


@pytest.mark.parametrize("size", [1, 20, 1 << 20])
def test_every_flipped_byte_ends_the_log_before_its_record(
    tmp_path: Path, chunk: Callable[[int], None], size: int
) -> None:
    chunk(size)
    data = RECORDS[1] + RECORDS[2] + RECORDS[1]
    for place in range(len(data)):
        corrupt = bytearray(data)
        corrupt[place] ^= 0x10
        for length in (len(data), place + 1, min(place + 5, len(data))):
            check(tmp_path, bytes(corrupt[:length]))


@st.composite
def files(draw: st.DrawFn) -> bytes:
    payloads = draw(st.lists(st.binary(max_size=60), max_size=6))
    data = bytearray(b"".join(map(frame, payloads)))
    for place in draw(st.lists(st.integers(0, max(0, len(data) - 1)), max_size=2)) if data else []:
        data[place] ^= draw(st.integers(1, 255))
    tail = draw(st.binary(max_size=40) | st.integers(0, 40).map(bytes) | st.just(frame(b"torn" * 9)[:-3]))
    return bytes(data + tail)


@given(files(), st.integers(1, 70), st.data())
@settings(max_examples=300)
def test_resumed_from_any_boundary_and_any_whole_record_before_it(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int, draw: st.DataObject
) -> None:
    """``stored`` may be anywhere (a torn file is stored as it is); ``whole`` is a record's end."""
    root = tmp_path_factory.mktemp("source")
    ends = [0]
    try:
        ends += [record.offset + record.length for record in scan(data)]
    except CorruptDataError:
        for end in range(ends[-1], len(data)):
            if reference(data[:end]) == (end, False):
                ends.append(end)
    stored = draw.draw(st.integers(0, len(data)))
    whole = draw.draw(st.sampled_from(ends))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_CHUNK", size)
        check(root, data, stored, whole)
    shutil.rmtree(root)


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=6), st.integers(1, 90), st.data())
@settings(max_examples=100)
def test_a_growing_file_is_measured_on_from_where_it_was(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], size: int, draw: st.DataObject
) -> None:
    """Pass by pass, each with what the one before it learned: never a byte that is not of a whole record."""
    root = tmp_path_factory.mktemp("grows")
    data = b"".join(map(frame, payloads))
    cuts = sorted({*draw.draw(st.lists(st.integers(0, len(data)), max_size=4)), len(data)})
    stored, whole = Boundary(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_CHUNK", size)
        for cut in cuts:
            with opened(root, data[:cut]) as source:
                file = SourceFile("log", source, stored=stored, whole=whole)
                file.measure_records()
                assert file.whole == file.end.bytes == reference(data[:cut])[0]
                assert file.end.crc == crc32c(data[: file.end.bytes])
                stored, whole = file.end, file.whole
    assert stored.bytes == len(data)
    shutil.rmtree(root)


def test_what_was_measured_is_not_read_again(tmp_path: Path) -> None:
    with opened(tmp_path, WHOLE) as source:
        boundary = Boundary(len(WHOLE) - len(RECORDS[-1]), 0, 123)
        file = SourceFile("log", source, stored=boundary, whole=boundary.bytes)
        file.measure_records()
        assert source.read_bytes == len(RECORDS[-1])


def test_the_first_record_is_noted_when_nothing_is_stored(
    tmp_path: Path, chunk: Callable[[int], None]
) -> None:
    """A server's conditions are tried out with it."""
    for size in (1, 5, 1 << 20):
        chunk(size)
        with opened(tmp_path, RECORDS[3] + RECORDS[1]) as source:
            file = measured(source)
            assert file.begin == Boundary(len(RECORDS[3]), 0, crc32c(RECORDS[3]))
    with opened(tmp_path, RECORDS[3][:-1]) as source:
        assert measured(source).begin == Boundary()


def test_bytes_appended_since_it_was_found_are_not_seen(tmp_path: Path) -> None:
    with opened(tmp_path, RECORDS[0] + RECORDS[1]) as source:
        with open(tmp_path / NAME, "ab") as file:
            file.write(RECORDS[2])
        assert source.size == source.written == len(RECORDS[0] + RECORDS[1])
        assert measured(source).end.bytes == source.size
        assert not source.unchanged


@pytest.mark.parametrize("when", ["before", "while"])
@pytest.mark.parametrize("how", ["gone", "shorter", "replaced"])
def test_a_file_that_is_another_now_is_refused(tmp_path: Path, how: str, when: str) -> None:
    source = opened(tmp_path, WHOLE)
    path = tmp_path / NAME
    with source:
        if when == "while":
            assert source.read(0, 5) == WHOLE[:5]
        if how == "gone":
            path.unlink()
        elif how == "shorter":
            os.truncate(path, 20)
        else:
            other = tmp_path / "other"
            other.write_bytes(WHOLE)
            other.replace(path)
        assert not source.unchanged
        if when == "while" and how != "shorter":
            assert source.read(0, len(WHOLE)) == WHOLE  # the file that was opened is still whole
            return
        with pytest.raises(LogChanged, match=r"events\.out\.tfevents\.1"):
            source.crc(len(WHOLE))
        with pytest.raises(LogChanged, match=r"events\.out\.tfevents\.1"):
            source.read(0, len(WHOLE))  # again, and not from the wrong file


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give up what it may read, and take it back")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    source = opened(tmp_path, WHOLE)
    os.chmod(tmp_path / NAME, 0)
    os.seteuid(65534)
    try:
        with source, pytest.raises(LogChanged, match=r"ermission"):
            source.read(0, 1)
    finally:
        os.seteuid(0)


def test_a_pipe_in_place_of_the_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Opening one waits for its other end."""
    source = opened(tmp_path, WHOLE)
    (tmp_path / NAME).unlink()
    os.mkfifo(tmp_path / NAME)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            source.read(0, 1)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    stuck = thread.is_alive()
    if stuck:
        os.close(os.open(tmp_path / NAME, os.O_WRONLY))  # let it go
        thread.join(10)
    assert not stuck
    source.close()
    assert [type(failure) for failure in failures] == [LogChanged]


def test_it_is_a_storage_that_is_only_read(tmp_path: Path) -> None:
    with opened(tmp_path, WHOLE) as source:
        with pytest.raises(io.UnsupportedOperation):
            source.append(b"x")
        source.discard(10)
        source.note(name="x")
        file = SourceFile("log", source, stored=Boundary())
        file.measure_records()
        file.acknowledge(file.end, keep=0)
        assert source.read(0, 3) == WHOLE[:3]
        for length in (0, 1, 30, len(WHOLE)):
            assert file.boundary_at(length) == Boundary(length, 0, crc32c(WHOLE[:length]))
        assert file.boundary_at(len(WHOLE) + 1) is None
    source.remove()
    assert (tmp_path / NAME).read_bytes() == WHOLE


def test_its_descriptor_is_let_go(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        with opened(tmp_path, WHOLE) as source:
            source.crc(len(WHOLE))
        os.truncate(tmp_path / NAME, 3)
        with source, pytest.raises(LogChanged):
            source.read(0, 5)
    assert len(os.listdir("/dev/fd")) == before
