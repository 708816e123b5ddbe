"""The files of a log directory at one moment."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bucketboard.events.filename import is_event_file
from bucketboard.selection import Selection

__all__ = ["Found", "Tree"]

_MAX_KEY_BYTES = 1024
_INODE_BITS = (1 << 63) - 1  # as many as a database column has


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file; ``path`` is relative, with slashes. Equal ones most likely hold the same bytes."""

    path: str
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> Found:
        """From what the system says of a file."""
        return cls(path, status.st_ino & _INODE_BITS, status.st_size, status.st_mtime_ns)


class Tree:
    """A directory whose files take part in a replication if ``wanted`` says so.

    Directories that it leaves out are not read. Symbolic links are followed as long as they stay inside;
    ``refuse`` is told of what can't take part, and why, in words that can be printed. ``key_bytes`` is the
    length of the prefix that the paths are appended to.
    """

    def __init__(
        self,
        root: Path,
        wanted: Selection,
        refuse: Callable[[str, str], None],
        *,
        key_bytes: int = 0,
    ) -> None:
        self.root = root
        self._wanted = wanted
        self._refuse = refuse
        self._room = _MAX_KEY_BYTES - key_bytes
        self.missed: dict[str, str] = {}
        """What the last scan found and could not take in, and why."""

    def scan(self) -> dict[str, Found]:
        """All files that take part, by path; empty while there is no such directory."""
        self.missed = {}
        real = os.path.realpath(self.root)
        files: dict[str, Found] = {}
        waiting: list[tuple[str, str, tuple[str, ...]]] = []
        if os.path.isdir(real):
            waiting.append((real, "", (real,)))
        while waiting:
            directory, base, chain = waiting.pop()
            below: list[tuple[str, str, tuple[str, ...]]] = []
            for entry in self._entries(directory, base):
                path = f"{base}/{entry.name}" if base else entry.name
                try:
                    found = self._take_in(entry, path, chain)
                except FileNotFoundError:
                    pass  # gone since the directory was read
                except OSError as error:
                    self._miss(path, f"can't be read: {error.strerror}")
                else:
                    if isinstance(found, Found):
                        files[path] = found
                    elif found:
                        below.append((found, path, (*chain, found)))
            waiting += reversed(below)
        return files

    def look(self, path: str) -> Found | None:
        """The file at ``path`` now; None where there is none that a scan would find."""
        if not self._wanted(path) or self._unfit(path):
            return None
        at = os.path.realpath(self.root)
        chain: list[str] = []
        try:
            for part in path.split("/"):
                if part in ("", ".", "..") or at in chain:
                    return None
                chain.append(at)
                at = _below(at, part)
                if os.path.islink(at):
                    at = os.path.realpath(at)
                    if not _is_inside(at, chain[0]):
                        return None
            status = os.stat(at)
        except OSError:
            return None
        return Found.of(path, status) if stat.S_ISREG(status.st_mode) else None

    def event_files_beside(self, path: str) -> set[str]:
        """The paths in the directory of ``path`` that are named like event files."""
        base, slash, _ = path.rpartition("/")
        try:
            names = os.listdir(self.root / base)
        except OSError:
            return set()
        return {f"{base}{slash}{name}" for name in names if is_event_file(name)}

    def _entries(self, directory: str, base: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError | NotADirectoryError)
            if not gone or not base:
                self._miss(base or ".", f"can't be read: {error.strerror}")
            return []

    def _take_in(self, entry: os.DirEntry[str], path: str, chain: tuple[str, ...]) -> Found | str | None:
        """A file, the real path of a directory to go down into, or nothing.

        ``chain``: the real paths of the directories on the way down, to notice links that lead back.
        """
        if self._wanted.leaves_out(path):
            return None
        target = _below(chain[-1], entry.name)
        if entry.is_symlink():
            target = os.path.realpath(target)
            if not _is_inside(target, chain[0]):
                self._refuse(_shown(path), "a link that leads out of the directory")
                return None
            if not os.path.exists(target):
                self._refuse(_shown(path), "a link to nothing")
                return None
        status = os.stat(target)
        if stat.S_ISDIR(status.st_mode):
            if target not in chain:
                return target
            self._refuse(_shown(path), "a link that leads back to a directory it is in")
        elif not self._wanted(path):
            pass
        elif not stat.S_ISREG(status.st_mode):
            self._refuse(_shown(path), "neither a file nor a directory")
        elif why := self._unfit(path):
            self._miss(path, why)
        else:
            return Found.of(path, status)
        return None

    def _unfit(self, path: str) -> str:
        try:
            length = len(path.encode())
        except UnicodeEncodeError:
            return "its name is not valid UTF-8, which keys must be"
        return f"its key would have more than {_MAX_KEY_BYTES} bytes" if length > self._room else ""

    def _miss(self, path: str, why: str) -> None:
        self.missed[_shown(path)] = why


def _below(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"


def _is_inside(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root.rstrip('/')}/")


def _shown(path: str) -> str:
    """A path that can be printed: names need not be valid UTF-8."""
    return path.encode(errors="backslashreplace").decode()
