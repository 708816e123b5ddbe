"""Operations on the objects of one bucket."""

from __future__ import annotations

import base64
import contextlib
import datetime
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bucketboard.errors import BucketboardError, InvalidError, Reason, UnavailableError
from bucketboard.store.client import forget, is_aws, method_name, new_session, s3_client
from bucketboard.store.settings import Settings

__all__ = ["Bucket", "Content", "Listing", "Meter", "ObjectInfo", "Part", "check_match"]

_T = TypeVar("_T")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What S3 says of an object. ``metadata`` keys are lower case; sizes are bytes."""

    key: str
    size: int
    etag: str
    last_modified: datetime.datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    version_id: str | None = None
    storage_class: str = "STANDARD"
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """One LIST: the objects below a prefix and, with a delimiter, the common prefixes."""

    objects: list[ObjectInfo]
    prefixes: list[str]


@dataclass(frozen=True, slots=True)
class Content:
    """What an object is stored with, besides its bytes: restated at every rewrite."""

    content_type: str
    metadata: Mapping[str, str]
    final: bool = False
    """Whether the object is finished, so that its storage class applies."""


class Meter:
    """Counts what is asked of a bucket, from all threads."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes_sent = 0
        self._lock = threading.Lock()

    def count(self, sent: int = 0) -> None:
        """One request with a body of ``sent`` bytes."""
        with self._lock:
            self.requests += 1
            self.bytes_sent += sent


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart upload that S3 acknowledged."""

    number: int
    etag: str
    crc32c: str | None = None


_DELETE_AT_ONCE = 1000


def _crc_text(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


class Bucket:
    """One bucket, reached by one set of settings.

    Every method makes exactly the request it names and raises only errors of ours. Replicas make one attempt
    per request, because they must know what a failed one did; readers let botocore repeat (``attempts``).
    """

    def __init__(self, name: str, settings: Settings, *, attempts: int = 1) -> None:
        self.name = name
        self.settings = settings
        self.meter = Meter()
        self._attempts = attempts

    @property
    def on_aws(self) -> bool:
        """Whether this is AWS itself rather than an S3-compatible server."""
        return is_aws(self._client())

    @property
    def endpoint(self) -> str:
        """The endpoint's URL as configured, "" for AWS's own."""
        return self.settings.endpoint() or ""

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return str(self._client().meta.region_name)

    @property
    def service_url(self) -> str:
        """Where requests go, also where no endpoint is configured."""
        return str(self._client().meta.endpoint_url)

    @property
    def credentials(self) -> str | None:
        """How credentials were found, never what they are; None: there are none."""
        try:
            found = new_session(self.settings).get_credentials()
        except Exception as error:
            raise self._translate(error, "Connect", "") from error
        return None if found is None else str(found.method)

    def _client(self) -> Any:
        try:
            return s3_client(self.settings, attempts=self._attempts)
        except Exception as error:
            raise self._translate(error, "Connect", "") from error

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
        """PutObject, conditional where asked."""
        params = self._write_params(content)
        if crc is not None and self.settings.request_checksum != "off":
            params["ChecksumCRC32C"] = _crc_text(crc)
        if if_match is not None:
            params["IfMatch"] = if_match
        if if_none_match:
            params["IfNoneMatch"] = "*"
        answer = self._call("PutObject", key, Body=body, **params)
        return _written(key, len(body), answer)

    def head(self, key: str) -> ObjectInfo:
        """HeadObject."""
        answer = self._call("HeadObject", key)
        return _info(key, int(answer["ContentLength"]), answer)

    def get(
        self, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> tuple[bytes, ObjectInfo]:
        """GetObject of bytes ``start`` to ``stop`` (exclusive; None: to the end), conditional where asked.

        The info's ``size`` is that of the whole object. An empty range, or a start at or past the end, gives
        no bytes; S3 has no such ranges, so that the info comes from a HEAD.
        """
        pieces, info = self.stream(key, start, stop, if_match=if_match)
        return b"".join(pieces), info

    def stream(
        self, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> tuple[Iterator[bytes], ObjectInfo]:
        """GetObject like :meth:`get`, its bytes in pieces as they arrive."""
        params: dict[str, Any] = {} if if_match is None else {"IfMatch": if_match}
        if start or stop is not None:
            params["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        answer = None
        if stop is None or stop > start:
            try:
                answer = self._call("GetObject", key, **params)
            except BucketboardError as error:
                if not params or _status(error) != 416:
                    raise
        if answer is None:
            info = self.head(key)
            check_match(self.name, info, if_match)
            return iter(()), info
        total = answer.get("ContentRange", "").rpartition("/")[2]
        info = _info(key, int(total) if total.isdigit() else int(answer["ContentLength"]), answer)
        check_match(self.name, info, if_match)
        return self._pieces(answer["Body"], key), info

    def _pieces(self, body: Any, key: str) -> Iterator[bytes]:
        try:
            with contextlib.closing(body):
                yield from body.iter_chunks(_CHUNK)
        except Exception as error:
            raise self._translate(error, "GetObject", key) from error

    def list(self, prefix: str, *, delimiter: str = "") -> Listing:
        """ListObjectsV2, all pages."""
        listing = Listing([], [])
        for page in self._pages("ListObjectsV2", Prefix=prefix, Delimiter=delimiter):
            listing.prefixes.extend(entry["Prefix"] for entry in page.get("CommonPrefixes", ()))
            listing.objects.extend(
                ObjectInfo(
                    entry["Key"],
                    int(entry["Size"]),
                    entry["ETag"],
                    entry.get("LastModified"),
                    storage_class=entry.get("StorageClass", "STANDARD"),
                )
                for entry in page.get("Contents", ())
            )
        return listing

    def delete(self, key: str, version_id: str | None = None) -> None:
        """DeleteObject; with ``version_id`` of that version for good."""
        self._call("DeleteObject", key, **({} if version_id is None else {"VersionId": version_id}))

    def delete_many(
        self, keys: Sequence[str], etags: Mapping[str, str] | None = None
    ) -> Sequence[tuple[str, str]]:
        """DeleteObjects, a thousand at a time; gives the keys that were refused, and why.

        With ``etags`` only those that still have theirs, where the server knows this condition: AWS does.
        Where the server does not take DeleteObjects (some want an MD5 that is sent no more, some do not know
        it), one DeleteObject for each, without that condition.
        """
        refused: list[tuple[str, str]] = []
        for start in range(0, len(keys), _DELETE_AT_ONCE):
            some = keys[start : start + _DELETE_AT_ONCE]
            entries = [{"Key": key} for key in some]
            if etags is not None:
                entries = [{**entry, "ETag": etags[entry["Key"]]} for entry in entries]
            try:
                answer = self._call("DeleteObjects", "", Delete={"Objects": entries, "Quiet": True})
            except InvalidError as error:
                if error.reason not in (Reason.OTHER, Reason.UNSUPPORTED) or not _status(error):
                    raise
                for key in some:
                    self.delete(key)
                continue
            refused += [
                (str(entry.get("Key")), f"{entry.get('Code')} ({entry.get('Message')})")
                for entry in answer.get("Errors", ())
            ]
        return refused

    def create_upload(self, key: str, content: Content) -> str:
        """CreateMultipartUpload; gives the upload id."""
        params = self._write_params(content)
        if self.settings.request_checksum != "off":
            # CRC32C of a multipart upload is a checksum of checksums unless asked otherwise.
            params |= {"ChecksumAlgorithm": "CRC32C", "ChecksumType": "FULL_OBJECT"}
        return str(self._call("CreateMultipartUpload", key, **params)["UploadId"])

    def copy_part(self, key: str, upload_id: str, number: int, start: int, stop: int, etag: str) -> Part:
        """UploadPartCopy of bytes ``start`` to ``stop`` of ``key`` itself, if it still has ``etag``."""
        params: dict[str, Any] = {}
        if self.settings.expected_bucket_owner:
            params["ExpectedSourceBucketOwner"] = self.settings.expected_bucket_owner
        answer = self._call(
            "UploadPartCopy",
            key,
            UploadId=upload_id,
            PartNumber=number,
            CopySource={"Bucket": self.name, "Key": key},
            CopySourceRange=f"bytes={start}-{stop - 1}",
            CopySourceIfMatch=etag,
            **params,
        )
        result = answer.get("CopyPartResult") or {}
        if not result.get("ETag"):
            # Some servers take it for the upload of an empty part and say that all is well.
            raise InvalidError(
                f"UploadPartCopy s3://{self.name}/{key}: nothing was copied", reason=Reason.UNSUPPORTED
            )
        return Part(number, result["ETag"], result.get("ChecksumCRC32C"))

    def upload_part(self, key: str, upload_id: str, number: int, body: bytes, crc: int) -> Part:
        """UploadPart."""
        params: dict[str, Any] = {}
        if self.settings.request_checksum != "off":
            params["ChecksumCRC32C"] = _crc_text(crc)
        answer = self._call("UploadPart", key, UploadId=upload_id, PartNumber=number, Body=body, **params)
        return Part(number, answer["ETag"], params.get("ChecksumCRC32C"))

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
        """CompleteMultipartUpload with the whole object's size and CRC32C, conditional where asked."""
        params: dict[str, Any] = {}
        if self.settings.request_checksum != "off":
            params |= {"ChecksumCRC32C": _crc_text(crc), "ChecksumType": "FULL_OBJECT"}
        if if_match is not None:
            params["IfMatch"] = if_match
        if if_none_match:
            params["IfNoneMatch"] = "*"
        entries: list[dict[str, Any]] = []
        for part in parts:
            entry: dict[str, Any] = {"PartNumber": part.number, "ETag": part.etag}
            if part.crc32c and self.settings.request_checksum != "off":
                entry["ChecksumCRC32C"] = part.crc32c
            entries.append(entry)
        answer = self._call(
            "CompleteMultipartUpload",
            key,
            UploadId=upload_id,
            MultipartUpload={"Parts": entries},
            MpuObjectSize=size,
            **params,
        )
        return _written(key, size, answer)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """AbortMultipartUpload."""
        self._call("AbortMultipartUpload", key, UploadId=upload_id)

    def uploads(self, key: str) -> Iterator[tuple[str, datetime.datetime]]:
        """Id and start of the multipart uploads under way on exactly ``key``."""
        for found, upload_id, started in self.uploads_below(key):
            if found == key:
                yield upload_id, started

    def uploads_below(self, prefix: str) -> Iterator[tuple[str, str, datetime.datetime]]:
        """Key, id and start of the multipart uploads under way on keys that begin with ``prefix``."""
        for page in self._pages("ListMultipartUploads", Prefix=prefix):
            for entry in page.get("Uploads", ()):
                yield str(entry["Key"]), str(entry["UploadId"]), entry["Initiated"]

    def versioning(self) -> str:
        """GetBucketVersioning: "Enabled", "Suspended" or ""."""
        return str(self._call("GetBucketVersioning", "").get("Status", ""))

    def tags(self, key: str) -> dict[str, str]:
        """GetObjectTagging."""
        answer = self._call("GetObjectTagging", key)
        return {str(entry["Key"]): str(entry["Value"]) for entry in answer.get("TagSet", ())}

    def put_tags(self, key: str, tags: Mapping[str, str]) -> None:
        """PutObjectTagging: the object has these tags and no others; its bytes and times stay."""
        entries = [{"Key": name, "Value": value} for name, value in tags.items()]
        self._call("PutObjectTagging", key, Tagging={"TagSet": entries})

    def encryption(self, key: str) -> str:
        """HeadObject: how the object is encrypted, with the key's name where it has one; "" if not."""
        answer = self._call("HeadObject", key)
        kind, name = answer.get("ServerSideEncryption", ""), answer.get("SSEKMSKeyId", "")
        return f"{kind} {name}".strip()

    def ask(self, operation: str) -> Mapping[str, Any]:
        """A question about the bucket itself, such as "GetBucketEncryption"; the answer as boto3 gives it."""
        return self._call(operation, "")

    def has_any(self, prefix: str) -> tuple[int, bool]:
        """How many objects one LIST shows, at most a thousand, and whether there are more."""
        answer = self._call("ListObjectsV2", "", Prefix=prefix)
        return len(answer.get("Contents", ())), bool(answer.get("IsTruncated"))

    def _write_params(self, content: Content) -> dict[str, Any]:
        settings = self.settings
        params: dict[str, Any] = {"ContentType": content.content_type, "Metadata": dict(content.metadata)}
        if settings.tags:
            params["Tagging"] = urllib.parse.urlencode(settings.tags)
        if settings.sse:
            params["ServerSideEncryption"] = settings.sse
        if settings.sse_kms_key_id:
            params["SSEKMSKeyId"] = settings.sse_kms_key_id
        if settings.acl:
            params["ACL"] = settings.acl
        if settings.storage_class and content.final:
            params["StorageClass"] = settings.storage_class
        return params

    def _common(self, operation: str) -> dict[str, Any]:
        params: dict[str, Any] = {"Bucket": self.name}
        if self.settings.expected_bucket_owner:
            params["ExpectedBucketOwner"] = self.settings.expected_bucket_owner
        if self.settings.requester_pays and not _asks_of_bucket(operation):
            params["RequestPayer"] = "requester"
        return params

    def _call(self, operation: str, key: str, **params: Any) -> dict[str, Any]:
        if key:
            params["Key"] = key

        def call() -> dict[str, Any]:
            method = getattr(s3_client(self.settings, attempts=self._attempts), method_name(operation))
            self.meter.count(len(params.get("Body", b"")))
            answer: dict[str, Any] = method(**self._common(operation), **params)
            return answer

        return self._attempt(call, operation, key)

    def _pages(self, operation: str, **params: Any) -> Iterator[dict[str, Any]]:
        def begin() -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
            client = s3_client(self.settings, attempts=self._attempts)
            paginator = client.get_paginator(method_name(operation))
            pages = iter(paginator.paginate(**self._common(operation), **params))
            self.meter.count()
            return next(pages), pages

        page, pages = self._attempt(begin, operation, params["Prefix"])
        yield page
        try:
            for page in pages:
                self.meter.count()
                yield page
        except Exception as error:
            raise self._translate(error, operation, params["Prefix"]) from error

    def _attempt(self, request: Callable[[], _T], operation: str, key: str) -> _T:
        """Make a request; once more with credentials read anew, for a reader whose old ones have ended."""
        try:
            return request()
        except Exception as error:
            translated = self._translate(error, operation, key)
            try:
                if self._attempts == 1 or not self._can_renew(translated):
                    raise translated from error
            finally:
                # Its traceback has this frame and those of the callers: what they hold, a body or an open
                # stream, would wait in that cycle for the garbage collector.
                del translated
        try:
            return request()
        except Exception as error:
            raise self._translate(error, operation, key) from error

    def _can_renew(self, error: BucketboardError) -> bool:
        """Whether the request may succeed with credentials that are read anew."""
        return isinstance(error, UnavailableError) and error.reason is Reason.IDENTITY

    def _translate(self, error: Exception, operation: str, key: str) -> BucketboardError:
        from bucketboard.store.translate import translate

        translated = translate(error, operation, self.name, key)
        if translated.reason is Reason.IDENTITY:
            self._renew()
        return translated

    def _renew(self) -> None:
        """The credentials were refused: read them again before the next request."""
        with contextlib.suppress(InvalidError):  # an endpoint that is none: there is no client either
            forget(self.settings)


def _asks_of_bucket(operation: str) -> bool:
    """Whether it is an operation that no requester pays for."""
    return "Bucket" in operation or "Lock" in operation


def check_match(bucket: str, info: ObjectInfo, if_match: str | None) -> None:
    """Raise as a server should that has other bytes than asked for: some ignore conditions of a GET."""
    if if_match is not None and info.etag.strip('"') != if_match.strip('"'):
        raise UnavailableError(
            f"GetObject s3://{bucket}/{info.key}: the object has changed", reason=Reason.PRECONDITION
        )


def _status(error: BucketboardError) -> int:
    answer: Any = getattr(error.__cause__, "response", None) or {}  # None: no answer came
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _version(answer: Mapping[str, Any]) -> str | None:
    version = answer.get("VersionId")
    return None if version in (None, "null") else str(version)


def _written(key: str, size: int, answer: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(key, size, answer["ETag"], version_id=_version(answer))


def _info(key: str, size: int, answer: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(
        key,
        size,
        answer["ETag"],
        answer.get("LastModified"),
        {name.lower(): value for name, value in answer.get("Metadata", {}).items()},
        _version(answer),
        answer.get("StorageClass", "STANDARD"),
        answer.get("ContentType", ""),
    )
