"""An index in a directory of this machine: where a viewer keeps its own."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bucketboard.errors import BucketboardError, InvalidError, Reason, UnavailableError
from bucketboard.home import cache_directory
from bucketboard.index.objects import Stored

__all__ = ["Directory", "local_index"]


class Directory:
    """The objects of an index as files. Several processes may use it at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, name: str, start: int = 0, stop: int | None = None) -> tuple[bytes, str]:
        """Read a file, or a part of it; the ETag is that of a whole one, else ""."""
        with self._errors(name), open(self._path / name, "rb") as file:
            file.seek(start)
            body = file.read(-1 if stop is None else max(stop - start, 0))
            return body, "" if start or stop is not None else _etag(body)

    def put(self, name: str, body: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        """Write a file so that readers see the old one or the new one."""
        path = self._path / name
        with self._errors(name):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock():
                if if_none_match and path.exists():
                    raise UnavailableError(f"{path} exists", reason=Reason.PRECONDITION)
                if if_match is not None and (not path.exists() or _etag(path.read_bytes()) != if_match):
                    raise UnavailableError(f"{path} has changed", reason=Reason.PRECONDITION)
                number, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
                try:
                    with open(number, "wb") as file:
                        file.write(body)
                    os.replace(temporary, path)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary)
                    raise
        return _etag(body)

    def list(self) -> list[Stored]:
        """All files."""
        found = []
        with self._errors(""):
            for path in self._path.rglob("*"):
                if path.is_file() and not path.name.startswith(".lock"):
                    stat = path.stat()
                    modified = datetime.datetime.fromtimestamp(stat.st_mtime, datetime.timezone.utc)
                    found.append(Stored(path.relative_to(self._path).as_posix(), stat.st_size, modified))
        return found

    def delete(self, name: str) -> None:
        """Remove a file."""
        with self._errors(name):
            (self._path / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with open(self._path / ".lock", "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except BucketboardError:
            raise
        except FileNotFoundError as error:
            raise UnavailableError(f"{self._path / name} does not exist", reason=Reason.NOT_FOUND) from error
        except PermissionError as error:
            raise InvalidError(f"{error}", reason=Reason.DENIED) from error
        except OSError as error:
            raise UnavailableError(f"{self._path / name}: {error}") from error


def _etag(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def local_index(location: str, limit: int, root: Path | None = None) -> Directory:
    """This machine's own index of ``location`` (any text that names it, such as endpoint and URL).

    Those of other locations that were not used for longest are removed until all are within ``limit`` bytes.
    """
    try:
        root = root or cache_directory() / "index"
        own = root / hashlib.sha256(location.encode()).hexdigest()[:32]
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.utime(own)
        _evict(root, own, limit)
    except OSError as error:
        raise UnavailableError(f"no index can be kept in {root or 'a cache of the user'}: {error}") from error
    return Directory(own)


def _evict(root: Path, own: Path, limit: int) -> None:
    sizes = {}
    for path in root.iterdir():
        if path.is_dir():
            sizes[path] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    total = sum(sizes.values())
    for path in sorted(sizes, key=lambda path: path.stat().st_mtime):
        if total <= limit:
            return
        if path != own or sizes[own] > limit:
            shutil.rmtree(path, ignore_errors=True)
            total -= sizes[path]
    own.mkdir(mode=0o700, exist_ok=True)
