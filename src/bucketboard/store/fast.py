"""Many objects fast: obstore in place of boto3, which does its work without the GIL.

obstore can't live in a forked child and loads megabytes of native code, so that it is never imported where
training happens: only commands that read or send many objects come here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from bucketboard.errors import BucketboardError, Reason, UnavailableError
from bucketboard.store.bucket import Bucket, Content, ObjectInfo, check_match
from bucketboard.store.client import is_aws, new_session, s3_client
from bucketboard.store.settings import Settings
from bucketboard.store.translate import answer_in, translate, translate_native

__all__ = ["CHUNK", "FastBucket", "fast_bucket"]

CHUNK = 1 << 20
"""Bytes that a stream hands over at a time, at least, but for the last."""

_T = TypeVar("_T")
_ATTRIBUTES = {
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "cache-control",
    "storage-class",
}
_INEXPRESSIBLE = re.compile(r"[\x00-\x1f\x7f]|(?:^|/)\.{0,2}(?:/|\Z)")
_REDIRECTED = {301, 302, 307, 308}
_WRONG_REGION = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
}
_FRESH = timedelta(minutes=6)
"""obstore asks again five minutes before credentials expire, botocore renews them ten minutes before."""

_used = False
_forked = False


def _after_fork() -> None:
    global _forked
    _forked = _forked or _used


os.register_at_fork(after_in_child=_after_fork)


def fast_bucket(name: str, settings: Settings, attempts: int = 1) -> Bucket:
    """The fastest way to ``name`` that can do all that ``settings`` ask for."""
    if settings.acl or settings.expected_bucket_owner or name.startswith("arn:"):
        return Bucket(name, settings, attempts=attempts)
    if importlib.util.find_spec("obstore") is None:
        return Bucket(name, settings, attempts=attempts)
    return FastBucket(name, settings, attempts=attempts)


class FastBucket(Bucket):
    """A `Bucket` whose GET, HEAD and PUT go through obstore, with the same results and errors.

    Listings and uploads in parts are boto3's. Only ``storage_class`` stays at its default: obstore does not
    tell it, a listing does. May be used by many threads at once. What obstore can't do (keys with empty
    components or control characters, a bucket in another region, a child that was forked after the first use)
    goes through boto3.
    """

    def __init__(self, name: str, settings: Settings, *, attempts: int = 1) -> None:
        super().__init__(name, settings, attempts=attempts)
        self._store: Any = None
        self._credentials: _Credentials | None = None
        self._plain = False
        self._plain_ranges = False
        """Whether the server answers ranges in a way that obstore does not take: with status 200."""
        self._lock = threading.Lock()

    def head(self, key: str) -> ObjectInfo:
        """HeadObject."""
        return self._do(
            "HeadObject",
            key,
            lambda obstore, store: _info(key, obstore.get(store, key, options={"head": True})),
            lambda: Bucket.head(self, key),
        )

    def get(
        self, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> tuple[bytes, ObjectInfo]:
        """GetObject of bytes ``start`` to ``stop``, see :meth:`Bucket.get`."""

        def fast(obstore: Any, store: Any) -> tuple[bytes, ObjectInfo]:
            result = obstore.get(store, key, options=_get_options(start, stop, if_match))
            return bytes(result.buffer()), _info(key, result)

        return self._get(key, start, stop, if_match, fast, super().get)

    def stream(
        self, key: str, start: int = 0, stop: int | None = None, *, if_match: str | None = None
    ) -> tuple[Iterator[bytes], ObjectInfo]:
        """GetObject like :meth:`get`, its bytes in pieces of about `CHUNK` as they arrive."""

        def fast(obstore: Any, store: Any) -> tuple[Iterator[bytes], ObjectInfo]:
            result = obstore.get(store, key, options=_get_options(start, stop, if_match))
            return self._native_pieces(result, key), _info(key, result)

        return self._get(key, start, stop, if_match, fast, super().stream)

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
        """PutObject, conditional where asked.

        ``crc`` is compared here and not stored with the object; on its way the body is guarded by the SHA-256
        in the request's signature.
        """

        def slow() -> ObjectInfo:
            return Bucket.put(
                self, key, body, content, crc=crc, if_match=if_match, if_none_match=if_none_match
            )

        unusual = self.settings.unsigned or (if_match is not None and if_none_match)
        if unusual or not _ATTRIBUTES.isdisjoint(name.lower() for name in content.metadata):
            return slow()
        if crc is not None and self.settings.request_checksum != "off":
            self._check(key, body, crc)
        attributes = {"Content-Type": content.content_type, **content.metadata}
        if self.settings.storage_class and content.final:
            attributes["Storage-Class"] = self.settings.storage_class
        mode: Any = "overwrite"
        if if_none_match:
            mode = "create"
        elif if_match is not None:
            mode = {"e_tag": if_match}

        def fast(obstore: Any, store: Any) -> ObjectInfo:
            result = obstore.put(
                store,
                key,
                body,
                attributes=attributes,
                tags=dict(self.settings.tags) or None,
                mode=mode,
                use_multipart=False,
            )
            return ObjectInfo(key, len(body), result["e_tag"] or "", version_id=_version(result))

        return self._do("PutObject", key, fast, slow, sent=len(body))

    def _check(self, key: str, body: bytes, crc: int) -> None:
        import google_crc32c

        if google_crc32c.value(body) != crc:
            raise UnavailableError(
                f"PutObject s3://{self.name}/{key}: the bytes are not those of the given CRC32C",
                hint="the request was damaged or cut off on its way",
            ) from ValueError("checksum mismatch")

    def _get(
        self,
        key: str,
        start: int,
        stop: int | None,
        if_match: str | None,
        fast: Callable[[Any, Any], tuple[_T, ObjectInfo]],
        slow: Callable[..., tuple[_T, ObjectInfo]],
    ) -> tuple[_T, ObjectInfo]:
        def through_boto() -> tuple[_T, ObjectInfo]:
            return slow(key, start, stop, if_match=if_match)

        if (stop is not None and stop <= start) or (self._plain_ranges and (start or stop is not None)):
            return through_boto()
        body, info = self._do("GetObject", key, fast, through_boto)
        check_match(self.name, info, if_match)
        return body, info

    def _native_pieces(self, result: Any, key: str) -> Iterator[bytes]:
        try:
            yield from result.stream(min_chunk_size=CHUNK)
        except Exception as error:
            raise translate_native(error, "GetObject", self.name, key, self._url()) from error

    def _do(
        self,
        operation: str,
        key: str,
        fast: Callable[[Any, Any], _T],
        slow: Callable[[], _T],
        *,
        sent: int = 0,
    ) -> _T:
        if _forked or self._plain or not _expressible(key):
            return slow()
        store = self._opened(operation, key)
        if store is None:
            return slow()
        import obstore

        self.meter.count(sent)
        try:
            return fast(obstore, store)
        except (GeneratorExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # Rust's panics are no Exception
            if self._credentials and self._credentials.error is not None:
                cause, self._credentials.error = self._credentials.error, None
                raise translate(cause, operation, self.name, key) from cause
            answer = answer_in(error)
            if "BareRedirect" in str(error) or (
                answer and (answer.status in _REDIRECTED or answer.code in _WRONG_REGION)
            ):
                self._plain = True  # botocore finds the region
                return slow()
            if answer and answer.status == 416:
                return slow()
            raised = translate_native(error, operation, self.name, key, self._url())
            try:
                if raised.reason is Reason.UNSUPPORTED and answer is None:
                    self._plain_ranges = self._plain_ranges or "non-partial" in str(error)
                    return slow()
                if raised.reason is Reason.IDENTITY:
                    self._renew()
                    if self._attempts > 1 and self._can_renew(raised):
                        return slow()
                raise raised from error
            finally:
                del raised  # no cycle with this frame, as in Bucket

    def _renew(self) -> None:
        super()._renew()
        with self._lock:
            if not self._plain:
                self._store = None

    def _url(self) -> str:
        with contextlib.suppress(BucketboardError):
            return self.endpoint
        return ""

    def _opened(self, operation: str, key: str) -> Any:
        with self._lock:
            if self._store is None:
                try:
                    self._store = self._open()
                except Exception as error:
                    raise translate(error, operation, self.name, key) from error
                self._plain = self._store is None
            return self._store

    def _open(self) -> Any:
        """obstore's view of the bucket, reached just as boto3 would; None where it can't be."""
        global _used

        settings = self.settings
        client = s3_client(settings, attempts=self._attempts)
        url = client.meta.endpoint_url
        parts = urllib.parse.urlsplit(url)
        try:
            well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1)
        except ValueError:
            well_formed = False
        if not well_formed or not _plain_name(self.name):
            return None  # botocore says it better
        config: dict[str, Any] = {
            "region": client.meta.region_name,
            "skip_signature": settings.unsigned,
            "request_payer": settings.requester_pays,
            "unsigned_payload": False,
        }
        style = (client.meta.config.s3 or {}).get("addressing_style", "auto")
        virtual = style == "virtual" or (style == "auto" and is_aws(client) and "." not in self.name)
        if virtual:
            url = urllib.parse.urlunsplit(parts._replace(netloc=f"{self.name}.{parts.netloc}"))
        # The second name goes before variables of the environment, which may say something else.
        config |= {"endpoint": url, "aws_endpoint_url_s3": url, "virtual_hosted_style_request": virtual}
        if settings.sse:
            config["server_side_encryption"] = settings.sse
        if settings.sse_kms_key_id:
            config["sse_kms_key_id"] = settings.sse_kms_key_id
        options: dict[str, Any] = {
            "allow_http": parts.scheme == "http",
            "connect_timeout": timedelta(seconds=min(10.0, settings.timeout)),
            "read_timeout": timedelta(seconds=settings.timeout),
            "timeout": timedelta(days=1),  # a long answer is no failure
            "user_agent": "bucketboard obstore",
        }
        bundle = settings.ca_bundle or os.environ.get("AWS_CA_BUNDLE")
        if bundle and parts.scheme == "https":
            with open(bundle, "rb") as file:
                options["root_certificate"] = file.read()
        if not settings.unsigned:
            self._credentials = _Credentials(new_session(settings))

        from obstore.store import S3Store

        _used = True
        try:
            return S3Store(
                self.name,
                config=config,
                client_options=options,
                retry_config={"max_retries": self._attempts - 1},
                credential_provider=self._credentials,
            )
        except ValueError:  # no certificates in the bundle
            return None


class _Credentials:
    """What boto3's chain gives, for obstore to sign with."""

    def __init__(self, session: Any) -> None:
        from botocore.exceptions import NoCredentialsError

        self.error: Exception | None = None
        self._credentials = session.get_credentials()
        if self._credentials is None:
            raise NoCredentialsError

    def __call__(self) -> dict[str, Any]:
        try:
            frozen = self._credentials.get_frozen_credentials()
        except Exception as error:
            self.error = error
            raise
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(timezone.utc) + _FRESH,
        }


def _expressible(key: str) -> bool:
    """Whether obstore asks for exactly this key: it drops slashes at the ends and refuses others."""
    return _INEXPRESSIBLE.search(key) is None


def _plain_name(name: str) -> bool:
    return all(character.isascii() and (character.isalnum() or character in ".-_") for character in name)


def _get_options(start: int, stop: int | None, if_match: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if stop is not None:
        options["range"] = (start, stop)
    elif start:
        options["range"] = {"offset": start}
    if if_match is not None:
        options["if_match"] = if_match
    return options


def _info(key: str, result: Any) -> ObjectInfo:
    meta, attributes = result.meta, result.attributes
    return ObjectInfo(
        key,
        meta["size"],
        meta["e_tag"] or "",
        meta["last_modified"],
        {name.lower(): text for name, text in attributes.items() if name.lower() not in _ATTRIBUTES},
        _version(meta),
        content_type=attributes.get("Content-Type", ""),
    )


def _version(answer: Any) -> str | None:
    version = answer.get("version")
    return None if version in (None, "null") else str(version)
