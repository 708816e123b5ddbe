"""Where event files come from: a prefix of a bucket, or a directory read as if it were one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from bucketboard.errors import InvalidError, Reason, UnavailableError
from bucketboard.journal import list_visible
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.fast import FastBucket
from bucketboard.store.url import S3Url

__all__ = ["BucketSource", "DirectorySource", "Source"]


class Source(Protocol):
    """Files below one place. Paths are relative to it, with slashes."""

    @property
    def location(self) -> str:
        """What the user calls it."""

    def files(self) -> dict[str, ObjectInfo]:
        """All files at this moment, by path. Raises rather than leave any out."""

    def get(self, path: str, start: int = 0, stop: int | None = None) -> tuple[bytes, ObjectInfo]:
        """Bytes ``start`` to ``stop`` (exclusive; None: to the end) and what the whole file is like."""


class BucketSource:
    """What is below a prefix; each call is one request, ``files`` one for each thousand keys."""

    def __init__(self, url: S3Url, bucket: Bucket | FastBucket) -> None:
        self.url = url
        self.bucket = bucket
        self.overhear: Callable[[str, int, bytes, ObjectInfo], None] | None = None
        """Told what is read: path, where it begins, the bytes, and what the object is like."""

    @property
    def location(self) -> str:
        """The prefix's URL."""
        return str(self.url)

    @property
    def identity(self) -> str:
        """What tells the prefix from all others."""
        return f"{self.bucket.endpoint} {self.url}"

    def files(self) -> dict[str, ObjectInfo]:
        """All objects below the prefix but those that a change of runs, under way, hides."""
        start = len(self.url.prefix)
        return {info.key[start:]: info for info in list_visible(self.bucket, self.url)}

    def get(self, path: str, start: int = 0, stop: int | None = None) -> tuple[bytes, ObjectInfo]:
        """One ranged GetObject."""
        data, info = self.bucket.get(f"{self.url.prefix}{path}", start, stop)
        if self.overhear:
            self.overhear(path, start, data, info)
        return data, info


class DirectorySource:
    """What is below a directory, links followed as TensorBoard does."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def location(self) -> str:
        """The directory as it was given."""
        return str(self._path)

    def files(self) -> dict[str, ObjectInfo]:
        """All files below the directory.

        Raises:
            UnavailableError: the directory is gone or can't be read.
        """
        found: dict[str, ObjectInfo] = {}
        try:
            self._walk(self._path, "", frozenset(), found)
        except OSError as error:
            raise UnavailableError(f"{self._path} can't be read: {error}") from error
        return found

    def _walk(
        self, directory: Path, prefix: str, above: frozenset[tuple[int, int]], found: dict[str, ObjectInfo]
    ) -> None:
        own = directory.stat()
        identity = (own.st_dev, own.st_ino)
        if identity in above:  # a link to a directory that it is in
            return
        try:
            entries = list(os.scandir(directory))
        except PermissionError:
            if not prefix:
                raise
            entries = []  # as TensorBoard does, the rest is shown
        for entry in entries:
            path = prefix + entry.name
            try:
                if entry.is_dir():
                    self._walk(Path(entry.path), f"{path}/", above | {identity}, found)
                elif entry.is_file():
                    found[path] = _info(path, entry.stat())
            except FileNotFoundError:
                continue  # removed while we look

    def get(self, path: str, start: int = 0, stop: int | None = None) -> tuple[bytes, ObjectInfo]:
        """Read a file.

        Raises:
            UnavailableError: it can't be read now.
            InvalidError: it may not be read.
        """
        try:
            with open(self._path / path, "rb") as file:
                info = _info(path, os.fstat(file.fileno()))
                file.seek(start)
                return file.read(-1 if stop is None else max(stop - start, 0)), info
        except FileNotFoundError as error:
            raise UnavailableError(f"{path} is gone", reason=Reason.NOT_FOUND) from error
        except PermissionError as error:
            raise InvalidError(f"{path} may not be read: {error}", reason=Reason.DENIED) from error
        except OSError as error:
            raise UnavailableError(f"{path} can't be read: {error}") from error


def _info(path: str, stat: os.stat_result) -> ObjectInfo:
    return ObjectInfo(path, stat.st_size, f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}")
