"""An active look at what a bucket allows: writes, reads and removes one object below the prefix.

Nothing of a user's is touched; the probe's key has a ``.bucketboard`` component, so it is never a run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Iterator

import google_crc32c

from bucketboard.errors import BucketboardError, Reason
from bucketboard.store.bucket import Bucket, Content, ObjectInfo
from bucketboard.store.capabilities import FALSE_ETAG
from bucketboard.store.check import Check, attempt

__all__ = ["probe"]

_PART = 5 << 20
_TAIL = b"the tail"
_WHOLE = bytes(_PART) + _TAIL


def probe(bucket: Bucket, prefix: str) -> Iterator[Check]:
    """Check after check, as each is made; few after a first write that is refused.

    ``prefix`` has a slash behind or is empty. Sends about 15 MiB and removes what it wrote, all versions.
    """
    made = _Probe(bucket, f"{prefix}.bucketboard/probe-{secrets.token_hex(6)}")
    removed = None
    try:
        yield from made.run()
    finally:
        removed = made.remove()
    if removed:
        yield removed


class _Probe:
    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._content = Content("application/octet-stream", {"bucketboard-probe": "1"})
        self._written: list[ObjectInfo] = []

    def run(self) -> Iterator[Check]:
        yield self._explained(attempt("write", lambda: self._write(self._bucket)), self._write)
        if not self._written:
            return
        yield self._versions(self._written[0])
        read = attempt("read", self._read)
        yield read
        body = bytes(_PART)
        yield self._refuses(
            "conditional writes",
            lambda: self._put(self._bucket, body, if_match=FALSE_ETAG),
            "a second writer is refused",
            "a second writer is noticed by a HEAD before each write, not excluded",
        )
        yield self._refuses(
            "checksums",
            lambda: self._put(self._bucket, body, crc=1),
            "a damaged upload is refused",
            "a wrong checksum was accepted: damage on the way is not noticed by the server",
        )
        if read.ok:
            yield from self._append_checks()
        yield attempt("cleanup", self._abort, optional=True)

    def remove(self) -> Check | None:
        """Take away what was written; None if there is nothing that could have been."""
        bucket, key = self._bucket, self._key
        with contextlib.suppress(BucketboardError):
            for upload_id, _ in list(bucket.uploads(key)):
                bucket.abort_upload(key, upload_id)
        if not self._written:
            with contextlib.suppress(BucketboardError):  # the answer to a write may have been lost
                bucket.delete(key)
            return None
        versions = [info.version_id for info in self._written if info.version_id is not None]
        try:
            for version in versions:
                bucket.delete(key, version)
            if not versions:
                bucket.delete(key)
        except BucketboardError as error:
            return Check("delete", False, f"{error}\n{self._leave(bool(versions))}")
        return Check("delete", True, "what was written here is removed")

    def _leave(self, versioned: bool) -> str:
        """As little as can be, where it can't be removed."""
        try:
            if versioned:
                self._bucket.delete(self._key)
            else:
                self._bucket.put(self._key, b"", self._content)
        except BucketboardError:
            pass
        return f"this remains of the check: s3://{self._bucket.name}/{self._key}"

    def _put(self, bucket: Bucket, body: bytes, **options: object) -> ObjectInfo:
        info = bucket.put(self._key, body, self._content, **options)  # type: ignore[arg-type]
        self._written.append(info)
        return info

    def _write(self, bucket: Bucket) -> str:
        body = bytes(_PART)
        self._put(bucket, body, crc=int(google_crc32c.value(body)))
        return "an object was stored with a CRC32C checksum"

    def _explained(self, check: Check, again: Callable[[Bucket], object]) -> Check:
        """Whether it is the checksums that are in the way of what failed."""
        settings = self._bucket.settings
        if check.ok or settings.request_checksum == "off":
            return check
        try:
            again(Bucket(self._bucket.name, dataclasses.replace(settings, request_checksum="off")))
        except BucketboardError:
            return check
        return Check(
            check.name, False, f"{check.detail}\nwithout a checksum it works: use --request-checksum off"
        )

    def _versions(self, stored: ObjectInfo) -> Check:
        if stored.version_id is None:
            return Check("versioning", True, "off: replaced versions cost nothing")
        return Check("versioning", False, "on: every replaced version is kept, so events go to segments")

    def _read(self) -> str:
        info = self._bucket.head(self._key)
        if info.metadata.get("bucketboard-probe") != "1":
            raise BucketboardError("the object came back without its metadata")
        return "the object and its metadata come back"

    def _refuses(self, name: str, action: Callable[[], object], good: str, bad: str) -> Check:
        try:
            action()
        except BucketboardError as error:
            refused = error.reason is not Reason.DENIED
            return Check(name, True if refused else None, good if refused else str(error))
        return Check(name, False, bad)

    def _append_checks(self) -> Iterator[Check]:
        conditions: list[bool] = []
        grown = attempt("append", lambda: self._append(self._bucket, conditions))
        yield self._explained(grown, lambda bucket: self._append(bucket, []))
        if grown.ok:
            good, bad = "a second writer is refused", "a second writer is noticed, not excluded"
            yield Check("conditional append", bool(conditions), good if conditions else bad)

    def _append(self, bucket: Bucket, conditions: list[bool]) -> str:
        key, crc = self._key, int(google_crc32c.value(_WHOLE))
        etag = bucket.head(key).etag
        upload_id = bucket.create_upload(key, self._content)
        parts = [
            bucket.copy_part(key, upload_id, 1, 0, _PART, etag),
            bucket.upload_part(key, upload_id, 2, _TAIL, int(google_crc32c.value(_TAIL))),
        ]

        def complete(if_match: str) -> None:
            size = len(_WHOLE)
            self._written.append(
                bucket.complete_upload(key, upload_id, parts, size=size, crc=crc, if_match=if_match)
            )

        try:
            complete(FALSE_ETAG)
        except BucketboardError as error:
            if error.reason is not Reason.PRECONDITION:
                raise
            conditions.append(True)
            complete(etag)
        data, info = bucket.get(key, _PART)
        if data != _TAIL or info.size != len(_WHOLE):
            raise BucketboardError("an appended object came back with other bytes")
        return "an object grows by its new bytes alone"

    def _abort(self) -> str:
        bucket, key = self._bucket, self._key
        upload_id = bucket.create_upload(key, self._content)
        seen = any(found == upload_id for found, _ in bucket.uploads(key))
        bucket.abort_upload(key, upload_id)
        return "an upload that was left can be " + (
            "found and aborted" if seen else "aborted, and is not listed"
        )
