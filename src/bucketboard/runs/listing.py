"""The runs below a prefix, each with its objects, from one LIST."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bucketboard.errors import InvalidError
from bucketboard.events.filename import is_event_file
from bucketboard.journal import list_visible
from bucketboard.selection import is_shown
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.fast import FastBucket
from bucketboard.store.url import S3Url

__all__ = ["RunObjects", "group", "list_runs"]


@dataclass(frozen=True, slots=True)
class RunObjects:
    """A run: a directory that has event files, and everything below it that belongs to no deeper run.

    ``name`` is its path below the place that was listed, "." at the top; ``prefix`` what its keys begin with,
    with a slash behind (or empty); ``objects`` are in the order of their keys.
    """

    name: str
    prefix: str
    objects: tuple[ObjectInfo, ...]

    @property
    def event_files(self) -> tuple[ObjectInfo, ...]:
        """Those directly in the run's directory, in the order of their names, as their events are."""
        start = len(self.prefix)
        return tuple(info for info in self.objects if _is_own_event_file(info.key[start:]))

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        return sum(info.size for info in self.objects)


def list_runs(bucket: Bucket | FastBucket, url: S3Url) -> dict[str, RunObjects]:
    """By name, the runs at and below ``url``; one LIST for each thousand keys.

    Raises:
        InvalidError: there is no run.
        UnavailableError: the bucket can't be listed now.
    """
    runs = group(list_visible(bucket, url), url.prefix)
    if not runs:
        raise InvalidError(
            f"there are no event files below {url}", hint="bucketboard ls shows what runs a prefix has"
        )
    return runs


def group(objects: Iterable[ObjectInfo], prefix: str) -> dict[str, RunObjects]:
    """By name, the runs among ``objects``, whose keys begin with ``prefix``; what is in none is left out."""
    start = len(prefix)
    shown = sorted((info for info in objects if is_shown(info.key[start:])), key=lambda info: info.key)
    directories = {info.key.rpartition("/")[0] for info in shown if is_event_file(info.key)}
    found: dict[str, list[ObjectInfo]] = {}
    for info in shown:
        directory = info.key.rpartition("/")[0]
        while directory not in directories and len(directory) >= start and directory:
            directory = directory.rpartition("/")[0]
        if directory in directories:
            found.setdefault(directory, []).append(info)
    return {
        directory[start:] or ".": RunObjects(
            directory[start:] or ".", f"{directory}/" if directory else "", tuple(owned)
        )
        for directory, owned in sorted(found.items())
    }


def _is_own_event_file(path: str) -> bool:
    return "/" not in path and is_event_file(path)
