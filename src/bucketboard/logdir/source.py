"""A local file that something else writes, as the log of a replica."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from bucketboard.errors import CorruptDataError
from bucketboard.events.record import HEADER_BYTES, OVERHEAD_BYTES, crc32c, record_length, scan
from bucketboard.events.scanner import record_ends
from bucketboard.logdir.tree import Found
from bucketboard.replication.log import LogFile
from bucketboard.replication.position import Boundary
from bucketboard.replication.replica import LogChanged

__all__ = ["Source", "SourceFile"]

_CHUNK = 8 << 20
_OPEN = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
"""Opening a pipe, which may have taken the file's place, must not wait for who writes to it."""


class Source:
    """The bytes of a file as it was found: what was appended since is not seen, what was replaced is refused.

    A `Storage` that can only be read. Opened when first read from, until it is closed.
    """

    first = 0

    def __init__(self, root: Path, found: Found) -> None:
        self.found = found
        self.read_bytes = 0
        """The bytes read so far, for showing progress."""
        self._path = root / found.path
        self._fd = -1

    @property
    def size(self) -> int:
        return self.found.size

    written = size

    def _open(self) -> int:
        if self._fd < 0:
            try:
                fd = os.open(self._path, _OPEN)
                status = os.fstat(fd)
            except OSError as error:
                raise LogChanged(f"{self.found.path}: {error.strerror}") from error
            now = Found.of(self.found.path, status)
            regular = stat.S_ISREG(status.st_mode)
            if not regular or now.inode != self.found.inode or now.size < self.found.size:
                os.close(fd)
                raise LogChanged(f"{self.found.path} was replaced")
            self._fd = fd
        return self._fd

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to ``stop``.

        Raises:
            LogChanged: it is another file, shorter, or can't be read.
        """
        try:
            data = os.pread(self._open(), stop - start, start)
            while len(data) < stop - start:
                block = os.pread(self._fd, stop - start - len(data), start + len(data))
                if not block:
                    raise LogChanged(f"{self.found.path} became shorter")
                data += block
        except OSError as error:
            raise LogChanged(f"{self.found.path} can't be read: {error.strerror}") from error
        self.read_bytes += len(data)
        return data

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from ``start`` to ``stop``, piece by piece."""
        for at in range(start, stop, _CHUNK):
            yield self.read(at, min(at + _CHUNK, stop))

    def crc(self, stop: int, start: Boundary = Boundary()) -> int:  # noqa: B008  # it is immutable
        """The CRC32C of the first ``stop`` bytes, when that of the first ``start`` is known."""
        crc = start.crc
        for chunk in self.chunks(start.bytes, stop):
            crc = crc32c(chunk, crc)
        return crc

    @property
    def unchanged(self) -> bool:
        """Whether the file is still exactly as it was found."""
        try:
            return Found.of(self.found.path, os.stat(self._path)) == self.found
        except OSError:
            return False

    def append(self, data: bytes) -> NoReturn:
        """Refused: it is somebody else's file."""
        raise io.UnsupportedOperation(f"{self._path} is only read")

    def discard(self, stop: int) -> None:
        del stop  # it stays where it is

    def note(self, **facts: Any) -> None:
        del facts  # whoever replicates it remembers them

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    remove = close

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class SourceFile(LogFile):
    """A log file over a source; its name is its path.

    ``whole`` is the end of its last whole record, as far as that is known.
    """

    def __init__(self, log_id: str, source: Source, *, stored: Boundary, whole: int = 0) -> None:
        super().__init__(log_id, source, name=source.found.path)
        self._source = source
        self.stored = self.end = stored
        self.whole = whole
        self.damage = ""
        """What is wrong with the bytes behind ``whole``, where there are any."""

    def measure_records(self) -> None:
        """Let the log reach to the end of the last whole record before anything torn or damaged."""
        size = self._source.size
        at, want = (self.whole if self.whole <= self.stored.bytes else 0), _CHUNK
        end, crc = self.stored.bytes, self.stored.crc
        self.damage = ""
        while at < size and not self.damage:
            data = self._source.read(at, min(at + want, size))
            if at == 0:
                self._begin(data)
            whole, _, damage = record_ends(data)
            if damage:
                whole = damage[0].offset
                self.damage = f"byte {at + whole:,}: {damage[0].message}"
            elif whole == 0:  # a record that is longer than what was read, or goes on past the end
                needed = OVERHEAD_BYTES + (record_length(data) if len(data) >= HEADER_BYTES else 0)
                if at + needed > size:
                    self.damage = f"byte {at:,}: the file ends within a record"
                want = needed
                continue
            if at + whole > end:
                crc = crc32c(data[end - at : whole], crc)
                end = at + whole
            at, want = at + whole, _CHUNK
        self.whole = at
        self.damaged = at if self.damage else None
        if end > self.stored.bytes:
            self.grown(Boundary(end, 0, crc))

    def _begin(self, data: bytes) -> None:
        """Note the first record, which tells whether a server heeds conditions."""
        try:
            first = next(scan(data), None)
        except CorruptDataError:
            return
        if first is not None and not self.stored.bytes:
            self.begin = Boundary(first.length, 0, crc32c(data[: first.length]))

    def measure_all(self) -> None:
        """Let the log reach to the end of the file, whatever it holds."""
        size = self._source.size
        if size > self.end.bytes:
            self.grown(Boundary(size, 0, self._source.crc(size, self.end)))

    def boundary_at(self, length: int) -> Boundary | None:
        """The boundary at ``length`` bytes: anywhere in the file, for it is here as a whole."""
        if length > self._source.size:
            return None
        return Boundary(length, 0, self._source.crc(length))
