"""Answers that no test server gives: injected by a proxy, or built as botocore builds them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as boto
from failing import KEY, OPERATIONS, SECRETS, Store, failure, kinds, operations

from bucketboard.errors import BucketboardError, FencedError, InvalidError, Reason, UnavailableError
from bucketboard.store.bucket import Bucket
from bucketboard.store.fast import FastBucket
from bucketboard.store.settings import Settings
from bucketboard.store.translate import translate
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server

ANSWERS = [
    # status, code, kind, reason, a word of the hint ("" where nothing can be advised)
    (503, "SlowDown", UnavailableError, Reason.OTHER, ""),
    (503, "ServiceUnavailable", UnavailableError, Reason.OTHER, ""),
    (429, "TooManyRequests", UnavailableError, Reason.OTHER, ""),
    (500, "InternalError", UnavailableError, Reason.OUTCOME_UNKNOWN, ""),
    (502, "BadGateway", UnavailableError, Reason.OUTCOME_UNKNOWN, ""),
    (504, "GatewayTimeout", UnavailableError, Reason.OUTCOME_UNKNOWN, ""),
    (408, "Whatever", UnavailableError, Reason.OTHER, "cut off"),
    (400, "RequestTimeout", UnavailableError, Reason.OTHER, "cut off"),
    (400, "BadDigest", UnavailableError, Reason.OTHER, "damaged"),
    (403, "RequestTimeTooSkewed", InvalidError, Reason.IDENTITY, "clock"),
    (403, "InvalidAccessKeyId", InvalidError, Reason.IDENTITY, "credentials"),
    (403, "SignatureDoesNotMatch", InvalidError, Reason.IDENTITY, "secret key"),
    (400, "ExpiredToken", UnavailableError, Reason.IDENTITY, "refresh"),
    (400, "InvalidToken", UnavailableError, Reason.IDENTITY, "refresh"),
    (403, "AccessDenied", InvalidError, Reason.DENIED, "s3:PutObject"),
    (403, "Forbidden", InvalidError, Reason.DENIED, "s3:PutObject"),
    (400, "KMS.DisabledException", InvalidError, Reason.DENIED, "kms:GenerateDataKey"),
    (400, "KMS.NotFoundException", InvalidError, Reason.DENIED, "kms:Decrypt"),
    (404, "NoSuchBucket", InvalidError, Reason.NO_SUCH_BUCKET, "create the bucket"),
    (400, "AuthorizationHeaderMalformed", InvalidError, Reason.OTHER, "region="),
    (400, "IllegalLocationConstraintException", InvalidError, Reason.OTHER, "region="),
    (404, "NoSuchKey", UnavailableError, Reason.NOT_FOUND, ""),
    (404, "NoSuchUpload", UnavailableError, Reason.NO_SUCH_UPLOAD, ""),
    (409, "ConditionalRequestConflict", UnavailableError, Reason.CONFLICT, ""),
    (409, "OperationAborted", UnavailableError, Reason.CONFLICT, ""),
    (412, "PreconditionFailed", UnavailableError, Reason.PRECONDITION, ""),
    (501, "NotImplemented", InvalidError, Reason.UNSUPPORTED, ""),
    (405, "MethodNotAllowed", InvalidError, Reason.UNSUPPORTED, ""),
    (403, "InvalidObjectState", InvalidError, Reason.INVALID_STATE, "restore"),
    (400, "InvalidStorageClass", InvalidError, Reason.OTHER, "storage_class"),
    (400, "EntityTooLarge", InvalidError, Reason.OTHER, ""),
]

ELSEWHERE = ("IllegalLocationConstraintException", "AuthorizationHeaderMalformed")
"""Answers after which another way is tried."""


@kinds
@pytest.mark.parametrize(("status", "code", "raised", "reason", "hint"), ANSWERS)
def test_an_answer_to_a_put(
    status: int, code: str, raised: Any, reason: Reason, hint: str, kind: Store, moto_server: Server
) -> None:
    again = code in ELSEWHERE if kind is FastBucket else code == "IllegalLocationConstraintException"
    with FaultProxy(moto_server.endpoint) as proxy:
        injection = proxy.inject(Fault(FaultKind.STATUS, status=status, code=code))
        error = failure(kind("any", Settings(endpoint_url=proxy.url)))
        assert injection.fired > 1 if again else injection.fired == 1
    assert (type(error), error.reason) == (raised, reason)
    assert code in error.message
    assert hint in error.hint
    assert bool(error.hint) == bool(hint)


@operations()
@pytest.mark.parametrize("fault", [FaultKind.REFUSE, FaultKind.RESET])
def test_a_connection_that_breaks_leaves_the_outcome_open(
    operation: str, fault: FaultKind, kind: Store, moto_server: Server
) -> None:
    with FaultProxy(moto_server.endpoint) as proxy:
        injection = proxy.inject(Fault(fault))
        error = failure(kind("any", Settings(endpoint_url=proxy.url)), operation)
        assert injection.fired == 1
    assert (type(error), error.reason) == (UnavailableError, Reason.OUTCOME_UNKNOWN)


@operations()
def test_every_operation_is_refused_with_a_permission_to_ask_for(
    operation: str, kind: Store, moto_server: Server
) -> None:
    with FaultProxy(moto_server.endpoint) as proxy:
        proxy.inject(Fault(FaultKind.STATUS, status=403, code="AccessDenied"))
        error = failure(kind("any", Settings(endpoint_url=proxy.url)), operation)
    assert error.reason is Reason.DENIED
    assert "s3:" in error.hint
    assert isinstance(error, UnavailableError if operation == "HeadObject" else InvalidError)
    assert ("unknown" in error.message) == (operation == "HeadObject")


def test_an_error_inside_a_success_is_an_error(moto_server: Server) -> None:
    with FaultProxy(moto_server.endpoint) as proxy:
        proxy.inject(Fault(FaultKind.STATUS, status=200, code="InternalError"))
        store = Bucket("any", Settings(endpoint_url=proxy.url))
        for operation in ("CompleteMultipartUpload", "UploadPartCopy"):
            error = failure(store, operation)
            assert (type(error), error.reason) == (UnavailableError, Reason.OUTCOME_UNKNOWN), operation


@kinds
def test_a_body_that_breaks_off_is_no_success(kind: Store, moto_server: Server) -> None:
    client = moto_server.client()
    client.create_bucket(Bucket="breaks-off")
    client.put_object(Bucket="breaks-off", Key=KEY, Body=b"x" * 100_000)
    client.close()
    with FaultProxy(moto_server.endpoint) as proxy:
        proxy.inject(Fault(FaultKind.TRUNCATE, operation="GetObject", times=9))
        error = failure(kind("breaks-off", Settings(endpoint_url=proxy.url)), "GetObject")
    assert type(error) is UnavailableError


@operations("PutObject", "ListObjectsV2")
def test_readers_may_let_requests_be_repeated(operation: str, kind: Store, moto_server: Server) -> None:
    client = moto_server.client()
    client.create_bucket(Bucket="repeated")
    client.close()
    with FaultProxy(moto_server.endpoint) as proxy:
        injection = proxy.inject(Fault(FaultKind.STATUS, times=2))
        OPERATIONS[operation](kind("repeated", Settings(endpoint_url=proxy.url), attempts=3))
        assert injection.fired == 2


def client_error(code: str, message: str, status: int = 403) -> boto.ClientError:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, "PutObject")


FOREIGN = [
    (client_error("AccessDenied", "no permission: kms:GenerateDataKey on key"), InvalidError, "kms:Decrypt"),
    (client_error("TemporaryRedirect", "use another endpoint", 307), UnavailableError, "new bucket"),
    (client_error("XAmzContentSHA256Mismatch", "not as signed", 400), UnavailableError, "damaged"),
    (client_error("PermanentRedirect", "use another endpoint", 301), InvalidError, "region="),
    (client_error("", "", 503), UnavailableError, ""),
    (client_error("", "", 0), InvalidError, ""),
    (boto.ClientError({}, "PutObject"), InvalidError, ""),
    (boto.SSOTokenLoadError(error_msg="x"), InvalidError, "aws sso login"),
    (boto.UnauthorizedSSOTokenError(), InvalidError, "aws sso login"),
    (boto.TokenRetrievalError(provider="sso", error_msg="x"), InvalidError, "aws sso login"),
    (boto.PartialCredentialsError(provider="env", cred_var="x"), InvalidError, "AWS_PROFILE"),
    (boto.CredentialRetrievalError(provider="iam", error_msg="x"), UnavailableError, "role"),
    (boto.MetadataRetrievalError(error_msg="x"), UnavailableError, ""),
    (boto.NoRegionError(), InvalidError, "AWS_REGION"),
    (boto.UnsupportedS3AccesspointConfigurationError(msg="x"), InvalidError, ""),
    (boto.ConfigParseError(path="/x"), InvalidError, ""),
    (boto.ConnectTimeoutError(endpoint_url="http://e"), UnavailableError, "endpoint"),
    (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), UnavailableError, ""),
    (OSError("broken"), UnavailableError, ""),
    (RuntimeError("never seen before"), UnavailableError, ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("foreign", "kind", "hint"), FOREIGN, ids=lambda value: getattr(value, "__name__", None)
)
def test_what_botocore_raises_becomes_ours(
    foreign: Exception, kind: type[BucketboardError], hint: str
) -> None:
    error = translate(foreign, "PutObject", "b", "a key")
    assert type(error) is kind
    assert error.message.startswith("PutObject s3://b/a key: ")
    assert hint in error.hint
    assert str(error) == error.message + (f"\n  hint: {error.hint}" if error.hint else "")
    assert not [secret for secret in SECRETS if secret in str(error) + repr(error)]
    assert not isinstance(error, FencedError)


@kinds
def test_a_proxys_password_is_not_repeated(kind: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://me:very-secret@127.0.0.1:9")
    error = failure(kind("any", Settings(endpoint_url="http://behind-a-proxy.invalid")))
    assert (type(error), error.reason) == (UnavailableError, Reason.OTHER)
    assert "proxy" in error.message


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token-secret")
    settings = Settings.resolve(endpoint_url="http://127.0.0.1:9")
    shown = repr(settings) + str(settings) + repr(vars(settings)) + repr(vars(settings.pinned()))
    assert not [secret for secret in SECRETS if secret in shown]
