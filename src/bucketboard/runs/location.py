"""Where runs are, in a form that travels to other processes: what is named, and settings without secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from bucketboard.errors import InvalidError
from bucketboard.source import BucketSource, DirectorySource, Source
from bucketboard.store.bucket import Bucket
from bucketboard.store.fast import fast_bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url, is_s3_url

__all__ = ["Location"]

_READ_ATTEMPTS = 3
_CHANGE_ATTEMPTS = 5
_MOST_SOURCES = 8


@dataclass(frozen=True)
class Location:
    """A prefix of a bucket or a directory. Whoever opens it elsewhere finds credentials of its own there."""

    target: str
    settings: Settings

    @classmethod
    def of(cls, target: str | os.PathLike[str], given: Mapping[str, Any]) -> Location:
        """What a user names, with the settings that were given.

        Raises:
            InvalidError: it is neither ``s3://`` nor a directory, or a setting is wrong.
        """
        text = os.fspath(target)
        if is_s3_url(text):
            settings = Settings.resolve(**given)
            region = settings.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
            settings = replace(settings, endpoint_url=settings.endpoint(), region=region)
            return cls(str(S3Url.parse(text)), settings)
        if "://" in text:
            raise InvalidError(f"{text!r} is neither s3:// nor a directory")
        if named := [name for name, value in given.items() if value is not None]:
            raise InvalidError(f"{named[0]} is for s3:// targets, and {text!r} is a directory")
        directory = Path(text).expanduser()
        if not directory.is_dir():
            raise InvalidError(f"no such directory: {text!r}", hint="for a bucket write s3://bucket/prefix")
        return cls(str(directory.absolute()), Settings())

    def source(self) -> Source:
        """The files there. In one process all who ask for the same location share it, and its connections."""
        return _source(_Hashed(repr(self), self))

    def bucket(self) -> Bucket:
        """The bucket there, for changes. In one process all who ask for it share it, and its connections."""
        return _bucket(_Hashed(repr(self), self))


class _Hashed:
    """A location as a key: its settings hold a mapping."""

    def __init__(self, text: str, location: Location) -> None:
        self.text = text
        self.location = location

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and other.text == self.text


@lru_cache(_MOST_SOURCES)
def _source(key: _Hashed) -> Source:
    location = key.location
    if not is_s3_url(location.target):
        return DirectorySource(Path(location.target))
    url = S3Url.parse(location.target)
    return BucketSource(url, fast_bucket(url.bucket, location.settings, _READ_ATTEMPTS))


@lru_cache(_MOST_SOURCES)
def _bucket(key: _Hashed) -> Bucket:
    url = S3Url.parse(key.location.target)
    return Bucket(url.bucket, key.location.settings, attempts=_CHANGE_ATTEMPTS)
