"""What is below a prefix of a bucket: the last good listing, and the bytes of its objects."""

from __future__ import annotations

import struct

from bucketboard.errors import BucketboardError, ClosedError, CorruptDataError
from bucketboard.events.record import HEADER_BYTES, OVERHEAD_BYTES, scan
from bucketboard.serve.tree import Tree
from bucketboard.store.bucket import Bucket
from bucketboard.store.url import S3Url

__all__ = ["Prefix"]

_length = struct.Struct("<Q").unpack_from


class Prefix:
    """A prefix as its last good listing shows it.

    Only :meth:`refresh` lists, so everything that is asked between two refreshes sees one state and costs
    no request. A listing that fails raises and changes nothing: it must never look like an empty bucket.
    """

    def __init__(self, url: S3Url, bucket: Bucket) -> None:
        self.url = url
        self.tree = Tree({})
        self.failures: dict[str, BucketboardError] = {}
        """Objects whose last read failed."""
        self.forgotten: frozenset[str] = frozenset()
        """Directories that seem deleted to TensorBoard, so that it lets go of what it read there."""
        self._closed = False
        self._bucket = bucket
        self._ends: dict[str, tuple[int, str]] = {}
        """Offset and ETag where an object had no further whole record."""

    def refresh(self) -> frozenset[str]:
        """List everything anew; gives the runs that lost an event file since the last listing."""
        start = len(self.url.prefix)
        listed = self._bucket.list(self.url.prefix).objects
        before, self.tree = self.tree, Tree({info.key[start:]: info for info in listed})
        # Copies, because TensorBoard's plugins read in threads of their own.
        self._ends = {path: end for path, end in self._ends.copy().items() if path in self.tree.files}
        self.failures = {path: e for path, e in self.failures.copy().items() if path in self.tree.files}
        return before.lost_runs(self.tree)

    def close(self) -> None:
        """Read nothing more: what reads in another thread ends soon."""
        self._closed = True

    def read(self, path: str, offset: int, size: int | None) -> bytes:
        """Up to ``size`` bytes of a file from ``offset`` (None: to its end)."""
        if not self._may_have_more(path, offset):
            return b""
        return self._get(path, offset, size)[0]

    def read_events(self, path: str, offset: int, size: int) -> bytes:
        """Whole records of an event file from ``offset``, about ``size`` bytes of them.

        Nothing, while there is no further whole record: a record that ends too early is the normal end of a
        growing file. Also nothing past a corrupt one, which is kept in :attr:`failures`.
        """
        if not self._may_have_more(path, offset):
            return b""
        while True:
            data, total, etag = self._get(path, offset, size)
            end = self._whole_records(path, data)
            all_read = offset + len(data) >= total
            if end or all_read or path in self.failures:
                break
            needed = OVERHEAD_BYTES + _length(data)[0] if len(data) >= HEADER_BYTES else OVERHEAD_BYTES
            if offset + needed > total:
                all_read = True
                break
            size = needed
        if all_read or path in self.failures:
            self._ends[path] = (offset + end, etag)
        return data[:end]

    def _whole_records(self, path: str, data: bytes) -> int:
        end = 0
        try:
            for record in scan(data):
                end = record.offset + record.length
        except CorruptDataError as error:
            self.failures[path] = error
        return end

    def _may_have_more(self, path: str, offset: int) -> bool:
        """Whether to ask for the bytes past ``offset``, as far as the listing tells."""
        listed = self.tree.files.get(path)
        return listed is not None and listed.size > offset and self._ends.get(path) != (offset, listed.etag)

    def _get(self, path: str, offset: int, size: int | None) -> tuple[bytes, int, str]:
        """Bytes, with the object's size and ETag."""
        if self._closed:
            raise ClosedError(f"{self.url} is not served any more")
        stop = None if size is None else offset + size
        try:
            data, info = self._bucket.get(self._key(path), offset, stop)
        except BucketboardError as error:
            self.failures[path] = error
            raise
        self.failures.pop(path, None)
        return data, info.size, info.etag

    def _key(self, path: str) -> str:
        return f"{self.url.prefix}{path}"
