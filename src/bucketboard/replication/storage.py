"""Where the bytes of a log file are kept until S3 has them: in memory, or in a local file."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any, Protocol

__all__ = ["FileStorage", "MemoryStorage", "Storage"]


_WRITE_AT_ONCE = 1 << 20


class Storage(Protocol):
    """An append-only sequence of bytes. Offsets count from its beginning, also after a discard."""

    @property
    def first(self) -> int:
        """The first byte that can still be read."""

    @property
    def size(self) -> int:
        """The number of bytes appended."""

    @property
    def written(self) -> int:
        """The number of bytes that a crash of this process would leave."""

    def append(self, data: bytes) -> None:
        """Add bytes at the end. Never raises."""

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to ``stop``."""

    def discard(self, stop: int) -> None:
        """The bytes before ``stop`` are not needed for going on."""

    def note(self, **facts: Any) -> None:
        """Remember facts for whoever would recover the bytes."""

    def close(self) -> None:
        """Let go of it, keeping what a crash would leave."""

    def remove(self) -> None:
        """Let go of it and leave nothing behind."""


class MemoryStorage:
    """Bytes in memory, given back as they are acknowledged."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._closed = False
        self._first = 0
        self._lock = threading.Lock()

    @property
    def first(self) -> int:
        return self._first

    @property
    def size(self) -> int:
        return self._first + len(self._data)

    @property
    def written(self) -> int:
        return self.size  # nothing is safer than memory here, so all of it counts as logged

    def append(self, data: bytes) -> None:
        with self._lock:
            self._data += data

    def read(self, start: int, stop: int) -> bytes:
        with self._lock:
            if self._closed:
                raise OSError("the log was given up")  # nothing must be sent in its place
            return bytes(memoryview(self._data)[start - self._first : stop - self._first])

    def discard(self, stop: int) -> None:
        with self._lock:
            if stop > self._first:
                del self._data[: stop - self._first]
                self._first = stop

    def note(self, **facts: Any) -> None:
        del facts  # nobody can recover another process's memory

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._data = bytearray()

    remove = close


class FileStorage:
    """Bytes in a local file, one write per append, no fsync: they survive the process, not a power cut.

    What a full or broken disk refuses stays in memory and is tried again with the next append.
    """

    def __init__(self, path: Path, *, exclusive: bool = True) -> None:
        """Open ``path``; ``exclusive``: it must not exist yet.

        Raises:
            OSError: the file can't be created or opened.
        """
        flags = os.O_RDWR | os.O_CREAT | (os.O_EXCL if exclusive else 0) | getattr(os, "O_CLOEXEC", 0)
        self.path = path
        self.error: OSError | None = None
        self._fd = os.open(path, flags, 0o600)
        self._written = os.fstat(self._fd).st_size
        self._unwritten = bytearray()
        self._lock = threading.Lock()

    @property
    def first(self) -> int:
        return 0

    @property
    def size(self) -> int:
        return self._written + len(self._unwritten)

    @property
    def written(self) -> int:
        return self._written

    @property
    def fd(self) -> int:
        """The file descriptor, for locks on the file."""
        return self._fd

    def append(self, data: bytes) -> None:
        with self._lock:
            if not self._unwritten:
                data = data[self._write(data) :]
            self._unwritten += data
            while self._unwritten:
                done = self._write(bytes(memoryview(self._unwritten)[:_WRITE_AT_ONCE]))
                if not done:
                    break
                del self._unwritten[:done]

    def _write(self, data: bytes) -> int:
        """Write what the disk takes of ``data``; gives the number of bytes."""
        try:
            done = os.pwrite(self._fd, data, self._written)
            self.error = None
        except OSError as error:
            self.error = error
            return 0
        self._written += done
        return done

    def read(self, start: int, stop: int) -> bytes:
        with self._lock:
            end = min(stop, self._written)
            data = b""
            while start + len(data) < end:
                block = os.pread(self._fd, end - start - len(data), start + len(data))
                if not block:
                    raise OSError(f"{self.path} is shorter than what was written to it")
                data = data + block if data else block
            return data + self._unwritten[max(0, start - end) : max(0, stop - end)]

    def discard(self, stop: int) -> None:
        del stop  # kept whole until the file is finished, so that a deleted object can be written again

    def note(self, **facts: Any) -> None:
        del facts

    def close(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self.close()
