"""What real servers, and servers that are not there, make of requests that can't work."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from failing import KEY, OPERATIONS, PLAIN, Store, failure, kinds, operations

from bucketboard.errors import InvalidError, Reason, UnavailableError
from bucketboard.store.bucket import Bucket
from bucketboard.store.fast import FastBucket
from bucketboard.store.settings import Settings
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server

both = pytest.mark.parametrize("server", ["seaweed", "moto"], indirect=True)


@pytest.fixture
def sign_as(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Settings of a profile with the given credentials."""

    def settings(server: Server, access: str, secret: str) -> Settings:
        path = tmp_path / "credentials"
        profile = f"p{len(access)}-{os.urandom(4).hex()}"  # clients are kept by profile
        path.write_text(f"[{profile}]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
        return Settings(endpoint_url=server.endpoint, profile=profile)

    return settings


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "HeadObject"])
def test_no_such_bucket(operation: str, moto_server: Server) -> None:  # SeaweedFS makes what is missing
    error = failure(Bucket("no-such-bucket", Settings(endpoint_url=moto_server.endpoint)), operation)
    assert (type(error), error.reason) == (InvalidError, Reason.NO_SUCH_BUCKET)
    assert "create the bucket" in error.hint


@kinds
def test_a_head_can_not_tell_a_missing_bucket_from_a_missing_object(kind: Store, moto_server: Server) -> None:
    error = failure(kind("no-such-bucket", Settings(endpoint_url=moto_server.endpoint)), "HeadObject")
    assert (type(error), error.reason) == (UnavailableError, Reason.NOT_FOUND)


@kinds
def test_a_wrong_secret(kind: Store, seaweed_server: Server, sign_as: Any) -> None:
    settings = sign_as(seaweed_server, "bucketboard", "very-secret")
    error = failure(kind("any", settings))
    assert (type(error), error.reason) == (InvalidError, Reason.IDENTITY)
    assert "secret key" in error.hint
    assert "very-secret" not in repr(settings) + str(settings)


@kinds
def test_an_unknown_access_key(kind: Store, seaweed_server: Server, sign_as: Any) -> None:
    error = failure(kind("any", sign_as(seaweed_server, "nobody", "very-secret")))
    assert (type(error), error.reason) == (InvalidError, Reason.IDENTITY)
    assert "access key is not known" in error.hint


@pytest.mark.parametrize(
    ("identity", "operation", "permission", "kind"),
    [
        ("reader", "PutObject", "s3:PutObject", Bucket),
        ("reader", "PutObject", "s3:PutObject", FastBucket),
        ("reader", "CreateMultipartUpload", "s3:PutObject", Bucket),
        ("reader", "DeleteObject", "s3:DeleteObject", Bucket),
        ("writer", "GetObject", "s3:GetObject", Bucket),
        ("writer", "GetObject", "s3:GetObject", FastBucket),
        ("writer", "ListObjectsV2", "s3:ListBucket", Bucket),
    ],
)
def test_a_missing_permission_is_named(
    identity: str,
    operation: str,
    permission: str,
    kind: Store,
    seaweed_server: Server,
    bucket: Any,
    sign_as: Any,
) -> None:
    settings = sign_as(seaweed_server, *seaweed_server.identities[identity])
    error = failure(kind(bucket[1], settings), operation)
    assert (type(error), error.reason) == (InvalidError, Reason.DENIED)
    assert permission in error.hint


@kinds
def test_a_denied_head_is_unknown(kind: Store, seaweed_server: Server, bucket: Any, sign_as: Any) -> None:
    settings = sign_as(seaweed_server, *seaweed_server.identities["writer"])
    error = failure(kind(bucket[1], settings), "HeadObject")
    assert (type(error), error.reason) == (UnavailableError, Reason.DENIED)
    assert "unknown" in error.message
    assert "s3:GetObject" in error.hint


@kinds
@both
def test_unsigned_requests_carry_no_signature(kind: Store, server: Server, bucket: Any) -> None:
    with FaultProxy(server.endpoint, record=True) as proxy:
        store = kind(bucket[1], Settings(endpoint_url=proxy.url, unsigned=True))
        if server.name == "moto":
            store.put(KEY, b"x", PLAIN)
        else:
            assert failure(store).reason is Reason.DENIED
        [recorded] = proxy.requests
    assert "authorization" not in recorded.headers


