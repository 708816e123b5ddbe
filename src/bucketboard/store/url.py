"""Addresses of objects: ``s3://bucket/key``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bucketboard.errors import InvalidError

__all__ = ["S3Url", "is_s3_url"]

_SCHEME = "s3://"
_ARN = re.compile(
    r"(arn:[\w-]+:s3[\w-]*:[\w-]*:\d*:(?:accesspoint[/:][\w.-]+|outpost[/:][\w-]+[/:]accesspoint[/:][\w.-]+))"
    r"(?:/(.*))?",
    re.DOTALL,
)
_MAX_KEY_BYTES = 1024


def is_s3_url(path: object) -> bool:
    """Whether ``path`` is a string that starts with ``s3://``."""
    return isinstance(path, str) and path.lower().startswith(_SCHEME)


@dataclass(frozen=True, slots=True)
class S3Url:
    """A bucket (or access point ARN) and a key or prefix in it.

    Nothing in the URL is decoded: a ``%``, ``+``, ``?``, ``#`` or space in it is that character of the key.
    ``key`` has no leading and no trailing slash.
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, url: str) -> S3Url:
        """The parts of ``s3://bucket/key``.

        Raises:
            InvalidError: it is no such URL, or the key is longer than S3 allows.
        """
        if not is_s3_url(url):
            raise InvalidError(f"not an S3 URL: {url!r}", hint="write it as s3://bucket/prefix")
        rest = url[len(_SCHEME) :]
        if rest.startswith("arn:"):
            match = _ARN.fullmatch(rest)
            if not match:
                raise InvalidError(
                    f"not an access point ARN: {rest!r}",
                    hint="write it as s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/prefix",
                )
            bucket, key = match.group(1), match.group(2) or ""
        else:
            bucket, _, key = rest.partition("/")
        if not bucket:
            raise InvalidError(f"no bucket in {url!r}", hint="write it as s3://bucket/prefix")
        try:
            length = len(key.encode())
        except UnicodeEncodeError as error:
            raise InvalidError(f"the key of {url!r} is not valid Unicode") from error
        if length > _MAX_KEY_BYTES:
            raise InvalidError(f"the key is longer than {_MAX_KEY_BYTES} bytes: {url!r}")
        return cls(bucket, key.strip("/"))

    def __truediv__(self, name: str) -> S3Url:
        """The address of ``name`` below this one."""
        return S3Url(self.bucket, f"{self.key}/{name.strip('/')}".strip("/"))

    @property
    def resolved(self) -> S3Url:
        """Without the parts ``.`` and ``..``, which are names to S3 but not to those who join paths."""
        parts: list[str] = []
        for part in self.key.split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part != ".":
                parts.append(part)
        return S3Url(self.bucket, "/".join(parts))

    @property
    def prefix(self) -> str:
        """The key as a prefix of everything below it: with a slash behind, "" for a whole bucket."""
        return f"{self.key}/" if self.key else ""

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.key}" if self.key else f"{_SCHEME}{self.bucket}"
