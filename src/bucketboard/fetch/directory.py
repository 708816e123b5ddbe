"""The directory that a pull writes into, and nothing outside of it.

Every file is reached from the directory's own descriptor, component by component and never through a symbolic
link, so that neither a key nor a link that somebody left there leads elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from bucketboard.errors import InvalidError, UnavailableError
from bucketboard.fetch.keys import PATH_BYTES
from bucketboard.selection import HIDDEN

__all__ = ["TEMPORARY", "InTheWay", "PulledDirectory"]

TEMPORARY = f"{HIDDEN}-pull"
"""Where files lie until they are whole; removed at the end."""

_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FILE = _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class InTheWay(Exception):
    """Something stands where a file or directory has to be; the message says what."""


class PulledDirectory:
    """An open target directory, made if need be; with ``lock``, nobody else pulls into it meanwhile.

    Raises:
        InvalidError: it is no directory, or can't be made.
        UnavailableError: another pull writes to it.
    """

    def __init__(self, path: str | os.PathLike[str], *, lock: bool = True) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._root = os.open(self.path, _DIRECTORY)
        except OSError as error:
            raise InvalidError(
                f"can't pull into {os.fspath(path)!r}: {error.strerror}", hint="name a directory to pull into"
            ) from error
        self._temporary = -1
        self._making = threading.Lock()
        if lock:
            try:
                self._lock()
            except BaseException:
                os.close(self._root)
                raise

    def _lock(self) -> None:
        import fcntl

        try:
            fcntl.flock(self._root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnavailableError(
                f"another pull writes to {str(self.path)!r}", hint="wait for it, or name another directory"
            ) from error
        except OSError:
            pass  # some network file systems have no locks

    @property
    def room(self) -> int:
        """How many bytes a path below may have."""
        return PATH_BYTES - 1 - len(os.fsencode(os.path.abspath(self.path)))

    def close(self) -> None:
        """Let go of it, and remove the place for unfinished files if there are none."""
        if self._temporary >= 0:
            os.close(self._temporary)
            self._temporary = -1
            with contextlib.suppress(OSError):
                os.rmdir(TEMPORARY, dir_fd=self._root)
        os.close(self._root)

    def folding(self) -> Callable[[str], str] | None:
        """What two names are the same file by here, None where they never are."""
        probe = f"{HIDDEN}-probe-{uuid.uuid4().hex}-\u00e9"
        try:
            os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _FILE, 0o600, dir_fd=self._root))
        except OSError:
            return None  # whatever is wrong will be said of the files
        try:
            by_case = self._is_there(probe.upper())
            by_form = self._is_there(unicodedata.normalize("NFD", probe))
        finally:
            os.unlink(probe, dir_fd=self._root)
        if by_case and by_form:
            return lambda path: unicodedata.normalize("NFD", path.casefold())
        if by_case:
            return str.casefold
        return (lambda path: unicodedata.normalize("NFD", path)) if by_form else None

    def _is_there(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._root, follow_symlinks=False)
        except OSError:
            return False
        return True

    @contextlib.contextmanager
    def _parent(self, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
        """The descriptor of the directory that ``path`` is in, and the name in it."""
        *parts, name = path.split("/")
        directory = os.dup(self._root)
        try:
            for depth, part in enumerate(parts):
                try:
                    below = self._descend(part, directory, make)
                except OSError as error:
                    if error.errno in (errno.ELOOP, errno.ENOTDIR):
                        found = self._kind(part, directory)
                        where = "/".join(parts[: depth + 1])
                        raise InTheWay(f"{found} stands at {where!r}, where a directory is needed") from error
                    raise
                os.close(directory)
                directory = below
            yield directory, name
        finally:
            os.close(directory)

    def _descend(self, name: str, directory: int, make: bool) -> int:
        try:
            return os.open(name, _DIRECTORY | _NOFOLLOW, dir_fd=directory)
        except FileNotFoundError:
            if not make:
                raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=directory)
        return os.open(name, _DIRECTORY | _NOFOLLOW, dir_fd=directory)

    def _kind(self, name: str, directory: int) -> str:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            return "a symbolic link"
        if stat.S_ISDIR(mode):
            return "a directory"
        return "a file" if stat.S_ISREG(mode) else "a special file"

    def stat(self, path: str) -> os.stat_result | None:
        """What a regular file says of itself; None where there is nothing.

        Raises:
            InTheWay: something else is there, or on the way there.
        """
        try:
            with self._parent(path, make=False) as (directory, name):
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode):
                    raise InTheWay(f"{self._kind(name, directory)} stands there")
                return found
        except FileNotFoundError:
            return None

    def open(self, path: str, flags: int) -> int:
        """A descriptor of an existing regular file."""
        with self._parent(path, make=False) as (directory, name):
            try:
                file = os.open(name, flags | _FILE, dir_fd=directory)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                    raise InTheWay(f"{self._kind(name, directory)} stands there") from error
                raise
            if not stat.S_ISREG(os.fstat(file).st_mode):
                os.close(file)
                raise InTheWay("no regular file stands there")
            return file

    def temporary(self, name: str) -> int:
        """A temporary file, read and write, with what an earlier pull left in it."""
        with self._making:
            if self._temporary < 0:
                self._temporary = self._descend(TEMPORARY, self._root, True)
        return os.open(name, os.O_RDWR | os.O_CREAT | _FILE, 0o666, dir_fd=self._temporary)

    def open_temporary(self, name: str) -> int:
        """A temporary file that is there, to read."""
        return os.open(name, os.O_RDONLY | _FILE, dir_fd=self._temporary)

    def discard(self, name: str) -> None:
        """Remove a temporary file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._temporary)

    def sweep(self, keep: set[str]) -> None:
        """Remove what earlier pulls left, but for temporary files whose names begin so up to a dash."""
        with contextlib.suppress(OSError):
            if self._temporary < 0:
                self._temporary = os.open(TEMPORARY, _DIRECTORY | _NOFOLLOW, dir_fd=self._root)
            for name in os.listdir(self._temporary):
                if name.partition("-")[0] not in keep:
                    os.unlink(name, dir_fd=self._temporary)

    def settle(self, name: str, path: str) -> None:
        """Put a temporary file at ``path`` at once, in place of the regular file there, if there is one."""
        with self._parent(path, make=True) as (directory, last):
            try:
                mode = os.stat(last, dir_fd=directory, follow_symlinks=False).st_mode
            except FileNotFoundError:
                mode = stat.S_IFREG
            if not stat.S_ISREG(mode):
                raise InTheWay(f"{self._kind(last, directory)} stands there")
            os.replace(name, last, src_dir_fd=self._temporary, dst_dir_fd=directory)
