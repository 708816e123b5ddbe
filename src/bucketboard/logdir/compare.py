"""What an object holds, beside a local file: all of it, its beginning, or something else.

Objects of ours say it in their metadata. Those that another tool uploaded have an ETag, the MD5 of the object
or of its parts' MD5s unless it is encrypted (Amazon S3 User Guide, "Checking object integrity").
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass

from bucketboard.logdir.source import Source
from bucketboard.replication.log import State
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.replication.position import Boundary
from bucketboard.store.bucket import ObjectInfo

__all__ = ["Stored", "compare"]

_MD5 = re.compile(r'"?([0-9a-f]{32})(?:-(\d{1,5}))?"?')
_PART_SIZES = tuple(size << 20 for size in (8, 5, 15, 16, 10, 32, 50, 64, 100, 128))
"""The parts of: AWS CLI and boto3, MinIO and rclone, s3cmd, and what is often set."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The object with ``etag`` (None: there is none) is the file's first ``boundary.bytes`` bytes.

    ``replaces`` says why nothing of what the object holds can stay, which is the log ``found_log`` then.
    """

    etag: str | None
    boundary: Boundary
    log_id: str
    state: State = State.LIVE
    replaces: str = ""
    found_log: str = ""

    @classmethod
    def nothing(cls, etag: str | None = None, replaces: str = "", found_log: str = "") -> Stored:
        """No object, or one that is to be replaced."""
        return cls(etag, Boundary(), uuid.uuid4().hex, replaces=replaces, found_log=found_log)


def compare(source: Source, info: ObjectInfo) -> Stored:
    """What the object that a HEAD told of has of the file.

    Raises:
        LogChanged: the file is changing.
    """
    metadata = ObjectMetadata.parse(info.metadata)
    if metadata is not None and metadata.length == info.size:
        if info.size <= source.size and source.crc(info.size) == metadata.crc32c:
            boundary = Boundary(info.size, 0, metadata.crc32c)
            return Stored(info.etag, boundary, metadata.log_id, metadata.state)
        return Stored.nothing(info.etag, _difference(source, info), metadata.log_id)
    if info.size <= source.size and _same_md5(source, info.size, info.etag):
        boundary = Boundary(info.size, 0, source.crc(info.size))
        return Stored(info.etag, boundary, uuid.uuid4().hex)
    return Stored.nothing(info.etag, _difference(source, info))


def _difference(source: Source, info: ObjectInfo) -> str:
    if info.size > source.size:
        return f"the object has {info.size:,} bytes, the file {source.size:,}"
    return f"the object's {info.size:,} bytes are not how the file begins"


def _same_md5(source: Source, size: int, etag: str) -> bool:
    match = _MD5.fullmatch(etag)
    if match is None:
        return False
    if match[2] is None:
        return _md5(source, 0, size).hexdigest() == match[1]
    parts = int(match[2])
    for part_size in _PART_SIZES:
        if -(-size // part_size) == parts:
            edges = [*range(0, size, part_size), size]
            digests = [_md5(source, edges[n], edges[n + 1]).digest() for n in range(parts)]
            if hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest() == match[1]:
                return True
    return False


def _md5(source: Source, start: int, stop: int) -> hashlib._Hash:
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in source.chunks(start, stop):
        digest.update(chunk)
    return digest
