"""A gateway before S3, as companies put one: it signs requests anew and has ETags of its own.

So does S3 itself with SSE-KMS: an ETag then tells nothing of the bytes, and two writes of the same bytes have
different ones (Amazon S3 API reference, "Object", on ETags).
"""

from __future__ import annotations

import hashlib
import html
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, unquote_plus

from bucketboard.testing.faults import Headers, Reply
from bucketboard.testing.operations import Request

_FALSE = '"ffffffffffffffffffffffffffffffff"'
_WRITES = frozenset({"PutObject", "CompleteMultipartUpload", "CopyObject"})
_PARTS = frozenset({"UploadPart", "UploadPartCopy", "ListParts"})
_DOCUMENTS = frozenset(
    {
        *("CompleteMultipartUpload", "CopyObject", "UploadPartCopy", "ListParts"),
        *("ListObjects", "ListObjectsV2", "ListObjectVersions"),
    }
)
_ENTRY = re.compile(r"<(Contents|Version)>.*?</\1>", re.DOTALL)
_KEY = re.compile(r"<Key>(.*?)</Key>", re.DOTALL)
_ETAG = re.compile(r"<ETag>(.*?)</ETag>", re.DOTALL)
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/")
_SIGNATURE = frozenset({b"authorization", b"x-amz-date", b"x-amz-security-token", b"x-amz-content-sha256"})


class Gateway:
    """Signs for *identities*, and with *opaque* gives every write an ETag that no bytes have.

    *identities* leads from the access key that a request is signed with to the access key and the secret to
    sign it with; the client's own signature is dropped unread. Requests of others pass as they are.
    """

    def __init__(self, identities: Mapping[str, tuple[str, str]], *, opaque: bool = False) -> None:
        self.opaque = opaque
        self._identities = dict(identities)
        self._real: dict[str, str] = {}
        self._current: dict[tuple[str, str], str] = {}

    def admit(self, access_key: str, identity: tuple[str, str]) -> None:
        """Sign requests of *access_key* too, with the access key and the secret of *identity*."""
        self._identities[access_key] = identity

    def identity(self, access_key: str) -> tuple[str, str] | None:
        """Whom to sign for."""
        return self._identities.get(access_key)

    def current(self, bucket: str, key: str) -> str | None:
        """The ETag that the object has for clients, as far as it was asked for."""
        return self._current.get((bucket, key))

    def real(self, bucket: str, key: str, etag: str) -> str:
        """The server's ETag for one that we gave; one that no object has, if it is of an earlier write."""
        etag = _quoted(etag)
        if etag in self._real and self._current.get((bucket, key)) != etag:
            return _FALSE
        return self._real.get(etag, etag)

    def real_part(self, etag: str) -> str:
        """The server's ETag of a part."""
        return self._real.get(_quoted(etag), _FALSE)

    def of_object(self, bucket: str, key: str, etag: str, replaced: str | None = None) -> str:
        """Our ETag for the server's *etag*; another than *replaced*, which an earlier write has."""
        current = self._current.get((bucket, key))
        if current is None or current == replaced or self._real[current] != _quoted(etag):
            current = self._current[bucket, key] = self.of_part(etag)
        return current

    def of_part(self, etag: str) -> str:
        """A new ETag for the server's *etag*."""
        parts = re.search(r'-\d+(?="?$)', etag)
        opaque = _quoted(secrets.token_hex(16) + (parts[0] if parts else ""))
        self._real[opaque] = _quoted(etag)
        return opaque


