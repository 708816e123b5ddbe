"""One file of a pull: what it lacks, fetching that, and putting it where readers see it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from bucketboard.errors import UnavailableError
from bucketboard.events.filename import is_event_file
from bucketboard.events.record import crc32c
from bucketboard.fetch.directory import InTheWay, PulledDirectory
from bucketboard.fetch.download import Download, Fetched, agrees, date, read_pieces, time_of
from bucketboard.fetch.state import INODES, Pulled, PulledState
from bucketboard.store.bucket import ObjectInfo

__all__ = ["Files", "Plan", "Prepared", "PulledFile"]


@dataclass(frozen=True, slots=True)
class PulledFile:
    """What became of a file: "new", "appended" to, "updated", or, of event files, "replaced" by others."""

    path: str
    action: str
    bytes: int
    """Bytes that were fetched, or would be."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file lacks: the object's bytes from ``start``, behind local ones with this ``crc``."""

    path: str
    info: ObjectInfo
    action: str
    start: int = 0
    crc: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file that needs nothing but its turn: what was fetched lies in a temporary file."""

    path: str
    action: str
    fetched: Fetched


class Files:
    """The files of one target. All methods may be called from many threads, for different files."""

    def __init__(self, target: PulledDirectory, state: PulledState, download: Download) -> None:
        self._target = target
        self._state = state
        self._download = download

    def is_unchanged(self, path: str, info: ObjectInfo) -> bool:
        """Whether the file is known to be the object: no request, no look into it."""
        known = self._state.get(path)
        if known is None or not info.etag or (known.etag, known.size) != (info.etag, info.size):
            return False
        found = self._target.stat(path)
        return found is not None and known.is_still(found)

    def plan(self, path: str, info: ObjectInfo) -> Plan | None:
        """What the file lacks, None when it is equal; takes a HEAD at most."""
        found = self._target.stat(path)
        if found is None:
            return Plan(path, info, "new")
        known = self._state.get(path)
        crc = known.crc if known is not None and known.is_still(found) else None
        if found.st_size == info.size:
            crc = self._crc(path, found.st_size) if crc is None else crc
            if self._is_equal(path, info, found, crc):
                self._remember(path, info.etag, found, crc)
                return None
        if not is_event_file(path):
            return Plan(path, info, "updated")
        if 0 < found.st_size < info.size:
            crc = self._crc(path, found.st_size) if crc is None else crc
            return Plan(path, info, "appended", found.st_size, crc)
        if found.st_size > info.size and self._begins_with(path, info):
            raise InTheWay("the file here goes on where its object ends: it is left alone")
        return Plan(path, info, "replaced")

    def _begins_with(self, path: str, info: ObjectInfo) -> bool:
        """Whether the local file begins with all of the object, as one does that is still written here."""
        crc = self._crc(path, info.size)
        with self._opened(path) as file:
            told = self._download.head(info.key)
            return told.size == info.size and bool(agrees(told, crc, lambda: read_pieces(file, 0, info.size)))

    def _is_equal(self, path: str, info: ObjectInfo, found: os.stat_result, crc: int) -> bool:
        with self._opened(path) as file:
            if agrees(info, crc, lambda: read_pieces(file, 0, info.size)):
                return True
            told = self._download.head(info.key)
            if told.etag.strip('"') != info.etag.strip('"'):
                return False
            verdict = agrees(told, crc, lambda: read_pieces(file, 0, info.size))
        return found.st_mtime_ns == time_of(info) if verdict is None else verdict  # as a pull leaves it

    def fetch(self, plan: Plan) -> Prepared:
        """Fetch what the file lacks; all of it where the local bytes are not the object's first."""
        if plan.start:
            fetched = self._download.fetch(plan.path, plan.info, plan.start, plan.crc)
            if fetched.start and self._is_continuation(plan, fetched):
                return Prepared(plan.path, "appended", fetched)
            if not fetched.start:  # the object is shorter by now
                return Prepared(plan.path, "replaced", fetched)
            self._target.discard(fetched.name)
            return Prepared(plan.path, "replaced", self._download.fetch(plan.path, fetched.info))
        return Prepared(plan.path, plan.action, self._download.fetch(plan.path, plan.info))

    def _is_continuation(self, plan: Plan, fetched: Fetched) -> bool:
        with self._opened(plan.path) as local, self._temporary(fetched.name) as tail:

            def pieces() -> Iterator[bytes]:
                yield from read_pieces(local, 0, plan.start)
                yield from read_pieces(tail)

            return bool(agrees(fetched.info, fetched.crc, pieces))

    def finish(self, prepared: Prepared) -> PulledFile:
        """Show readers what was prepared: at once, or, where a file goes on, behind its bytes."""
        path, fetched, action = prepared.path, prepared.fetched, prepared.action
        found = None
        if action == "appended":
            found = self._append(path, fetched, fetched.start)
        elif action == "replaced":
            found = self._append_to_prefix(path, fetched)
        if found is None:
            found = fetched.found
            self._target.settle(fetched.name, path)
        else:
            action = "appended"
            self._target.discard(fetched.name)
        self._remember(path, fetched.info.etag, found, fetched.crc)
        return PulledFile(path, action, fetched.info.size - fetched.start)

    def _append_to_prefix(self, path: str, fetched: Fetched) -> os.stat_result | None:
        """Append what a whole object has behind the local bytes, if those turn out to be its first."""
        position = 0
        with self._temporary(fetched.name) as source, self._opened(path) as local:
            for piece in read_pieces(local):
                if os.pread(source, len(piece), position) != piece:
                    return None
                position += len(piece)
        return self._append(path, fetched, position)

    def _append(self, path: str, fetched: Fetched, position: int) -> os.stat_result:
        with self._temporary(fetched.name) as source, self._opened(path, os.O_RDWR) as local:
            if os.fstat(local).st_size != position:
                raise UnavailableError(f"{path!r} was changed by somebody else")
            os.lseek(local, position, os.SEEK_SET)
            for piece in read_pieces(source, position - fetched.start):
                left = memoryview(piece)
                while left:
                    left = left[os.write(local, left) :]
            date(local, fetched.info)
            return os.fstat(local)

    def _remember(self, path: str, etag: str, found: os.stat_result, crc: int) -> None:
        inode = found.st_ino & INODES
        self._state.put(path, Pulled(etag, found.st_size, inode, found.st_mtime_ns, crc))

    def _crc(self, path: str, size: int) -> int:
        crc = 0
        with self._opened(path) as file:
            for piece in read_pieces(file, 0, size):
                crc = crc32c(piece, crc)
        return crc

    @contextlib.contextmanager
    def _opened(self, path: str, flags: int = os.O_RDONLY) -> Iterator[int]:
        file = self._target.open(path, flags)
        try:
            yield file
        finally:
            os.close(file)

    @contextlib.contextmanager
    def _temporary(self, name: str) -> Iterator[int]:
        file = self._target.open_temporary(name)
        try:
            yield file
        finally:
            os.close(file)
