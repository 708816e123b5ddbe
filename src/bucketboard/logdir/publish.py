"""The index of what was replicated, made of the local files, so that nothing is fetched for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bucketboard.errors import Reason, UnavailableError
from bucketboard.events.filename import is_event_file
from bucketboard.logdir.cache import Row
from bucketboard.replication.log import State
from bucketboard.replication.metadata import ObjectMetadata
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

    def files(self) -> dict[str, ObjectInfo]:
        """What the bucket has, by path."""
        start = len(self._url.prefix)
        found = {info.key[start:]: info for info in self._bucket.list(self._url.prefix).objects}
        etags = {path: info.etag for path, info in found.items()}
        self._rows = {path: row for path, row in self._rows.items() if etags.get(path) == row.etag}
        return found

    def get(self, path: str, start: int = 0, stop: int | None = None) -> tuple[bytes, ObjectInfo]:
        """Bytes of a file that is stored."""
        row = self._rows.get(path)
        if row is None:
            raise UnavailableError(f"{path} is not replicated from here", reason=Reason.NOT_FOUND)
        end = row.length if stop is None else min(stop, row.length)
        try:
            with (self._root / path).open("rb") as file:
                file.seek(start)
                data = file.read(max(0, end - start))
        except OSError as error:
            raise UnavailableError(f"{path}: {error.strerror}", reason=Reason.NOT_FOUND) from error
        said = ObjectMetadata(row.log_id, "", row.length, 0, State(row.state), self._user)
        metadata = said.headers()
        return data, ObjectInfo(f"{self._url.prefix}{path}", row.length, row.etag, metadata=metadata)
