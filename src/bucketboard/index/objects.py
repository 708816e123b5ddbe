"""What an index is built from and where it lies, as far as building and reading need them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Protocol

from bucketboard.store.bucket import Bucket, Content, ObjectInfo
from bucketboard.store.fast import FastBucket

__all__ = ["INDEX_DIRECTORY", "BucketObjects", "Objects", "Source", "Stored"]

INDEX_DIRECTORY = ".bucketboard/v1/"
"""Below the prefix that is indexed."""


class Source(Protocol):
    """Files below one place. Paths are relative to it, with slashes."""

    def files(self) -> dict[str, ObjectInfo]:
        """All files at this moment, by path. Raises rather than leave any out."""

    def get(self, path: str, start: int = 0, stop: int | None = None) -> tuple[bytes, ObjectInfo]:
        """Bytes ``start`` to ``stop`` (exclusive; None: to the end) and what the whole file is like."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object of an index: its name below the index's directory, bytes, and when it was written."""

    name: str
    size: int
    modified: datetime.datetime | None


class Objects(Protocol):
    """The objects of one index. Errors are those of the store: a false condition has Reason.PRECONDITION or
    CONFLICT, a missing object Reason.NOT_FOUND."""

    def get(self, name: str, start: int = 0, stop: int | None = None) -> tuple[bytes, str]:
        """Bytes, and the ETag."""

    def put(self, name: str, body: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        """Store it whole; gives the ETag."""

    def list(self) -> list[Stored]:
        """All objects of the index."""

    def delete(self, name: str) -> None:
        """Remove it; nothing happens if it is not there."""


class BucketObjects:
    """An index in the bucket, below ``prefix`` (which ends in a slash or is empty)."""

    def __init__(self, bucket: Bucket | FastBucket, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix + INDEX_DIRECTORY

    def get(self, name: str, start: int = 0, stop: int | None = None) -> tuple[bytes, str]:
        """One GetObject."""
        body, info = self._bucket.get(self._prefix + name, start, stop)
        return body, info.etag

    def put(self, name: str, body: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        """One PutObject."""
        kind = "application/json" if name.endswith(".json") else "application/vnd.apache.parquet"
        content = Content(kind, {})
        key = self._prefix + name
        return self._bucket.put(key, body, content, if_match=if_match, if_none_match=if_none_match).etag

    def list(self) -> list[Stored]:
        """One LIST for each thousand."""
        return [
            Stored(info.key[len(self._prefix) :], info.size, info.last_modified)
            for info in self._bucket.list(self._prefix).objects
        ]

    def delete(self, name: str) -> None:
        """One DeleteObject."""
        self._bucket.delete(self._prefix + name)
