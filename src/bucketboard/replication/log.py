"""The event log of one writer: event files one after the other, each growing until it is sealed."""

from __future__ import annotations

import enum
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from bucketboard.errors import (
    BucketboardError,
    CorruptDataError,
    DroppedError,
    InvalidError,
    UnavailableError,
)
from bucketboard.events import record
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.first_values import FirstValues
from bucketboard.replication.position import Boundary, Mark
from bucketboard.replication.storage import Storage

__all__ = ["EventLog", "Item", "LogFile", "State"]

Item = tuple[str, float, int, float] | bytes
"""A scalar (tag, value, step, wall time) still to be encoded, or a serialised Event."""

_BOUNDARY_SPACING = 64 * 1024
_MOST_UNWRITTEN = 48 << 20


class State(enum.Enum):
    """What becomes of an object: it may grow, a later file goes on, or the writer is done."""

    LIVE = "live"
    ROLLED = "rolled"
    CLOSED = "closed"


class LogFile:
    """One event file: its bytes, the record boundaries where it may be cut, how far S3 has acknowledged it.

    One thread appends and one reads and acknowledges; a lock keeps their bookkeeping apart.
    """

    def __init__(self, log_id: str, storage: Storage, *, name: str = "") -> None:
        self.log_id = log_id
        self.storage = storage
        self.name = name
        self.state = State.LIVE
        self.damaged: int | None = None
        """Where bytes begin that are no valid record; None: there are none."""
        self.stored = Boundary()
        self.begin = Boundary()
        self.end = Boundary()
        self._boundaries: deque[Boundary] = deque()
        self._lock = threading.Lock()

    @classmethod
    def new(cls, log_id: str, storage: Storage) -> LogFile:
        """An empty event file: it holds the record that every event file begins with."""
        file = cls(log_id, storage)
        file.append(record.frame(file_version_event(time.time())), 0)
        file.begin = file.end
        return file

    @classmethod
    def existing(cls, log_id: str, storage: Storage, name: str = "") -> LogFile:
        """A file found in the spool: its whole, valid records; what stands behind them is not trusted.

        Raises:
            CorruptDataError: not even the first record is whole.
        """
        file = cls(log_id, storage, name=name)
        data = storage.read(0, storage.size)
        at = 0
        try:
            for entry in record.scan(data):
                at = entry.offset + entry.length
                piece = data[entry.offset : at]
                file._extend(piece, 0 if entry.offset == 0 else 1)
                if entry.offset == 0:
                    file.begin = file.end
        except CorruptDataError:
            pass  # the rest of the spooled file was damaged; what stands before it is sent
        if not file.end.bytes:
            raise CorruptDataError(f"log {log_id} holds no whole record")
        return file

    def append(self, data: bytes, events: int) -> None:
        """Add whole records that hold ``events`` events. Never raises."""
        self.storage.append(data)
        self._extend(data, events)

    def _extend(self, data: bytes, events: int) -> None:
        end = self.end
        self.grown(Boundary(end.bytes + len(data), end.events + events, record.crc32c(data, end.crc)))

    def grown(self, end: Boundary) -> None:
        """The storage holds whole records up to ``end``."""
        with self._lock:
            self.end = end
            # Boundaries closer together than this are of no use, except the last one.
            known = self._boundaries
            if len(known) > 1 and known[-1].bytes - known[-2].bytes < _BOUNDARY_SPACING:
                known[-1] = self.end
            else:
                known.append(self.end)

    def seal(self, state: State) -> None:
        """Nothing will be added any more."""
        self.state = state

    @property
    def sealed(self) -> bool:
        """Whether nothing will be added any more."""
        return self.state is not State.LIVE

    def next_boundary(self, limit: int) -> Boundary:
        """The furthest boundary at most ``limit`` bytes past what is stored, and at least one further.

        The record that opens the file does not count as one: it never goes alone while others wait.
        """
        with self._lock:
            chosen = self.stored
            least = max(self.stored.bytes, self.begin.bytes)
            for boundary in self._boundaries:
                if boundary.bytes <= self.stored.bytes:
                    continue
                if chosen.bytes > least and boundary.bytes - self.stored.bytes > limit:
                    break
                chosen = boundary
            return chosen

    def boundary_at(self, length: int) -> Boundary | None:
        """The boundary at ``length`` bytes; None where the log has none there or can no longer tell."""
        if length == 0:
            return Boundary()
        with self._lock:
            known = (self.stored, self.begin, self.end, *self._boundaries)
            found = next((boundary for boundary in known if boundary.bytes == length), None)
        if found or self.storage.first > 0 or length > self.end.bytes:
            return found
        data = self.storage.read(0, length)
        end, records = record.whole_records(data)
        return Boundary(length, records - 1, record.crc32c(data)) if end == length else None

    def acknowledge(self, boundary: Boundary, *, keep: int) -> None:
        """S3 holds everything up to ``boundary``; fewer than ``keep`` bytes in all stay at hand."""
        with self._lock:
            self.stored = boundary
            while self._boundaries and self._boundaries[0].bytes < boundary.bytes:
                self._boundaries.popleft()
        if boundary.bytes >= keep:
            self.storage.discard(boundary.bytes)


