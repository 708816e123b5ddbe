"""Answers of S3 that no server of ours gives: faults by name, for `FaultProxy.inject`.

Each takes the fields of `Fault` that say which requests it hits (*operation*, *key*, *nth*, *times*, ...).
Source: Amazon S3 API reference, "Error responses" and the pages of the operations.
"""

from __future__ import annotations

from typing import Any

from bucketboard.testing.faults import Fault, FaultKind
from bucketboard.testing.operations import Request

__all__ = [
    "access_denied",
    "conditional_conflict",
    "error_in_success",
    "expired_token",
    "lost_create",
    "lost_success",
    "missing_key",
    "temporary_redirect",
    "wrong_region",
]


def conditional_conflict(**which: Any) -> Fault:
    """409: another write to the key was under way while the condition was checked."""
    return Fault(FaultKind.STATUS, status=409, code="ConditionalRequestConflict", **_conditional(which))


def missing_key(**which: Any) -> Fault:
    """404 for a write under If-Match: the key is gone. Remove the object too."""
    return Fault(FaultKind.STATUS, status=404, code="NoSuchKey", **_conditional(which))


def lost_success(**which: Any) -> Fault:
    """The upload is completed, and the client is told that there is no such upload: it was asked twice."""
    which = {"operation": "CompleteMultipartUpload", **which}
    return Fault(FaultKind.MASK, status=404, code="NoSuchUpload", **which)


def lost_create(**which: Any) -> Fault:
    """A multipart upload is created, and nobody learns its id."""
    return Fault(FaultKind.LOST_REPLY, **{"operation": "CreateMultipartUpload", **which})


def error_in_success(code: str = "InternalError", *, done: bool = False, **which: Any) -> Fault:
    """200, and an error in the body: S3 had begun to answer before it failed. *done*: it had not failed."""
    which = {"operation": ("CompleteMultipartUpload", "CopyObject", "UploadPartCopy"), **which}
    return Fault(FaultKind.MASK if done else FaultKind.STATUS, status=200, code=code, **which)


def temporary_redirect(location: str, **which: Any) -> Fault:
    """307 to *location* (scheme, host and port): the names of a new bucket have not spread yet."""
    return Fault(
        FaultKind.STATUS, status=307, code="TemporaryRedirect", headers={"Location": location}, **which
    )


def expired_token(status: int = 400, **which: Any) -> Fault:
    """The session token's time is over; some gateways say so with a 403."""
    return Fault(FaultKind.STATUS, status=status, code="ExpiredToken", **which)


def access_denied(**which: Any) -> Fault:
    """403, as while a policy is being changed."""
    return Fault(FaultKind.STATUS, status=403, code="AccessDenied", **which)


def wrong_region(region: str, *, status: int = 301, **which: Any) -> Fault:
    """The bucket is in *region*: what is signed for another is redirected (301), or refused (400)."""

    def elsewhere(request: Request) -> bool:
        return f"/{region}/s3/" not in request.headers.get("authorization", "")

    code = "PermanentRedirect" if status == 301 else "AuthorizationHeaderMalformed"
    return Fault(
        FaultKind.STATUS,
        status=status,
        code=code,
        headers={"x-amz-bucket-region": region},
        details={"Region": region},
        when=elsewhere,
        **which,
    )


def _conditional(which: dict[str, Any]) -> dict[str, Any]:
    def conditional(request: Request) -> bool:
        return "if-match" in request.headers or "if-none-match" in request.headers

    return {"operation": ("PutObject", "CompleteMultipartUpload"), "when": conditional, **which}
