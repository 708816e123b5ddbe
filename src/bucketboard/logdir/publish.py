"""The index of what was replicated, made of the local files, so that nothing is fetched for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bucketboard.errors import Reason, UnavailableError
from bucketboard.events.filename import is_event_file
from bucketboard.logdir.cache import Row
from bucketboard.logdir.source import Source
from bucketboard.logdir.tree import Found
from bucketboard.replication.log import State
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.replication.replica import LogChanged
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.url import S3Url

__all__ = ["publish_index"]


def publish_index(
    root: Path, url: S3Url, bucket: Bucket, rows: Mapping[str, Row], user: Mapping[str, str]
) -> str:
    """Bring the index below ``url`` up to date with what ``rows`` say is stored; gives what it did.

    ``user`` are the user's own pairs on the objects.

    Raises:
        InvalidError: pyarrow is missing, or the index may not be written.
        BucketboardError: it did not work this time. Nothing but the index is the worse for it.
    """
    from bucketboard.index import BucketObjects, update

    report = update(_Replicated(root, url, bucket, rows, user), BucketObjects(bucket, url.prefix))
    return f"{report.rows:,} new values of {report.read:,} event files, {report.bytes_sent:,} bytes"


class _Replicated:
    """The objects below a prefix; those that are files here are read here, others not at all."""

    def __init__(
        self, root: Path, url: S3Url, bucket: Bucket, rows: Mapping[str, Row], user: Mapping[str, str]
    ) -> None:
        self._user = user
        self._root = root
        self._url = url
        self._bucket = bucket
        self._rows = {path: row for path, row in rows.items() if row.etag and is_event_file(path)}
        self._checked: dict[str, Found] = {}

    def files(self) -> dict[str, ObjectInfo]:
        """What the bucket has, by path."""
        start = len(self._url.prefix)
        found = {info.key[start:]: info for info in self._bucket.list(self._url.prefix).objects}
        etags = {path: info.etag for path, info in found.items()}
        self._rows = {path: row for path, row in self._rows.items() if etags.get(path) == row.etag}
        return found

    def get(self, path: str, start: int = 0, stop: int | None = None) -> tuple[bytes, ObjectInfo]:
        """Bytes of a file that is stored, and still begins with what was stored of it."""
        row = self._rows.get(path)
        if row is None:
            raise UnavailableError(f"{path} is not replicated from here", reason=Reason.NOT_FOUND)
        end = row.length if stop is None else min(stop, row.length)
        try:
            with Source(self._root, Found.of(path, os.stat(self._root / path))) as source:
                data = source.read(start, max(start, end))
                self._check(source, row)
        except OSError as error:
            raise UnavailableError(f"{path}: {error.strerror}", reason=Reason.NOT_FOUND) from error
        except LogChanged as error:
            raise UnavailableError(str(error), reason=Reason.NOT_FOUND) from error
        said = ObjectMetadata(row.log_id, "", row.length, 0, State(row.state), self._user)
        metadata = said.headers()
        return data, ObjectInfo(f"{self._url.prefix}{path}", row.length, row.etag, metadata=metadata)

    def _check(self, source: Source, row: Row) -> None:
        """Whether what was just read is what was stored: the file may have changed since it was sent."""
        found = source.found
        same = (found.inode, found.size, found.mtime_ns) == (row.inode, row.size, row.mtime_ns)
        if (same or self._checked.get(found.path) == found) and source.unchanged:
            return
        if source.crc(row.length) != row.crc:
            raise LogChanged(f"{found.path} does not begin with what was stored of it")
        self._checked[found.path] = found
