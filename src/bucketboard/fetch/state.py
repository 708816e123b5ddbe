"""What earlier pulls brought, remembered apart from the files: a cache that may be deleted at any time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from bucketboard.home import cache_directory

__all__ = ["INODES", "Pulled", "PulledState"]

INODES = (1 << 63) - 1
"""What SQLite can hold of an inode's number."""
_VERSION = 1
_PENDING = 500
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS pulled (path TEXT PRIMARY KEY, etag TEXT, size INTEGER, inode INTEGER, "
    "mtime_ns INTEGER, crc INTEGER) WITHOUT ROWID"
)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A file as it was when it was pulled: of which object, and what the file system said of it."""

    etag: str
    size: int
    inode: int
    mtime_ns: int
    crc: int
    """CRC32C of its bytes."""

    def is_still(self, found: os.stat_result) -> bool:
        """Whether nobody has touched the file since."""
        return (found.st_size, found.st_ino & INODES, found.st_mtime_ns) == (
            self.size,
            self.inode,
            self.mtime_ns,
        )


class PulledState:
    """The cache of one source and target. Whatever is wrong with it costs requests, never correctness."""

    def __init__(self, source: str, target: Path) -> None:
        name = hashlib.sha256(f"{source}\0{os.path.realpath(target)}".encode(errors="surrogateescape"))
        self._lock = threading.Lock()
        self._pending: dict[str, Pulled] = {}
        self._known: dict[str, Pulled] = {}
        self._database: sqlite3.Connection | None = None
        try:
            path = cache_directory() / "pull" / f"{name.hexdigest()[:32]}.sqlite"
        except OSError:
            return
        for attempt in range(2):
            try:
                self._open(path)
                return
            except (sqlite3.Error, OSError, TypeError):
                self._close()
                if attempt == 0:  # damaged, perhaps
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, timeout=5, check_same_thread=False)
        [(version,)] = self._database.execute("PRAGMA user_version").fetchall()
        if version not in (0, _VERSION):
            self._database.execute("DROP TABLE IF EXISTS pulled")
        self._database.execute(_SCHEMA)
        self._database.execute(f"PRAGMA user_version = {_VERSION}")
        self._database.execute("PRAGMA synchronous = OFF")
        rows = self._database.execute("SELECT path, etag, size, inode, mtime_ns, crc FROM pulled")
        self._known = {path: Pulled(*rest) for path, *rest in rows}

    def get(self, path: str) -> Pulled | None:
        """What was remembered of ``path``."""
        return self._known.get(path)

    def put(self, path: str, pulled: Pulled) -> None:
        """Remember it; written down in batches."""
        with self._lock:
            self._known[path] = self._pending[path] = pulled
            if len(self._pending) >= _PENDING:
                self._write()

    def flush(self) -> None:
        """Write down what is remembered so far."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        rows = [
            (path, each.etag, each.size, each.inode, each.mtime_ns, each.crc)
            for path, each in self._pending.items()
        ]
        self._pending.clear()
        if self._database is not None and rows:
            try:
                with self._database:
                    self._database.executemany(
                        "INSERT OR REPLACE INTO pulled VALUES (?, ?, ?, ?, ?, ?)", rows
                    )
            except (sqlite3.Error, OverflowError):
                self._close()

    def _close(self) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def close(self) -> None:
        """Write down what is left."""
        self.flush()
        self._close()