class EventLog:
    """Items in, event files out. Encodes, frames, rolls, and stops at its limit; knows nothing of S3.

    ``new_file`` makes an empty file given its number in the log. Methods may be called from any thread.
    """

    def __init__(
        self,
        new_file: Callable[[int], LogFile],
        *,
        roll_size: float,
        limit: float,
        report: Callable[[BucketboardError], None],
        files: Iterable[LogFile] = (),
    ) -> None:
        self.files: deque[LogFile] = deque(files)
        self.roll_size = roll_size
        self.dropped = 0
        self._new_file = new_file
        self._limit = limit
        self._report = report
        self._finished = Mark()
        self._finished_stored = Mark()
        self._sequence = len(self.files)
        self._dropped_at = -1
        self._dividing: tuple[str, ...] = ()
        """The log ids of the files whose records are being moved."""
        self._encode = ScalarEncoder().record
        self._first_values = FirstValues()
        self._lock = threading.RLock()

    def write(self, items: Iterable[Item]) -> None:
        """Append items in order. Never raises: what can't be encoded or kept is counted and reported."""
        with self._lock:
            pending: list[bytes] = []
            file = self._current()
            size = file.end.bytes if file else 0
            room = self._room(file)
            for item in items:
                try:
                    data = self._record(item)
                except Exception as error:
                    self.dropped += 1
                    self._report(_unencodable(item, error))
                    continue
                if len(data) > room:
                    self._drop()
                    self._first_values.new_file()  # what was dropped may have held a tag's metadata
                    continue
                if file is None or (size + len(data) > self.roll_size and size > file.begin.bytes):
                    if file is not None:
                        self._commit(file, pending)
                        file.seal(State.ROLLED)
                    file = self._begin_file()
                    size = file.end.bytes
                    data = self._record(item)
                pending.append(data)
                size += len(data)
                room -= len(data)
            if file is not None:
                self._commit(file, pending)

    def _record(self, item: Item) -> bytes:
        if type(item) is tuple:
            return self._encode(*item)
        return record.frame(self._first_values.complete(item))  # type: ignore[arg-type]

    def _room(self, file: LogFile | None) -> float:
        """The bytes that may be added: within the limit, and few in memory while a disk refuses them."""
        room = self._limit - self.backlog.bytes
        unwritten = file.end.bytes - file.storage.written if file else 0
        return min(room, _MOST_UNWRITTEN - unwritten) if unwritten else room

    def _commit(self, file: LogFile, pending: list[bytes]) -> None:
        if pending:
            file.append(b"".join(pending), len(pending))
            pending.clear()

    def _drop(self) -> None:
        self.dropped += 1
        stored = self.stored.bytes
        if stored > self._dropped_at:  # reported once, until S3 takes something again
            self._dropped_at = stored
            self._report(
                DroppedError(
                    f"{self._limit:,} bytes wait for S3, as much as may be kept; newest events are dropped",
                    hint="mend the connection to S3, or give a larger log_limit=",
                )
            )

    def _current(self) -> LogFile | None:
        return self.files[-1] if self.files and not self.files[-1].sealed else None

    def _begin_file(self) -> LogFile:
        self._first_values.new_file()
        file = self._new_file(self._sequence)
        if self._dividing:
            file.storage.note(instead_of=self._dividing)
        self._sequence += 1
        self.files.append(file)
        return file

    def open_file(self) -> LogFile:
        """The file that grows, begun now if there is none."""
        with self._lock:
            return self._current() or self._begin_file()

    def seal(self, state: State) -> None:
        """Seal the file that grows, if any: later events begin another."""
        with self._lock:
            file = self._current()
            if file is not None:
                file.seal(state)

    def finish(self, file: LogFile) -> None:
        """S3 has the whole of the oldest file, or never will have more of it."""
        with self._lock:
            file.storage.remove()  # first: who sees that all is done may end the process
            self.files.remove(file)
            self._finished += file.end.mark
            self._finished_stored += file.stored.mark

    def divide(self) -> None:
        """Give everything that is not stored files of its own, none longer than the roll size.

        What the oldest file has in S3, which must be known, stays a finished object; the records behind it
        move to new files. Killed at any moment, the spool has each record in a file that counts, once.

        Raises:
            UnavailableError: the disk does not take or give the bytes; nothing has changed.
        """
        with self._lock:
            old = list(self.files)
            limit, self._limit = self._limit, float("inf")  # these bytes are within it already
            self._dividing = tuple(file.log_id for file in old)
            self.files.clear()
            try:
                for file in old:
                    self._learn_tags(file)
                    moved = file.storage.read(file.stored.bytes, file.end.bytes)
                    skip = 0 if file.stored.bytes else file.begin.bytes
                    self.write([entry.payload for entry in record.scan(moved, skip)])
                    if any(file.storage.written < file.end.bytes for file in self.files):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except Exception as error:
                for file in self.files:
                    file.storage.remove()
                self.files = deque(old)
                self._first_values.new_file()
                if not isinstance(error, OSError):
                    raise
                raise UnavailableError(
                    f"what waits for S3 can't be moved to smaller files: {error}",
                    hint="make room where the spool lies; what is there is kept",
                ) from error
            finally:
                self._limit, self._dividing = limit, ()
            for file in old:  # from the first one's end on, the new files count for whoever recovers them
                file.storage.remove()
                self._finished += file.stored.mark
                self._finished_stored += file.stored.mark
            if old and old[-1].sealed:
                self.seal(old[-1].state)

    def _learn_tags(self, file: LogFile) -> None:
        """Take the tags' metadata from what is stored: of a file found in the spool it is not known yet."""
        if file.storage.first == 0:
            for entry in record.scan(file.storage.read(0, file.stored.bytes)):
                self._first_values.complete(entry.payload)

    @property
    def empty(self) -> bool:
        """Whether no file is left; never between two steps of a change."""
        with self._lock:
            return not self.files

    @property
    def logged(self) -> Mark:
        """Everything in the log, with what was finished."""
        with self._lock:
            return sum((file.end.mark for file in self.files), self._finished)

    @property
    def stored(self) -> Mark:
        """Everything that S3 acknowledged."""
        with self._lock:
            return sum((file.stored.mark for file in self.files), self._finished_stored)

    @property
    def written(self) -> int:
        """Bytes that a crash of the process would leave (in memory: all of them)."""
        with self._lock:
            return sum((file.storage.written for file in self.files), self._finished.bytes)

    @property
    def backlog(self) -> Mark:
        """What is in the log and not acknowledged."""
        with self._lock:
            return sum((file.end.mark - file.stored.mark for file in self.files), Mark())

    @property
    def pressing(self) -> bool:
        """Whether a quarter of what may wait for S3 does so, and waiting longer could cost events."""
        return self.backlog.bytes * 4 > self._limit

    def close(self) -> None:
        """Let go of the files, keeping in the spool what is not stored."""
        with self._lock:
            for file in self.files:
                file.storage.close()


def _unencodable(item: Item, error: Exception) -> BucketboardError:
    tag = item[0] if isinstance(item, tuple) else "an event"
    failure = InvalidError(f"{tag!r} can't be encoded: {error}", hint="tags are text, values numbers")
    failure.__cause__ = error
    return failure
