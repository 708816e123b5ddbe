"""An event file made anew of records that exist already, and stored under the eyes of readers."""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from bucketboard.errors import CorruptDataError, UnavailableError
from bucketboard.events.record import crc32c
from bucketboard.replication.log import LogFile, State
from bucketboard.replication.replica import NameTaken, Replica, SegmentsNeeded
from bucketboard.replication.storage import FileStorage
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.capabilities import Capabilities

__all__ = ["NewFile"]


class NewFile:
    """A file under construction, kept on disk; a context manager, behind which nothing of it is left here."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="bucketboard-")
        self._file = LogFile(secrets.token_hex(16), FileStorage(Path(self._directory.name) / "events"))

    def __enter__(self) -> NewFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.storage.close()
        self._directory.cleanup()

    @property
    def size(self) -> int:
        """Bytes, so far."""
        return self._file.end.bytes

    def append(self, data: bytes, count: int) -> None:
        """Add ``count`` whole records.

        Raises:
            UnavailableError: the disk is full or broken.
        """
        self._file.append(data, count)
        storage = self._file.storage
        if storage.written < storage.size:
            raise UnavailableError(
                f"the file can't be written to {self._directory.name}", hint="make room there, or set TMPDIR"
            )

    def store(self, bucket: Bucket, key: str, user: Mapping[str, str], replaces: ObjectInfo | None) -> str:
        """Store it as ``key``, finished; gives the ETag. In place of ``replaces`` if that is still there.

        It is read back before this returns.

        Raises:
            FencedError: somebody else wrote to the object.
            CorruptDataError: what is stored is something else.
            BucketboardError: it could not be stored.
        """
        prefix, slash, name = key.rpartition("/")
        self._file.name = name
        self._file.seal(State.CLOSED)
        # Not found out but assumed: finding out writes a part of it first, which readers would see.
        can = Capabilities(put_conditions=True, complete_conditions=True)
        replica = Replica(bucket, prefix + slash, self._file, can, None, user, most=sys.maxsize)
        if replaces is not None:
            replica.resume(replaces.etag, State.CLOSED, ours=True)
        try:
            while replica.advance():
                pass
        except (NameTaken, SegmentsNeeded) as error:
            raise UnavailableError(f"s3://{bucket.name}/{key} could not be stored: {error}") from error
        pieces, info = bucket.stream(key)
        crc = size = 0
        for piece in pieces:
            crc, size = crc32c(bytes(piece), crc), size + len(piece)
        if (size, crc) != (self._file.end.bytes, self._file.end.crc):
            raise CorruptDataError(f"s3://{bucket.name}/{key} does not hold what was sent to it")
        return info.etag
