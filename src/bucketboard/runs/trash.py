"""Where removed runs lie until they are wanted back: ``<place>/.bucketboard-trash/<id>/``.

Names in it are encoded, so that no tool takes an event file in the trash for one of a run.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from bucketboard.errors import InvalidError
from bucketboard.events.filename import is_event_file
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.url import S3Url

__all__ = ["TRASH", "Trash", "TrashEntry", "decode", "encode"]

TRASH = ".bucketboard-trash"
_LONGEST_KEY = 1024
_ID = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]+")


def encode(path: str) -> str:
    """``path`` without the word "tfevents" in it."""
    return path.replace("%", "%25").replace("tfevents", "%74fevents")


def decode(encoded: str) -> str:
    """The path that was encoded."""
    return encoded.replace("%74fevents", "tfevents").replace("%25", "%")


@dataclass(frozen=True, slots=True)
class TrashEntry:
    """What one command removed."""

    id: str
    place: str
    """The URL whose trash it is in."""
    removed: float
    """Seconds since the epoch."""
    runs: tuple[str, ...]
    """Names below ``place``; "." is its top."""
    size: int
    """Bytes of all objects."""
    objects: tuple[ObjectInfo, ...]


class Trash:
    """The trash of one place."""

    def __init__(self, place: S3Url) -> None:
        self.place = place
        self.prefix = f"{place.prefix}{TRASH}/"

    def key(self, change: str, original: str) -> str:
        """Where the object at ``original``, below the place, goes in the trash of the change with this id.

        Raises:
            InvalidError: the key would be longer than S3 allows.
        """
        key = f"{self.prefix}{change}/{encode(original[len(self.place.prefix) :])}"
        if len(key.encode()) > _LONGEST_KEY:
            raise InvalidError(
                f"s3://{self.place.bucket}/{original}: its key in the trash would be too long",
                hint="remove it for good, with --now",
            )
        return key

    def original(self, key: str) -> str:
        """Where the object at ``key`` in the trash was."""
        return self.place.prefix + decode(key[len(self.prefix) :].partition("/")[2])

    def entries(self, bucket: Bucket) -> list[TrashEntry]:
        """What is in it, oldest first; one LIST for each thousand objects."""
        return self.among(bucket.list(self.prefix).objects)

    def among(self, objects: Iterable[ObjectInfo]) -> list[TrashEntry]:
        """What is in it, from a listing of it."""
        found: dict[str, list[ObjectInfo]] = {}
        for info in objects:
            change = info.key[len(self.prefix) :].partition("/")[0]
            if _ID.fullmatch(change):
                found.setdefault(change, []).append(info)
        return [
            TrashEntry(
                change,
                str(self.place),
                calendar.timegm(time.strptime(change.partition("-")[0], "%Y%m%dT%H%M%SZ")),
                tuple(
                    sorted({self.run(info.key) for info in infos if is_event_file(self.original(info.key))})
                ),
                sum(info.size for info in infos),
                tuple(infos),
            )
            for change, infos in sorted(found.items())
        ]

    def run(self, key: str) -> str:
        """The name, below the place, of the directory that the object at ``key`` in the trash was in."""
        return self.original(key)[len(self.place.prefix) :].rpartition("/")[0] or "."
