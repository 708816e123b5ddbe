"""botocore's and obstore's errors as ours: what failed, on which object, why, and what to do about it."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

from botocore import exceptions as boto

from bucketboard.errors import BucketboardError, InvalidError, Reason, UnavailableError

__all__ = ["Answer", "answer_in", "translate", "translate_native"]

_PERMISSIONS = {
    "PutObject": "s3:PutObject",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:GetObject and s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "CopyObject": "s3:GetObject, s3:GetObjectTagging, s3:PutObject and s3:PutObjectTagging",
    "RestoreObject": "s3:RestoreObject",
    "GetObjectTagging": "s3:GetObjectTagging",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "HeadBucket": "s3:ListBucket",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "GetBucketReplication": "s3:GetReplicationConfiguration",
    "GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
}
_REASONS = {
    "PreconditionFailed": Reason.PRECONDITION,
    "412": Reason.PRECONDITION,
    "ConditionalRequestConflict": Reason.CONFLICT,
    "OperationAborted": Reason.CONFLICT,
    "409": Reason.CONFLICT,
    "NoSuchKey": Reason.NOT_FOUND,
    "NotFound": Reason.NOT_FOUND,
    "404": Reason.NOT_FOUND,
    "NoSuchUpload": Reason.NO_SUCH_UPLOAD,
    "NoSuchBucket": Reason.NO_SUCH_BUCKET,
    "AccessDenied": Reason.DENIED,
    "Forbidden": Reason.DENIED,
    "AllAccessDisabled": Reason.DENIED,
    "403": Reason.DENIED,
    "NotImplemented": Reason.UNSUPPORTED,
    "MethodNotAllowed": Reason.UNSUPPORTED,
    "501": Reason.UNSUPPORTED,
    "405": Reason.UNSUPPORTED,
    "InvalidObjectState": Reason.INVALID_STATE,
    "InvalidAccessKeyId": Reason.IDENTITY,
    "SignatureDoesNotMatch": Reason.IDENTITY,
    "RequestTimeTooSkewed": Reason.IDENTITY,
}
_HINTS = {
    "InvalidAccessKeyId": "the access key is not known there: check the credentials and the endpoint",
    "SignatureDoesNotMatch": "the secret key does not fit the access key, or a proxy changes requests",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it (NTP)",
    "InvalidBucketName": "check the bucket's name",
    "NoSuchBucket": "create the bucket, or check its name, the endpoint and the region",
    "PermanentRedirect": "the bucket is in another region: set region= or AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set region= or AWS_REGION",
    "IllegalLocationConstraintException": "the bucket is in another region: set region= or AWS_REGION",
    "InvalidObjectState": "the object is archived: restore it, or write under another run name",
    "InvalidStorageClass": "the server does not offer this storage class: leave storage_class out",
}
_MISCONFIGURED = (
    ValueError,
    boto.ParamValidationError,
    boto.ValidationError,
    boto.BaseEndpointResolverError,
    boto.EndpointProviderError,
    boto.ConfigNotFound,
    boto.ConfigParseError,
    boto.InvalidConfigError,
    boto.InvalidProxiesConfigError,
    boto.InvalidRetryConfigurationError,
    boto.InvalidS3AddressingStyleError,
    boto.MissingDependencyException,
    boto.UnsupportedS3AccesspointConfigurationError,
    boto.UnsupportedS3ArnError,
    boto.UnsupportedS3ConfigurationError,
)
_DAMAGED = {
    *("RequestTimeout", "IncompleteBody", "BadDigest"),
    *("XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"),
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestExpired"}


def translate(error: Exception, operation: str, bucket: str, key: str = "") -> BucketboardError:
    """The error of ours for ``error``, which ``operation`` on ``bucket``/``key`` raised."""
    where = f"{operation} s3://{bucket}/{key}" if key else f"{operation} s3://{bucket}"
    if isinstance(error, boto.ClientError):
        return _from_answer(error, operation, where)
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return InvalidError(
            f"{where}: no usable AWS credentials",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the machine a role",
            reason=Reason.IDENTITY,
        )
    if isinstance(error, boto.SSOError | boto.TokenRetrievalError):
        return InvalidError(
            f"{where}: the SSO session has ended", hint="run: aws sso login", reason=Reason.IDENTITY
        )
    if isinstance(error, boto.CredentialRetrievalError):  # a role's credentials; the next refresh may succeed
        return UnavailableError(
            f"{where}: credentials could not be fetched ({error})",
            hint="check the role or the credential process",
            reason=Reason.IDENTITY,
        )
    if isinstance(error, boto.ProfileNotFound):
        return InvalidError(f"{where}: {error}", hint="check AWS_PROFILE or profile=")
    if isinstance(error, boto.NoRegionError):
        return InvalidError(f"{where}: no region is set", hint="set region= or AWS_REGION")
    if isinstance(error, boto.SSLError):
        return UnavailableError(
            f"{where}: TLS failed: {error}",
            hint="for a private certificate authority set ca_bundle= or AWS_CA_BUNDLE",
            reason=Reason.OUTCOME_UNKNOWN,
        )
    if isinstance(error, _MISCONFIGURED):
        return InvalidError(f"{where}: {error}")
    if isinstance(error, boto.ConnectTimeoutError | boto.EndpointConnectionError | boto.ProxyConnectionError):
        return UnavailableError(
            f"{where}: no connection ({error})", hint="check the endpoint, the network and its proxy settings"
        )
    return UnavailableError(
        f"{where}: no answer ({type(error).__name__}: {error})", reason=Reason.OUTCOME_UNKNOWN
    )


def _from_answer(error: Any, operation: str, where: str) -> BucketboardError:
    answer = error.response.get("Error", {})
    code = str(answer.get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = str(answer.get("Message", "")).strip()
    message = f"{where}: {code}{f' ({said})' if said and said != code else ''}"
    reason = _REASONS.get(code, _REASONS.get(str(status), Reason.OTHER))
    if operation == "HeadObject" and status == 403:
        return UnavailableError(
            f"{where}: 403, unknown whether it exists",
            hint="a HEAD needs s3:GetObject, and s3:ListBucket to tell a missing object from a denied one",
            reason=Reason.DENIED,
        )
    if code in _EXPIRED:
        hint = "the credentials have expired: refresh them"
        return UnavailableError(message, hint=hint, reason=Reason.IDENTITY)
    if "KMS" in code.upper() or "kms:" in said:
        return InvalidError(
            message,
            hint="the key's policy must allow kms:GenerateDataKey and kms:Decrypt to this identity",
            reason=Reason.DENIED,
        )
    if code in _HINTS:
        return InvalidError(message, hint=_HINTS[code], reason=reason)
    if reason is Reason.DENIED:
        permission = _PERMISSIONS.get(operation, f"s3:{operation}")
        return InvalidError(message, hint=f"this identity needs {permission} on it", reason=reason)
    if status == 307:
        hint = "the names of a new bucket may not have spread yet; else check region= and the endpoint"
        return UnavailableError(message, hint=hint)
    if status == 400 and operation.startswith("Head"):  # without a body that could tell which: it may pass
        hint = "expired credentials, or the bucket is in another region?"
        return UnavailableError(message, hint=hint, reason=Reason.IDENTITY)
    if status == 301:
        return InvalidError(message, hint=_HINTS["PermanentRedirect"], reason=reason)
    if status == 429 or (status >= 500 and reason is not Reason.UNSUPPORTED):
        # 500 and 504 may come after the work was done; 503 SlowDown and 429 before it.
        late = status in (500, 502, 504)
        return UnavailableError(message, reason=Reason.OUTCOME_UNKNOWN if late else Reason.OTHER)
    if status == 408 or code in _DAMAGED:
        return UnavailableError(message, hint="the request was damaged or cut off on its way")
    if reason in (Reason.PRECONDITION, Reason.CONFLICT, Reason.NOT_FOUND, Reason.NO_SUCH_UPLOAD):
        return UnavailableError(message, reason=reason)
    return InvalidError(message, reason=reason)


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's refusal, as far as obstore repeats it. ``code`` is that of S3, else the status."""

    status: int
    code: str
    message: str


