"""An active look at what a bucket allows: writes, reads and removes one object below the prefix.

Nothing of a user's is touched; the probe's key has a ``.bucketboard`` component, so it is never a run.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import google_crc32c

from bucketboard.errors import BucketboardError, Reason
from bucketboard.store.bucket import Bucket, Content, ObjectInfo
from bucketboard.store.capabilities import FALSE_ETAG

__all__ = ["Check", "probe"]

_PART = 5 << 20
_TAIL = b"the tail"


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``ok``: True, False, or None where it could not be told."""

    name: str
    ok: bool | None
    detail: str


def probe(bucket: Bucket, prefix: str) -> Iterator[Check]:
    """Check after check, as each is made; stops after the first write that is refused.

    ``prefix`` has a slash behind or is empty. Sends about 5 MiB and removes what it wrote.
    """
    yield _attempt("list", lambda: f"{len(bucket.list(prefix, delimiter='/').objects)} objects at the prefix")
    key = f"{prefix}.bucketboard/probe-{secrets.token_hex(6)}"
    try:
        yield from _Probe(bucket, key).run()
    finally:
        with contextlib.suppress(BucketboardError):
            for upload_id, _ in list(bucket.uploads(key)):
                bucket.abort_upload(key, upload_id)
        with contextlib.suppress(BucketboardError):
            bucket.delete(key)


def _attempt(name: str, action: Callable[[], str]) -> Check:
    try:
        return Check(name, True, action())
    except BucketboardError as error:
        return Check(name, False, str(error))


class _Probe:
    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._content = Content("application/octet-stream", {"bucketboard-probe": "1"})

    def run(self) -> Iterator[Check]:
        body = bytes(_PART)
        written: list[ObjectInfo] = []

        def write() -> str:
            crc = int(google_crc32c.value(body))
            written.append(self._bucket.put(self._key, body, self._content, crc=crc))
            return "an object was stored with a CRC32C checksum"

        yield _attempt("write", write)
        if not written:
            return
        stored = written[0]
        yield self._versions(stored)
        read = _attempt("read", self._read)
        yield read
        yield self._refuses(
            "conditional writes",
            lambda: self._bucket.put(self._key, body, self._content, if_match=FALSE_ETAG),
            "a second writer is refused",
            "a second writer is noticed by a HEAD before each write, not excluded",
        )
        yield self._refuses(
            "checksums",
            lambda: self._bucket.put(self._key, body, self._content, crc=1),
            "a damaged upload is refused",
            "a wrong checksum was accepted: damage on the way is not noticed by the server",
        )
        if read.ok:
            yield from self._append(body)

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

    def _append(self, body: bytes) -> Iterator[Check]:
        bucket, key = self._bucket, self._key
        whole = int(google_crc32c.value(body + _TAIL))

        def append() -> str:
            etag = bucket.head(key).etag
            upload_id = bucket.create_upload(key, self._content)
            parts = [
                bucket.copy_part(key, upload_id, 1, 0, len(body), etag),
                bucket.upload_part(key, upload_id, 2, _TAIL, int(google_crc32c.value(_TAIL))),
            ]
            try:
                bucket.complete_upload(
                    key, upload_id, parts, size=len(body) + len(_TAIL), crc=whole, if_match=FALSE_ETAG
                )
            except BucketboardError as error:
                if error.reason is not Reason.PRECONDITION:
                    raise
                conditions.append(True)
                bucket.complete_upload(
                    key, upload_id, parts, size=len(body) + len(_TAIL), crc=whole, if_match=etag
                )
            data, info = bucket.get(key, len(body))
            if data != _TAIL or info.size != len(body) + len(_TAIL):
                raise BucketboardError("an appended object came back with other bytes")
            return "an object grows by its new bytes alone"

        conditions: list[bool] = []
        grown = _attempt("append", append)
        yield grown
        if grown.ok:
            good, bad = "a second writer is refused", "a second writer is noticed, not excluded"
            yield Check("conditional append", bool(conditions), good if conditions else bad)