class Passage:
    """One request and its reply on their way through a gateway. Used in the proxy's loop alone."""

    def __init__(self, gateway: Gateway, request: Request) -> None:
        self._gateway = gateway
        self._request = request
        # Somebody may look at what was written before its own reply comes here, and is given the new ETag.
        self._replaced = gateway.current(request.bucket, request.key)
        found = _CREDENTIAL.search(request.headers.get("authorization", ""))
        self._identity = gateway.identity(found[1]) if found else None
        self._region = found[2] if found else ""
        self._opaque = gateway.opaque and self._identity is not None

    @property
    def changes_body(self) -> bool:
        """Whether the request's body has to be known whole."""
        return self._opaque and self._request.operation == "CompleteMultipartUpload"

    def changes_reply(self, status: int) -> bool:
        """Whether the reply's body has to be known whole."""
        return self._opaque and self._request.operation in _DOCUMENTS and status == 200

    def outgoing(self, headers: Headers, body: bytes | None) -> tuple[Headers, bytes | None]:
        """The request as the server gets it; its *body* where it is changed."""
        if self._identity is None:
            return headers, body
        digest = self._request.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        if self._opaque:
            headers = [(name, self._condition(name, value)) for name, value in headers]
        if body is not None:
            body = _ETAG.sub(self._real_part, body.decode()).encode()
            digest = hashlib.sha256(body).hexdigest()
            headers = _framed([(name, value) for name, value in headers if name.lower() != b"expect"], body)
        return _sign(self._request, headers, self._identity, self._region, digest), body

    def incoming(self, reply: Reply) -> Reply:
        """The reply as the client gets it; its body counts only where it is changed."""
        if not self._opaque or reply.status >= 400:
            return reply
        headers = [
            (name, self._etag(value.decode()).encode() if name.lower() == b"etag" else value)
            for name, value in reply.headers
        ]
        if not self.changes_reply(reply.status):
            return replace(reply, headers=headers)
        body = self._document(reply.body.decode()).encode()
        return replace(reply, headers=_framed(headers, body), body=body)

    def _condition(self, name: bytes, value: bytes) -> bytes:
        lower, etag = name.lower(), value.decode("latin-1")
        if lower in (b"if-match", b"if-none-match") and etag != "*":
            return self._gateway.real(self._request.bucket, self._request.key, etag).encode()
        if lower == b"x-amz-copy-source-if-match":
            source = unquote(self._request.headers["x-amz-copy-source"].partition("?")[0]).lstrip("/")
            bucket, _, key = source.partition("/")
            return self._gateway.real(bucket, key, etag).encode()
        return value

    def _real_part(self, match: re.Match[str]) -> str:
        return _element(self._gateway.real_part(html.unescape(match[1])))

    def _etag(self, etag: str) -> str:
        if self._request.operation in _PARTS:
            return self._gateway.of_part(etag)
        replaced = self._replaced if self._request.operation in _WRITES else None
        return self._gateway.of_object(self._request.bucket, self._request.key, etag, replaced)

    def _document(self, text: str) -> str:
        if self._request.operation.startswith("ListObject"):
            return _ENTRY.sub(self._entry, text)
        return _ETAG.sub(lambda match: _element(self._etag(html.unescape(match[1]))), text)

    def _entry(self, match: re.Match[str]) -> str:
        found = _KEY.search(match[0])
        assert found is not None
        key = html.unescape(found[1])
        if self._request.query.get("encoding-type") == "url":
            key = unquote_plus(key)

        def element(match: re.Match[str]) -> str:
            etag = html.unescape(match[1])
            return _element(self._gateway.of_object(self._request.bucket, key, etag))

        return _ETAG.sub(element, match[0])


def _element(etag: str) -> str:
    return f"<ETag>{html.escape(etag)}</ETag>"


def _framed(headers: Headers, body: bytes) -> Headers:
    kept = [entry for entry in headers if entry[0].lower() not in (b"content-length", b"transfer-encoding")]
    return [*kept, (b"Content-Length", str(len(body)).encode())]


def _quoted(etag: str) -> str:
    return '"{}"'.format(etag.strip('"'))


def _sign(request: Request, headers: Headers, identity: tuple[str, str], region: str, digest: str) -> Headers:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    class Auth(S3SigV4Auth):  # type: ignore[misc]
        def payload(self, request: Any) -> str:
            return digest

    kept = [(name, value) for name, value in headers if name.lower() not in _SIGNATURE]
    signed = AWSRequest(request.method, f"http://{request.headers['host']}{request.target}")
    for name, value in kept:
        signed.headers[name.decode()] = value.decode("latin-1")
    Auth(Credentials(*identity), "s3", region).add_auth(signed)
    given = {name.lower() for name, _ in kept}
    added = [
        (name.encode(), value.encode("latin-1"))
        for name, value in signed.headers.items()
        if name.lower().encode() not in given
    ]
    return [*kept, *added]
