"""What earlier replications of a directory sent, so that what is unchanged need not be looked at again.

A cache and nothing more: anyone may delete it, and what it says is used only where the bucket confirms the
ETag.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
import time
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from bucketboard.home import cache_directory
from bucketboard.replication.log import State

__all__ = ["Cache", "Row", "default_path"]

_VERSION = 1
_FLUSH_SECONDS = 1.0
_STATES = {state.value for state in State}


@dataclass(frozen=True, slots=True)
class Row:
    """The object with ``etag`` holds the first ``length`` bytes of a file, whose CRC32C is ``crc``.

    The file then had this ``inode``, ``size`` and ``mtime_ns`` (0: it may have changed since in the same tick
    of the clock). ``whole`` is the end of its last whole record. ``etag`` "" : not known. ``strays``: a
    multipart upload was begun.
    """

    inode: int = 0
    size: int = 0
    mtime_ns: int = 0
    etag: str = ""
    length: int = 0
    crc: int = 0
    whole: int = 0
    log_id: str = ""
    state: str = "live"
    strays: bool = False


def default_path(*identity: str) -> Path | None:
    """The file of the replication that ``identity`` (directory, endpoint, URL) names; None without a home."""
    digest = hashlib.sha256("\0".join(identity).encode(errors="surrogateescape")).hexdigest()[:32]
    try:
        return cache_directory() / "sync" / f"{digest}.sqlite3"
    except OSError:
        return None


class Cache:
    """Rows by path, in memory and in a file. A file that can't be used is done without."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.trouble = ""
        """Why nothing is remembered, if so."""
        self.rows: dict[str, Row] = {}
        self.found = False
        """Whether there was a file to begin with."""
        self._changed: dict[str, Row | None] = {}
        self._flushed = time.monotonic()
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        if path is None:
            self.trouble = "the user has no home directory"
            return
        try:
            self._open(path)
        except (OSError, sqlite3.OperationalError) as error:  # no room, no permission, held by another
            self._abandon(error)
        except sqlite3.DatabaseError:  # of another version, or damaged: begin anew
            self._discard()
            self.rows = {}
            try:
                self._open(path)
            except (OSError, sqlite3.Error) as again:
                self._abandon(again)

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = self._connection = sqlite3.connect(path, timeout=2.0, check_same_thread=False)
        [version] = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"version {version}")
        names = [entry.name for entry in fields(Row)]
        connection.execute("PRAGMA synchronous=OFF")  # a power cut may cost the cache, and nothing else
        connection.execute(f"CREATE TABLE IF NOT EXISTS files (path PRIMARY KEY, {', '.join(names)})")
        connection.execute(f"PRAGMA user_version={_VERSION}")
        connection.commit()
        connection.text_factory = lambda text: text.decode(errors="replace")
        rows = connection.execute(f"SELECT path, {', '.join(names)} FROM files")  # noqa: S608
        for path, *values, strays in rows:
            row = replace(Row(*values), strays=bool(strays))
            if isinstance(path, str) and _makes_sense(row):
                self.rows[path] = row
        self.found = version == _VERSION

    def put(self, path: str, row: Row, *, now: bool = False) -> None:
        """Remember a row; ``now``: before going on, lest it be lost with the process."""
        with self._lock:
            self.rows[path] = self._changed[path] = row
            if now or time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._flush()

    def remove(self, path: str) -> None:
        """Forget a row."""
        with self._lock:
            if self.rows.pop(path, None):
                self._changed[path] = None

    def close(self) -> None:
        """Write what has changed, and let go of the file."""
        with self._lock:
            self._flush()
            self._abandon()

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        changed, self._changed = self._changed, {}
        if self._connection is None or not changed:
            return
        marks = ", ".join("?" * (len(fields(Row)) + 1))
        try:
            with self._connection as transaction:
                transaction.executemany(
                    "DELETE FROM files WHERE path = ?", [(p,) for p, row in changed.items() if not row]
                )
                transaction.executemany(
                    f"INSERT OR REPLACE INTO files VALUES ({marks})",  # noqa: S608
                    [(path, *astuple(row)) for path, row in changed.items() if row],
                )
        except sqlite3.OperationalError as error:
            self._abandon(error)
        except sqlite3.Error:  # damaged where it was not read before
            self._discard()

    def _discard(self) -> None:
        self._abandon()
        with contextlib.suppress(OSError):
            if self._path is not None:
                self._path.unlink(missing_ok=True)

    def _abandon(self, why: Exception | None = None) -> None:
        if why is not None:
            self.trouble = f"{self._path}: {getattr(why, 'strerror', None) or why}"
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _makes_sense(row: Row) -> bool:
    """Whether it may be what was written: a database does not notice that values were damaged."""
    lengths = (row.inode, row.size, row.length, row.crc, row.whole)
    return (
        all(type(length) is int and length >= 0 for length in lengths)
        and type(row.mtime_ns) is int
        and type(row.etag) is type(row.log_id) is str
        and row.state in _STATES
    )
