"""Copies inside S3: what an object is stored with goes along, and nothing passes through here."""

from __future__ import annotations

import contextlib
import urllib.parse
from typing import Any

from bucketboard.errors import BucketboardError, InvalidError, Reason, UnavailableError
from bucketboard.store.bucket import Bucket, ObjectInfo, check_match

__all__ = ["copy", "restore", "restoring"]

LARGEST = 5 << 30
"""Bytes that one CopyObject may copy; what is larger goes in parts."""
_PART = 512 << 20
_MOST_PARTS = 10_000
_HEADERS = ("ContentType", "ContentEncoding", "ContentDisposition", "ContentLanguage", "CacheControl")
_NOT_ARCHIVED = "STANDARD"


def copy(
    bucket: Bucket, source: ObjectInfo, target: str, *, storage_class: str = "", largest: int = LARGEST
) -> ObjectInfo:
    """Copy ``source``, if it still has its ETag, to the key ``target``, which may be its own.

    Metadata, content type, tags, encryption and storage class are restated; ``storage_class`` is another one.
    Two requests; above ``largest`` bytes, one for each 512 MiB and four.

    Raises:
        UnavailableError: the object has changed (`Reason.PRECONDITION`), or it can't be done now.
        InvalidError: it may not be copied, or is archived (`Reason.INVALID_STATE`).
    """
    head = bucket._call("HeadObject", source.key)
    check_match(bucket.name, ObjectInfo(source.key, source.size, head["ETag"]), source.etag)
    params = _kept(bucket, head)
    wanted = storage_class or head.get("StorageClass") or _NOT_ARCHIVED
    if wanted != _NOT_ARCHIVED or storage_class:
        params["StorageClass"] = wanted
    if target == source.key:
        params["IfMatch"] = source.etag  # what is written between reading and replacing is not lost
    if source.size > largest:
        return _copy_in_parts(bucket, source, target, head, params, largest)
    if target == source.key:  # some servers refuse to copy an object to itself unless it is told all anew
        params |= {"MetadataDirective": "REPLACE", **_stated(head)}
    answer = bucket._call("CopyObject", target, **_source(bucket, source), **params)
    result = answer.get("CopyObjectResult") or {}
    if not result.get("ETag"):
        raise InvalidError(
            f"CopyObject s3://{bucket.name}/{target}: nothing was copied", reason=Reason.UNSUPPORTED
        )
    return ObjectInfo(target, source.size, result["ETag"], storage_class=wanted)


def restoring(bucket: Bucket, key: str) -> str:
    """Of an archived object: "under way", "done" while there is a temporary copy, or "" (HeadObject)."""
    said = str(bucket._call("HeadObject", key).get("Restore", ""))
    if 'ongoing-request="true"' in said:
        return "under way"
    return "done" if said else ""


def restore(bucket: Bucket, key: str, *, days: int, tier: str) -> None:
    """RestoreObject: ask for a temporary copy of an archived object; asking again does no harm."""
    try:
        bucket._call(
            "RestoreObject", key, RestoreRequest={"Days": days, "GlacierJobParameters": {"Tier": tier}}
        )
    except BucketboardError as error:
        if "RestoreAlreadyInProgress" not in str(error):
            raise


def _source(bucket: Bucket, source: ObjectInfo) -> dict[str, Any]:
    params: dict[str, Any] = {
        "CopySource": {"Bucket": bucket.name, "Key": source.key},
        "CopySourceIfMatch": source.etag,
    }
    if bucket.settings.expected_bucket_owner:
        params["ExpectedSourceBucketOwner"] = bucket.settings.expected_bucket_owner
    return params


def _kept(bucket: Bucket, head: dict[str, Any]) -> dict[str, Any]:
    """What S3 would not take along by itself: encryption; and the ACL, which only the settings know."""
    settings = bucket.settings
    sse, key_id = settings.sse, settings.sse_kms_key_id
    if not sse and str(head.get("ServerSideEncryption", "")).startswith("aws:"):
        sse, key_id = head["ServerSideEncryption"], head.get("SSEKMSKeyId")
    params: dict[str, Any] = {}
    if sse:
        params["ServerSideEncryption"] = sse
    if key_id:
        params["SSEKMSKeyId"] = key_id
    if settings.acl:
        params["ACL"] = settings.acl
    return params


def _stated(head: dict[str, Any]) -> dict[str, Any]:
    return {name: head[name] for name in (*_HEADERS, "Metadata") if name in head}


def _copy_in_parts(
    bucket: Bucket,
    source: ObjectInfo,
    target: str,
    head: dict[str, Any],
    params: dict[str, Any],
    largest: int,
) -> ObjectInfo:
    if_match = params.pop("IfMatch", None)
    tags = bucket._call("GetObjectTagging", source.key).get("TagSet", ())
    if tags:
        params["Tagging"] = urllib.parse.urlencode([(tag["Key"], tag["Value"]) for tag in tags])
    params |= _stated(head)
    upload = str(bucket._call("CreateMultipartUpload", target, **params)["UploadId"])
    size = max(min(_PART, largest), -(-source.size // _MOST_PARTS))
    try:
        parts = []
        for number, start in enumerate(range(0, source.size, size), 1):
            answer = bucket._call(
                "UploadPartCopy",
                target,
                UploadId=upload,
                PartNumber=number,
                CopySourceRange=f"bytes={start}-{min(start + size, source.size) - 1}",
                **_source(bucket, source),
            )
            etag = (answer.get("CopyPartResult") or {}).get("ETag")
            if not etag:
                raise InvalidError(
                    f"UploadPartCopy s3://{bucket.name}/{target}: nothing was copied",
                    reason=Reason.UNSUPPORTED,
                )
            parts.append({"PartNumber": number, "ETag": etag})
        answer = bucket._call(
            "CompleteMultipartUpload",
            target,
            UploadId=upload,
            MultipartUpload={"Parts": parts},
            **({"IfMatch": if_match} if if_match else {}),
        )
    except BaseException:
        with contextlib.suppress(BucketboardError):
            bucket.abort_upload(target, upload)
        raise
    if not answer.get("ETag"):
        raise UnavailableError(f"CompleteMultipartUpload s3://{bucket.name}/{target}: no ETag in the answer")
    return ObjectInfo(target, source.size, answer["ETag"], storage_class=params.get("StorageClass", ""))
