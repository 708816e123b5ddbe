"""One object into a temporary file: in ranges, in parallel, front to back, resumable, of one generation."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from bucketboard.errors import CorruptDataError, Reason, UnavailableError
from bucketboard.events.record import crc32c
from bucketboard.fetch.directory import PulledDirectory
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.store.bucket import Bucket, ObjectInfo, check_match

__all__ = ["CHUNK", "PART", "Download", "Fetched", "Stopped", "agrees", "date", "read_pieces", "time_of"]

PART = 8 << 20
"""Bytes of one ranged request."""
CHUNK = 1 << 20
_PARTS_AHEAD = 8
"""Parts of all files together that may be waiting in memory for their turn: 64 MiB."""
_GENERATIONS = 4
"""How often an object may change while it is fetched, before it is left to a later pull."""
_MD5 = re.compile(r"([0-9a-f]{32})(?:-([1-9]\d{0,4}))?")
_PART_MIB = (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512)
"""Sizes of parts that uploading programs are known to choose."""


class Stopped(Exception):
    """The pull was told to end."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A temporary file with bytes ``start`` to ``info.size`` of an object; ``crc`` is that of the whole."""

    name: str
    start: int
    info: ObjectInfo
    crc: int
    found: os.stat_result


def read_pieces(file: int, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The bytes of an open file, without moving its position."""
    while stop is None or start < stop:
        piece = os.pread(file, CHUNK if stop is None else min(CHUNK, stop - start), start)
        if not piece:
            return
        yield piece
        start += len(piece)


def date(file: int, info: ObjectInfo) -> None:
    """Give an open file the object's time."""
    time = time_of(info)
    if time is not None:
        with contextlib.suppress(OSError):
            os.utime(file, ns=(time, time))


def time_of(info: ObjectInfo) -> int | None:
    """The modification time, in nanoseconds, that a file of the object gets."""
    return None if info.last_modified is None else int(info.last_modified.timestamp() * 1000) * 1_000_000


def agrees(info: ObjectInfo, crc: int, pieces: Callable[[], Iterable[bytes]]) -> bool | None:
    """Whether bytes are those of the object, by its metadata or ETag; None where those can't tell.

    ``crc`` is the CRC32C of the bytes, as many as the object has, and ``pieces`` reads them once more.
    """
    metadata = ObjectMetadata.parse(info.metadata)
    if metadata is not None and metadata.length == info.size:
        return metadata.crc32c == crc
    match = _MD5.fullmatch(info.etag.strip('"'))
    if not match:
        return None
    if match.group(2) is None:
        digest = hashlib.md5(usedforsecurity=False)
        for piece in pieces():
            digest.update(piece)
        return True if digest.hexdigest() == match.group(1) else None  # an encrypted object's is no MD5
    count = int(match.group(2))
    for size in (mib << 20 for mib in _PART_MIB):
        if -(-info.size // size) == count and _parts_md5(pieces(), size) == match.group(1):
            return True
    return None


def _parts_md5(pieces: Iterable[bytes], size: int) -> str:
    whole, part, filled = hashlib.md5(usedforsecurity=False), hashlib.md5(usedforsecurity=False), 0
    for piece in pieces:
        while piece:
            taken = piece[: size - filled]
            part.update(taken)
            filled += len(taken)
            piece = piece[len(taken) :]
            if filled == size:
                whole.update(part.digest())
                part, filled = hashlib.md5(usedforsecurity=False), 0
    if filled:
        whole.update(part.digest())
    return whole.hexdigest()


class Download:
    """Fetches objects of one bucket into temporary files of one directory; for many threads at once."""

    def __init__(
        self,
        bucket: Bucket,
        directory: PulledDirectory,
        *,
        jobs: int,
        stop: threading.Event,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._bucket = bucket
        self._directory = directory
        self._stop = stop
        self._on_bytes = on_bytes
        self._parts = ThreadPoolExecutor(jobs, thread_name_prefix="bucketboard-part")
        self._room = threading.Semaphore(_PARTS_AHEAD)
        self._lock = threading.Lock()
        self.requests = 0

    def close(self) -> None:
        """Wait for what is under way."""
        self._parts.shutdown(cancel_futures=True)

    def name(self, path: str, info: ObjectInfo) -> str:
        """How the names of temporary files begin, up to a dash, that may go on with this very object."""
        identity = f"{path}\0{info.etag}\0{info.size}"
        return hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()[:32]

    def head(self, key: str) -> ObjectInfo:
        """HeadObject, counted."""
        self.count()
        return self._bucket.head(key)

    def count(self, requests: int = 1) -> None:
        """Count requests."""
        with self._lock:
            self.requests += requests

    def fetch(self, path: str, listed: ObjectInfo, start: int = 0, crc: int = 0) -> Fetched:
        """Bytes ``start`` to the end of the object; ``crc`` is that of the bytes before.

        The object may change meanwhile. If it is a log of ours that grew, its first bytes are still the same
        ones, and fetching goes on; else it begins again with the new object.

        Raises:
            UnavailableError: also when the object changed again and again.
            CorruptDataError: what came is not what the object's metadata says.
            OSError: the temporary file can't be written.
            Stopped: the pull was told to end.
        """
        info, whole, damaged = listed, False, False
        for _ in range(_GENERATIONS):
            try:
                return self._one_generation(path, info, start, crc, whole)
            except UnavailableError as error:
                if error.reason is not Reason.PRECONDITION:
                    raise
            except CorruptDataError:
                if damaged:
                    raise
                damaged = True  # on its way, perhaps: then it comes whole the second time
            info = self.head(listed.key)
            if info.size < start:
                start, crc = 0, 0
            whole = True  # an answer under way is of one generation, however long it takes
        raise UnavailableError(f"s3://{self._bucket.name}/{listed.key} changes too often to be read now")

    def _one_generation(self, path: str, info: ObjectInfo, start: int, crc: int, whole: bool) -> Fetched:
        name = f"{self.name(path, info)}-{start}"
        file, done = self._directory.temporary(name), False
        try:
            filling = _Filling(file, start, crc)
            if filling.position > info.size:
                filling.restart()
            resumed = filling.position > start
            if resumed:
                self._on_bytes(filling.position - start)
            try:
                told = self._fill(filling, info, whole)
            except UnavailableError as error:
                if error.reason is Reason.PRECONDITION:
                    self._on_bytes(start - filling.position)
                    self._directory.discard(name)
                raise
            if start == 0 and not _is_sound(told, filling.crc, file, resumed):
                self._directory.discard(name)
                raise CorruptDataError(
                    f"s3://{self._bucket.name}/{info.key}: its bytes are not those its metadata tells of",
                    hint="whoever wrote it last has to write it again",
                )
            date(file, told)
            done = True
            return Fetched(name, start, told, filling.crc, os.fstat(file))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                self._directory.discard(name)  # others may fit
            raise
        finally:
            if not done and os.fstat(file).st_size == 0:  # nothing to go on from
                self._directory.discard(name)
            os.close(file)

    def _fill(self, filling: _Filling, info: ObjectInfo, whole: bool) -> ObjectInfo:
        """Bring the file to the object's size; gives what the answers say of the object of that size."""
        told: ObjectInfo | None = None
        etag = info.etag
        if filling.position == info.size > 0:  # only its metadata is missing
            told = self.head(info.key)
            check_match(self._bucket.name, told, etag or None)
            return told
        while True:
            try:
                for piece, said in self._pieces(filling.position, info, etag, whole):
                    if told is None:
                        told = said
                    filling.write(piece)
                    self._on_bytes(len(piece))
            except UnavailableError as error:
                if error.reason is not Reason.PRECONDITION or told is None:
                    raise
                later = self.head(info.key)
                if not _continues(told, later):
                    raise
                etag = later.etag
                continue
            if told is None or filling.position != info.size:
                raise UnavailableError(
                    f"s3://{self._bucket.name}/{info.key}: {filling.position} of {info.size} bytes came"
                )
            if info.last_modified in (None, told.last_modified):
                return told
            return replace(told, last_modified=info.last_modified)

    def _pieces(
        self, position: int, info: ObjectInfo, etag: str, whole: bool
    ) -> Iterator[tuple[bytes, ObjectInfo]]:
        """The object's bytes from ``position``, in order, each piece with what was said of the object.

        ``whole`` asks for them in one answer.
        """
        left = info.size - position
        if left > PART and not whole:
            yield from self._in_parallel(position, info, etag)
            return
        self._check()
        self.count()
        condition = etag or None
        if left <= CHUNK:
            yield self._bucket.get(info.key, position, info.size if position else None, if_match=condition)
            return
        pieces, told = self._bucket.stream(
            info.key, position, info.size if position else None, if_match=condition
        )
        for piece in pieces:
            self._check()
            yield piece, told

    def _in_parallel(self, position: int, info: ObjectInfo, etag: str) -> Iterator[tuple[bytes, ObjectInfo]]:
        """In parts: one as it arrives, those behind it ahead of their turn as far as there is room."""
        ahead: deque[Future[tuple[Iterable[bytes], ObjectInfo]]] = deque()

        def reach(position: int) -> int:
            while position < info.size and self._room.acquire(blocking=False):
                stop = min(position + PART, info.size)
                ahead.append(self._parts.submit(self._collected, info.key, etag, position, stop))
                position = stop
            return position

        try:
            while position < info.size or ahead:
                if not ahead:
                    start, stop = position, min(position + PART, info.size)
                    direct, told = self._part(info.key, etag, start, stop)
                    position = reach(stop)
                    yield from ((piece, told) for piece in direct)
                    continue
                position = reach(position)
                pieces, told = ahead[0].result()
                yield from ((piece, told) for piece in pieces)
                ahead.popleft()
                self._room.release()
        finally:
            for future in ahead:
                future.cancel()
                with contextlib.suppress(BaseException):
                    future.result()
                self._room.release()

    def _part(self, key: str, etag: str, start: int, stop: int) -> tuple[Iterator[bytes], ObjectInfo]:
        self._check()
        self.count()
        return self._bucket.stream(key, start, stop, if_match=etag or None)

    def _collected(self, key: str, etag: str, start: int, stop: int) -> tuple[Iterable[bytes], ObjectInfo]:
        pieces, told = self._part(key, etag, start, stop)
        return list(pieces), told

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped


class _Filling:
    """A temporary file that grows to its end; what an earlier pull left in it is kept."""

    def __init__(self, file: int, start: int, crc: int) -> None:
        self._file = file
        self._start = start
        self._first_crc = crc
        self.crc = crc
        self.position = start
        if os.fstat(file).st_size:
            for piece in read_pieces(file):
                self.crc = crc32c(piece, self.crc)
                self.position += len(piece)
            os.lseek(file, 0, os.SEEK_END)

    def restart(self) -> None:
        """Forget what is there."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self.crc, self.position = self._first_crc, self._start

    def write(self, piece: bytes) -> None:
        """Append."""
        left = memoryview(piece)
        while left:
            written = os.write(self._file, left)
            self.position += written
            left = left[written:]
        self.crc = crc32c(piece, self.crc)


def _is_sound(info: ObjectInfo, crc: int, file: int, resumed: bool) -> bool:
    """Whether nothing says that a whole file is damaged; the ETag is asked only after a crash."""
    if resumed or ObjectMetadata.parse(info.metadata) is not None:
        return agrees(info, crc, lambda: read_pieces(file)) is not False
    return True


def _continues(earlier: ObjectInfo, later: ObjectInfo) -> bool:
    """Whether the first bytes of ``later`` are those of ``earlier``, by the log they say they are."""
    one, other = ObjectMetadata.parse(earlier.metadata), ObjectMetadata.parse(later.metadata)
    return one is not None and other is not None and one.log_id == other.log_id and later.size >= earlier.size
