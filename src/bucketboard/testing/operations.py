"""Which S3 operation an HTTP request is: a pure function, for path-style addressing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

_VERBS = {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}

# Subresource -> what follows the verb in the operation's name.
_BUCKET = {
    "accelerate": "BucketAccelerateConfiguration",
    "acl": "BucketAcl",
    "cors": "BucketCors",
    "encryption": "BucketEncryption",
    "lifecycle": "BucketLifecycleConfiguration",
    "location": "BucketLocation",
    "logging": "BucketLogging",
    "notification": "BucketNotificationConfiguration",
    "object-lock": "ObjectLockConfiguration",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "publicAccessBlock": "PublicAccessBlock",
    "replication": "BucketReplication",
    "requestPayment": "BucketRequestPayment",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
    "website": "BucketWebsite",
}
_OBJECT = {
    "acl": "ObjectAcl",
    "attributes": "ObjectAttributes",
    "legal-hold": "ObjectLegalHold",
    "retention": "ObjectRetention",
    "tagging": "ObjectTagging",
}


@dataclass(frozen=True)
class Request:
    """The head of a request as S3 understands it; header names are in lower case."""

    operation: str
    bucket: str
    key: str
    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def query(self) -> dict[str, str]:
        """The decoded query, a parameter without a value being empty."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))


def classify(method: str, target: str, headers: Mapping[str, str]) -> Request:
    """Name the operation, as boto3 does, of *target* (path and query as sent); ``Unknown`` when none fits."""
    path, _, query = target.partition("?")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    parameters = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
    if key:
        operation = _on_object(method, parameters, "x-amz-copy-source" in headers)
    elif bucket:
        operation = _on_bucket(method, parameters)
    else:
        operation = "ListBuckets" if method == "GET" else "Unknown"
    return Request(operation, bucket, key, method, target, headers)


def _on_object(method: str, parameters: Mapping[str, str], copy: bool) -> str:
    if "uploadId" in parameters:
        part = "UploadPartCopy" if copy else "UploadPart"
        on_upload = {
            "GET": "ListParts",
            "PUT": part,
            "POST": "CompleteMultipartUpload",
            "DELETE": "AbortMultipartUpload",
        }
        return on_upload.get(method, "Unknown")
    for name, noun in _OBJECT.items():
        if name in parameters:
            return _VERBS[method] + noun if method in _VERBS else "Unknown"
    if method == "POST":
        for name, operation in (
            ("uploads", "CreateMultipartUpload"),
            ("restore", "RestoreObject"),
            ("select", "SelectObjectContent"),
        ):
            if name in parameters:
                return operation
    plain = {
        "GET": "GetObject",
        "HEAD": "HeadObject",
        "PUT": "CopyObject" if copy else "PutObject",
        "DELETE": "DeleteObject",
    }
    return plain.get(method, "Unknown")


def _on_bucket(method: str, parameters: Mapping[str, str]) -> str:
    for name, noun in _BUCKET.items():
        if name in parameters:
            return _VERBS[method] + noun if method in _VERBS else "Unknown"
    if method == "GET":
        for name, operation in (("uploads", "ListMultipartUploads"), ("versions", "ListObjectVersions")):
            if name in parameters:
                return operation
        return "ListObjectsV2" if parameters.get("list-type") == "2" else "ListObjects"
    if method == "POST":
        return "DeleteObjects" if "delete" in parameters else "Unknown"
    return {"HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(method, "Unknown")
