"""How to reach S3 and how to store there: arguments, then ``BUCKETBOARD_*`` variables, then the AWS chain."""

from __future__ import annotations

import math
import os
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from bucketboard.errors import InvalidError

__all__ = ["Settings", "from_environ", "setting"]

_T = TypeVar("_T")
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError("write 1 or 0")


def _pairs(text: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)))


PARSERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "float": float,
    "int": int,
    "bool": _boolean,
    "pairs": _pairs,
}


def setting(default: Any, parse: str = "str", help: str = "") -> Any:
    """A dataclass field that can also come from the environment; ``parse`` names one of :data:`PARSERS`."""
    factory: Any = {"default_factory": dict} if default == {} else {"default": default}
    return field(metadata={"parse": parse, "help": help}, **factory)


def from_environ(cls: type[_T], given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> _T:
    """An instance of dataclass ``cls`` from ``given`` values, then ``BUCKETBOARD_<FIELD>``, then defaults.

    A given value of ``None`` counts as not given, an empty variable as not set.

    Raises:
        InvalidError: a name in ``given`` is no setting, or a variable does not parse.
    """
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InvalidError(f"unknown setting {unknown[0]!r}", hint=f"known are: {', '.join(sorted(known))}")
    values = {name: value for name, value in given.items() if value is not None}
    variables: dict[str, str] = {}
    for name, entry in known.items():
        variable = f"BUCKETBOARD_{name.upper()}"
        text = environ.get(variable)
        if name in values or not text or "parse" not in entry.metadata:
            continue
        variables[name] = variable
        try:
            values[name] = PARSERS[entry.metadata["parse"]](text)
        except ValueError as error:
            raise InvalidError(f"{variable}={text!r} is not valid: {error}") from error
    try:
        return cls(**values)
    except InvalidError as error:
        read = [variable for name, variable in variables.items() if re.search(rf"\b{name}\b", error.message)]
        if not read:
            raise
        raise InvalidError(f"{error.message} (from {', '.join(read)})", hint=error.hint) from error


@dataclass(frozen=True)
class Settings:
    """How to reach the bucket, and the options every object is stored with. Holds no secrets.

    Whatever is left at ``None`` comes from the standard AWS chain: environment, profile, SSO, container and
    web-identity roles, instance metadata.
    """

    endpoint_url: str | None = setting(None, help="S3 endpoint, with or without scheme")
    region: str | None = setting(None, help="region of the bucket")
    profile: str | None = setting(None, help="profile of the AWS configuration")
    path_style: bool | None = setting(None, "bool", help="bucket in the path; default: with an endpoint")
    ca_bundle: str | None = setting(None, help="file of CA certificates to trust")
    unsigned: bool = setting(False, "bool", help="send requests without credentials")
    requester_pays: bool = setting(False, "bool", help="accept the charges of a requester-pays bucket")
    expected_bucket_owner: str | None = setting(None, help="account that must own the bucket")
    timeout: float = setting(30.0, "float", help="seconds without an answer before a request is given up")
    request_checksum: str = setting("crc32c", help="crc32c, or off for servers that refuse checksums")
    sse: str | None = setting(None, help="server-side encryption: AES256 or aws:kms")
    sse_kms_key_id: str | None = setting(None, help="key of aws:kms")
    storage_class: str | None = setting(None, help="storage class of finished files")
    acl: str | None = setting(None, help="canned ACL; none unless asked")
    tags: Mapping[str, str] = setting({}, "pairs", help="object tags: key=value&key=value")

    def __post_init__(self) -> None:
        if self.request_checksum not in ("crc32c", "off"):
            raise InvalidError(
                f"request_checksum={self.request_checksum!r} is not known", hint="use 'crc32c' or 'off'"
            )
        if self.sse not in (None, "AES256", "aws:kms", "aws:kms:dsse"):
            raise InvalidError(f"sse={self.sse!r} is not known", hint="use 'AES256' or 'aws:kms'")
        if self.sse_kms_key_id and not (self.sse or "").startswith("aws:kms"):
            raise InvalidError("sse_kms_key_id is given without sse='aws:kms'")
        if not 0 < self.timeout < math.inf:
            raise InvalidError(f"timeout={self.timeout!r} must be a number of seconds above 0")
        if len(self.tags) > 10:
            raise InvalidError(f"tags= are {len(self.tags)}: S3 allows 10")

    @classmethod
    def resolve(cls, environ: Mapping[str, str] = os.environ, **given: Any) -> Settings:
        """Settings from arguments and the environment (see :func:`from_environ`)."""
        return from_environ(cls, given, environ)

    def pinned(self, environ: Mapping[str, str] = os.environ) -> Settings:
        """The same with what the environment adds, for a process that has another environment."""
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
        return replace(
            self,
            endpoint_url=self.endpoint(environ),
            region=self.region or region,
            profile=self.profile or environ.get("AWS_PROFILE"),
            ca_bundle=self.ca_bundle or environ.get("AWS_CA_BUNDLE"),
        )

    def endpoint(self, environ: Mapping[str, str] = os.environ) -> str | None:
        """The endpoint URL with its scheme; ``None`` leaves the choice to the AWS configuration.

        ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL`` and TensorFlow's ``S3_ENDPOINT`` are honoured in that
        order. Without a scheme it is https, except for this machine itself or with ``S3_USE_HTTPS=0``.

        Raises:
            InvalidError: it is no URL, or has credentials in it.
        """
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT")
        url = self.endpoint_url or next((environ[name] for name in names if environ.get(name)), None)
        if url is None:
            return None
        try:
            parts = urllib.parse.urlsplit(url if "://" in url else f"//{url}")
        except ValueError as error:
            raise InvalidError(f"the endpoint {url!r} is no URL: {error}") from error
        if parts.username is not None:
            raise InvalidError(
                f"the endpoint {parts.hostname} is given with credentials in its URL",
                hint="give credentials through the AWS configuration or its variables",
            )
        if parts.scheme:
            return url
        host = parts.hostname
        plain = host in _LOCAL_HOSTS or environ.get("S3_USE_HTTPS", "1").lower() in _FALSE
        return f"{'http' if plain else 'https'}://{url}"
