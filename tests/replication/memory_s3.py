"""S3 in memory, at the border that replicas see: strict as AWS, opaque ETags, and faults at any operation.

What it answers goes through the same translation as a server's answer. The promises that the model tries here
are tried on real servers, one by one, in tests/promises and tests/crashes.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from botocore.exceptions import ClientError, ConnectionClosedError

from bucketboard.events.record import crc32c
from bucketboard.store.bucket import Bucket, Content, Listing, ObjectInfo, Part
from bucketboard.store.settings import Settings
from bucketboard.store.translate import translate

_STATUS = {
    "PreconditionFailed": 412,
    "ConditionalRequestConflict": 409,
    "NoSuchKey": 404,
    "404": 404,
    "NoSuchUpload": 404,
    "SlowDown": 503,
    "InternalError": 500,
    "ExpiredToken": 400,
    "AccessDenied": 403,
    "EntityTooSmall": 400,
    "BadDigest": 400,
    "InvalidPart": 400,
}


class Killed(BaseException):
    """The process that made the request is dead; nothing of it runs any more."""


@dataclass
class Stored:
    body: bytes
    etag: str
    content: Content
    modified: datetime


@dataclass
class Upload:
    key: str
    content: Content
    started: datetime
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)


@dataclass
class Armed:
    """A fault that waits for its operation."""

    kind: str
    after: int
    operation: str | None = None


@dataclass
class MemoryS3:
    """One bucket's objects and uploads, shared by all who write to it."""

    min_part: int
    versioned: bool = False
    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    late: list[Callable[[], object]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    faults: int = 0

    def etag(self) -> str:
        return f'"{next(self.numbers):032x}"'

    def foreign(self, key: str, body: bytes = b"somebody else's") -> None:
        """Somebody else writes."""
        self.objects[key] = Stored(body, self.etag(), Content("", {}), datetime.now(timezone.utc))

    def arrive(self) -> None:
        """What was under way, and nobody waits for any more, is done after all, if its condition holds."""
        for request in self.late:
            with contextlib.suppress(ClientError):
                request()
        self.late.clear()


class MemoryBucket(Bucket):
    """The bucket as one process sees it, with faults of its own."""

    def __init__(self, name: str, s3: MemoryS3) -> None:
        super().__init__(name, Settings(endpoint_url="http://memory.invalid"))
        self.s3 = s3
        self.armed: list[Armed] = []
        self.dead = False
        self.written: list[str] = []

    def put(
        self,
        key: str,
        body: bytes,
        content: Content,
        *,
        crc: int | None = None,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> ObjectInfo:
        def put() -> ObjectInfo:
            if crc is not None and crc32c(body) != crc:
                raise _error("BadDigest", "PutObject")
            return self._store(key, body, content, if_match, if_none_match, "PutObject")

        return self._do("PutObject", key, put)  # type: ignore[no-any-return]

    def head(self, key: str) -> ObjectInfo:
        return self._do("HeadObject", key, lambda: self._info(key, "HeadObject", "404"))  # type: ignore[no-any-return]

    def list(self, prefix: str, *, delimiter: str = "") -> Listing:
        def look() -> Listing:
            keys = sorted(key for key in self.s3.objects if key.startswith(prefix))
            return Listing([self._info(key, "ListObjectsV2") for key in keys], [])

        return self._do("ListObjectsV2", prefix, look)  # type: ignore[no-any-return]

    def create_upload(self, key: str, content: Content) -> str:
        def create() -> str:
            upload_id = f"upload-{next(self.s3.numbers)}"
            self.s3.uploads[upload_id] = Upload(key, content, datetime.now(timezone.utc))
            return upload_id

        return self._do("CreateMultipartUpload", key, create)  # type: ignore[no-any-return]

    def copy_part(self, key: str, upload_id: str, number: int, start: int, stop: int, etag: str) -> Part:
        def copy() -> Part:
            source = self._found(key, "UploadPartCopy")
            if source.etag != etag:
                raise _error("PreconditionFailed", "UploadPartCopy")
            return self._part(upload_id, number, source.body[start:stop], "UploadPartCopy")

        return self._do("UploadPartCopy", key, copy)  # type: ignore[no-any-return]

    def upload_part(self, key: str, upload_id: str, number: int, body: bytes, crc: int) -> Part:
        return self._do(  # type: ignore[no-any-return]
            "UploadPart", key, lambda: self._part(upload_id, number, body, "UploadPart")
        )

    def complete_upload(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[Part],
        *,
        size: int,
        crc: int,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> ObjectInfo:
        def complete() -> ObjectInfo:
            upload = self._upload(upload_id, "CompleteMultipartUpload")
            bodies = []
            for part in parts:
                body, etag = upload.parts.get(part.number, (b"", ""))
                if etag != part.etag:
                    raise _error("InvalidPart", "CompleteMultipartUpload")
                bodies.append(body)
            if any(len(body) < self.s3.min_part for body in bodies[:-1]):
                raise _error("EntityTooSmall", "CompleteMultipartUpload")
            whole = b"".join(bodies)
            if len(whole) != size or crc32c(whole) != crc:
                raise _error("BadDigest", "CompleteMultipartUpload")
            stored = self._store(
                key, whole, upload.content, if_match, if_none_match, "CompleteMultipartUpload"
            )
            del self.s3.uploads[upload_id]
            return stored

        return self._do("CompleteMultipartUpload", key, complete)  # type: ignore[no-any-return]

    def abort_upload(self, key: str, upload_id: str) -> None:
        def abort() -> None:
            self._upload(upload_id, "AbortMultipartUpload")
            del self.s3.uploads[upload_id]

        self._do("AbortMultipartUpload", key, abort)

    def uploads_below(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        found = self._do(
            "ListMultipartUploads",
            prefix,
            lambda: [
                (upload.key, upload_id, upload.started)
                for upload_id, upload in self.s3.uploads.items()
                if upload.key.startswith(prefix)
            ],
        )
        yield from found

    def _do(self, operation: str, key: str, action: Callable[[], Any]) -> Any:
        """Do it, or what the next fault makes of it."""
        if self.dead:
            raise Killed
        self.s3.arrive()
        kind = self._fault(operation)
        try:
            if kind is None:
                return action()
            self.s3.faults += 1
            if kind in ("foreign", "gone") and operation in ("PutObject", "CompleteMultipartUpload"):
                if kind == "foreign":
                    self.s3.foreign(key)
                else:
                    self.s3.objects.pop(key, None)
                return action()
            if kind == "killed":
                self.dead = True
                raise Killed
            if kind in ("lost", "masked", "killed-after"):
                with contextlib.suppress(ClientError):  # what it would have answered is lost as well
                    action()
                if kind == "killed-after":
                    self.dead = True
                    raise Killed
                raise _error("NoSuchUpload", operation) if kind == "masked" else _no_answer()
            if kind == "late":
                self.s3.late.append(action)
                raise _no_answer()
            if kind == "reset":
                raise _no_answer()
            if kind in _STATUS:
                raise _error(kind, operation)
            return action()
        except Exception as error:
            raise translate(error, operation, self.name, key) from error

    def _fault(self, operation: str) -> str | None:
        for armed in self.armed:
            if armed.operation in (None, operation):
                armed.after -= 1
                if armed.after < 0:
                    self.armed.remove(armed)
                    return armed.kind
        return None

    def _found(self, key: str, operation: str, code: str = "NoSuchKey") -> Stored:
        try:
            return self.s3.objects[key]
        except KeyError:
            raise _error(code, operation) from None

    def _info(self, key: str, operation: str, code: str = "NoSuchKey") -> ObjectInfo:
        found = self._found(key, operation, code)
        version = "v" if self.s3.versioned else None
        return ObjectInfo(
            key, len(found.body), found.etag, found.modified, dict(found.content.metadata), version
        )

    def _store(
        self, key: str, body: bytes, content: Content, if_match: str | None, absent: bool, operation: str
    ) -> ObjectInfo:
        if absent and key in self.s3.objects:
            raise _error("PreconditionFailed", operation)
        if if_match is not None and self._found(key, operation).etag != if_match:
            raise _error("PreconditionFailed", operation)
        self.s3.objects[key] = Stored(body, self.s3.etag(), content, datetime.now(timezone.utc))
        self.written.append(key)
        return self._info(key, operation)

    def _upload(self, upload_id: str, operation: str) -> Upload:
        try:
            return self.s3.uploads[upload_id]
        except KeyError:
            raise _error("NoSuchUpload", operation) from None

    def _part(self, upload_id: str, number: int, body: bytes, operation: str) -> Part:
        etag = self.s3.etag()
        self._upload(upload_id, operation).parts[number] = (body, etag)
        return Part(number, etag)


def _error(code: str, operation: str) -> ClientError:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": _STATUS[code]}}
    return ClientError(answer, operation)


def _no_answer() -> Exception:
    return ConnectionClosedError(endpoint_url="http://memory.invalid")
