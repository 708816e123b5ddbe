"""The files of a log directory at one moment."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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

    Symbolic links are followed as long as they stay inside; ``refuse`` is told of what is left out, and why.
    ``key_bytes`` is the length of the prefix that the paths are appended to.
    """

    def __init__(
        self,
        root: Path,
        wanted: Callable[[str], bool],
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
        if not os.path.isdir(real):
            return {}
        return {found.path: found for found in self._walk(real, "", (real,))}

    def look(self, path: str) -> Found | None:
        """The file at ``path`` now; None where it needs a scan to tell, or does not take part."""
        if not self._wanted(path) or self._unfit(path):
            return None
        at = str(self.root)
        try:
            for part in path.split("/"):
                at = f"{at}/{part}"
                status = os.lstat(at)
        except OSError:
            return None
        return Found.of(path, status) if stat.S_ISREG(status.st_mode) else None

    def _walk(self, directory: str, base: str, chain: tuple[str, ...]) -> Iterator[Found]:
        """``chain``: the real paths of the directories on the way down, to notice links that lead back."""
        try:
            with os.scandir(directory) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._miss(base or ".", f"can't be read: {error.strerror}")
            return
        for entry in listed:
            path = f"{base}/{entry.name}" if base else entry.name
            try:
                yield from self._entry(entry, path, chain)
            except FileNotFoundError:
                pass  # gone since the directory was read
            except OSError as error:
                self._miss(path, f"can't be read: {error.strerror}")

    def _entry(self, entry: os.DirEntry[str], path: str, chain: tuple[str, ...]) -> Iterator[Found]:
        target = entry.path
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if not target.startswith(f"{chain[0].rstrip('/')}/") and target != chain[0]:
                self._refuse(path, "a link that leads out of the directory")
                return
            if not os.path.exists(target):
                self._refuse(path, "a link to nothing")
                return
        status = os.stat(target)
        if stat.S_ISDIR(status.st_mode):
            real = target if entry.is_symlink() else f"{chain[-1].rstrip('/')}/{entry.name}"
            if real in chain:
                self._refuse(path, "a link that leads back to a directory it is in")
                return
            yield from self._walk(target, path, (*chain, real))
        elif not self._wanted(path):
            return
        elif not stat.S_ISREG(status.st_mode):
            self._refuse(path, "neither a file nor a directory")
        elif why := self._unfit(path):
            self._miss(path, why)
        else:
            yield Found.of(path, status)

    def _unfit(self, path: str) -> str:
        try:
            length = len(path.encode())
        except UnicodeEncodeError:
            return "its name is not valid UTF-8, which keys must be"
        return f"its key would have more than {_MAX_KEY_BYTES} bytes" if length > self._room else ""

    def _miss(self, path: str, why: str) -> None:
        self.missed[path.encode(errors="backslashreplace").decode()] = why