@kinds
def test_no_credentials(kind: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    error = failure(kind("any", Settings(endpoint_url="http://127.0.0.1:9", region="no-credentials")))
    assert (type(error), error.reason) == (InvalidError, Reason.IDENTITY)
    assert "AWS_PROFILE" in error.hint


@kinds
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"profile": "nobody"}, "nobody"),
        ({"region": "no region!"}, "no region!"),
        ({"endpoint_url": "https://host:port"}, "host:port"),
        ({"endpoint_url": "ftp://host"}, "ftp://host"),
        ({"endpoint_url": "no url at all"}, "no url at all"),
        ({"endpoint_url": "[::1"}, r"\[::1"),
    ],
)
def test_settings_that_can_not_work_are_invalid(kind: Store, given: dict[str, Any], said: str) -> None:
    store = kind("any", Settings(**{"endpoint_url": "http://127.0.0.1:9", **given}))
    with pytest.raises(InvalidError, match=said) as caught:
        store.put(KEY, b"", PLAIN)
    assert caught.value.reason is Reason.OTHER
    if "profile" not in given and given.get("endpoint_url") in (None, "ftp://host", "https://host:port"):
        return  # known only when a request is built
    with pytest.raises(InvalidError, match=said):
        _ = store.on_aws


@kinds
@pytest.mark.parametrize("name", ["bad bucket", "x?y", "arn:aws:s3:eu-west-1:1:accesspoint/x"])
def test_a_bucket_name_that_can_not_be_is_invalid(kind: Store, name: str) -> None:
    assert type(failure(kind(name, Settings(endpoint_url="http://127.0.0.1:9")))) is InvalidError


@operations()
def test_an_endpoint_that_is_down(kind: Store, operation: str, moto_server: Server) -> None:
    with FaultProxy(moto_server.endpoint) as proxy:
        proxy.down()
        error = failure(kind("any", Settings(endpoint_url=proxy.url)), operation)
    assert (type(error), error.reason) == (UnavailableError, Reason.OTHER)  # nothing can have happened
    assert proxy.url in error.message
    assert "endpoint" in error.hint


@kinds
def test_a_host_that_does_not_exist(kind: Store) -> None:
    error = failure(kind("any", Settings(endpoint_url="http://no-such-host.invalid")))
    assert (type(error), error.reason) == (UnavailableError, Reason.OTHER)


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[str]:
    """The address of a TLS server whose certificate nobody vouches for."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )  # fmt: skip
    (tmp_path / "tls.pem").write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@kinds
def test_a_certificate_that_nobody_vouches_for(kind: Store, tls_server: str) -> None:
    error = failure(kind("any", Settings(endpoint_url=tls_server)))
    assert type(error) is UnavailableError
    assert "ca_bundle" in error.hint


@kinds
@pytest.mark.parametrize("bundle", ["missing.pem", "garbage.pem"])
def test_a_ca_bundle_that_is_none(kind: Store, bundle: str, tls_server: str, tmp_path: Path) -> None:
    (tmp_path / "garbage.pem").write_text("no certificate")
    error = failure(kind("any", Settings(endpoint_url=tls_server, ca_bundle=str(tmp_path / bundle))))
    assert "ca_bundle" in str(error)


@pytest.mark.timeout(60)
@operations("PutObject", "GetObject", "ListObjectsV2", "CompleteMultipartUpload")
def test_a_server_that_hangs_is_given_up_after_the_timeout(
    kind: Store, operation: str, moto_server: Server
) -> None:
    with FaultProxy(moto_server.endpoint) as proxy:
        injection = proxy.inject(Fault(FaultKind.HANG))
        error = failure(kind("any", Settings(endpoint_url=proxy.url, timeout=0.2)), operation)
        assert injection.fired == 1  # nothing is repeated behind our back
    assert (type(error), error.reason) == (UnavailableError, Reason.OUTCOME_UNKNOWN)
