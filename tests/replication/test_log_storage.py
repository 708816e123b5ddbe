"""Where the log's bytes are kept: against a model, on a full disk and on a read-only one."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bucketboard.replication.storage import FileStorage, MemoryStorage, Storage


class StorageMachine(RuleBasedStateMachine):
    """A storage is the bytes that were appended, of which the first may have been given back."""

    storage: Storage

    def __init__(self) -> None:
        super().__init__()
        self.model = b""
        self.first = 0

    @rule(data=st.binary(max_size=50))
    def append(self, data: bytes) -> None:
        self.storage.append(data)
        self.model += data

    @rule(at=st.floats(0, 1), length=st.integers(0, 60))
    def read(self, at: float, length: int) -> None:
        start = self.first + round(at * (len(self.model) - self.first))
        stop = min(start + length, len(self.model))
        assert self.storage.read(start, stop) == self.model[start:stop]

    @rule(at=st.floats(0, 1))
    def discard(self, at: float) -> None:
        stop = round(at * len(self.model))
        self.storage.discard(stop)
        if isinstance(self.storage, MemoryStorage):
            self.first = max(self.first, stop)

    @rule()
    def note(self) -> None:
        self.storage.note(name="n", sent=1)

    @invariant()
    def keeps_all(self) -> None:
        assert (self.storage.first, self.storage.size) == (self.first, len(self.model))
        assert self.storage.written == len(self.model)
        assert self.storage.read(self.first, len(self.model)) == self.model[self.first :]


class MemoryMachine(StorageMachine):
    def __init__(self) -> None:
        super().__init__()
        self.storage = MemoryStorage()


class FileMachine(StorageMachine):
    path: Path

    @initialize()
    def open(self) -> None:
        self.path = _directory / "log"
        self.storage = FileStorage(self.path)

    @rule()
    def open_again(self) -> None:
        self.storage.close()
        self.storage = FileStorage(self.path, exclusive=False)

    @invariant()
    def is_the_file(self) -> None:
        if hasattr(self, "path"):
            assert self.path.read_bytes() == self.model

    def keeps_all(self) -> None:
        if hasattr(self, "storage"):
            super().keeps_all()

    def teardown(self) -> None:
        if hasattr(self, "storage"):
            self.storage.remove()
            assert not self.path.exists()


_directory = Path()


@pytest.fixture(autouse=True)
def directory(tmp_path: Path) -> None:
    global _directory
    _directory = tmp_path


TestMemoryStorage = MemoryMachine.TestCase
TestFileStorage = FileMachine.TestCase


def test_memory_is_given_back() -> None:
    storage = MemoryStorage()
    for _ in range(100):
        storage.append(bytes(1 << 20))
        storage.discard(storage.size - 10)
    assert storage.size == 100 << 20
    assert len(storage._data) == 10


def test_a_new_file_is_private_and_must_not_exist(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "log")
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        FileStorage(tmp_path / "log")
    storage.close()


def test_a_file_that_lost_bytes_is_told(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "log")
    storage.append(b"0123456789")
    os.truncate(tmp_path / "log", 4)
    with pytest.raises(OSError, match="shorter"):
        storage.read(0, 10)
    storage.close()


def test_after_closing_appends_are_kept_and_nothing_raises(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "log")
    storage.append(b"01")
    storage.close()
    storage.append(b"23")
    assert (storage.size, storage.written) == (4, 2)
    assert storage.error is not None
    storage.close()


@contextlib.contextmanager
def small_disk(directory: Path, size: int) -> Iterator[None]:
    """A file system of ``size`` bytes; where one can't be mounted, files that may not grow beyond it."""
    if os.geteuid() == 0:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
        if subprocess.run(mount, check=False, capture_output=True).returncode == 0:
            try:
                yield
            finally:
                subprocess.run(["umount", "-l", str(directory)], check=True)
            return
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_a_full_disk_refuses_is_kept_and_written_later(tmp_path: Path) -> None:
    size = 64 * 1024
    with small_disk(tmp_path, size):
        filler = tmp_path / "filler"
        filler.write_bytes(bytes(size // 2))
        storage = FileStorage(tmp_path / "log")
        data = os.urandom(size + size // 2)
        step = 5000
        for start in range(0, len(data), step):
            storage.append(data[start : start + step])
        assert storage.error is not None
        assert (tmp_path / "log").stat().st_size == storage.written < len(data) == storage.size
        for start, stop in [
            (0, len(data)),
            (storage.written - 5, storage.written + 5),
            (storage.written + 1, len(data)),
        ]:
            assert storage.read(start, stop) == data[start:stop]
        storage.close()


def test_a_disk_that_has_room_again_gets_everything(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs a mount")
    with small_disk(disk, 64 * 1024):
        (disk / "filler").write_bytes(bytes(60 * 1024))
        storage = FileStorage(disk / "log")
        storage.append(bytes(range(256)) * 64)
        assert storage.error is not None
        (disk / "filler").unlink()
        storage.append(b"end")
        assert storage.error is None
        assert storage.written == storage.size == 256 * 64 + 3
        assert (disk / "log").read_bytes() == bytes(range(256)) * 64 + b"end"
        storage.close()