_STATUS = re.compile(r"status code: (\d{3})|Client error with status (\d{3})")
_CODE = re.compile(r"<Code>\s*([^<]{1,100}?)\s*</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{0,500})</Message>")
_OS_MESSAGE = re.compile(r'message: "([^"]{1,100})"')
_DEBUG = "\n\nDebug source:\n"


def answer_in(error: BaseException) -> Answer | None:
    """The server's answer that obstore's ``error`` tells of, if there was one."""
    text = str(error).partition(_DEBUG)[0]
    status = _STATUS.search(text)
    if not status:
        return None
    number = status.group(1) or status.group(2)
    code, message = _CODE.search(text, status.end()), _MESSAGE.search(text, status.end())
    return Answer(
        int(number),
        code.group(1) if code else number,
        html.unescape(message.group(1)) if message else "",
    )


def translate_native(
    error: BaseException, operation: str, bucket: str, key: str, endpoint: str
) -> BucketboardError:
    """The error of ours for what obstore raised; reason UNSUPPORTED for its own refusals and panics.

    obstore has few kinds of errors, so that the text has to tell.
    """
    answer = answer_in(error)
    if answer is not None:
        response = {
            "Error": {"Code": answer.code, "Message": answer.message},
            "ResponseMetadata": {"HTTPStatusCode": answer.status},
        }
        return translate(boto.ClientError(response, operation), operation, bucket, key)
    said, _, debug = str(error).partition(_DEBUG)
    detail = _OS_MESSAGE.search(debug)
    reason = detail.group(1) if detail else ""
    foreign: Exception
    if "ertificate" in debug:
        foreign = boto.SSLError(endpoint_url=endpoint, error=reason or "the certificate is not trusted")
    elif re.search(r"kind: Connect\b", debug):
        foreign = boto.EndpointConnectionError(endpoint_url=endpoint, error=reason)
    elif re.search(r"HTTP error|kind: (Timeout|Interrupted|Body|Decode|Request)\b|HttpError", said + debug):
        timed_out = "Timeout" in debug or "TimedOut" in debug
        foreign = (
            boto.ReadTimeoutError(endpoint_url=endpoint)
            if timed_out
            else boto.ConnectionClosedError(endpoint_url=endpoint)
        )
    else:
        where = f"{operation} s3://{bucket}/{key}"
        return UnavailableError(f"{where}: {said[:300]}", reason=Reason.UNSUPPORTED)
    return translate(foreign, operation, bucket, key)
