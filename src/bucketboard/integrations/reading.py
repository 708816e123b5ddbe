"""What frameworks read below ``s3://``: files, and the directories that the slashes in keys make of them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from bucketboard.errors import BucketboardError, Reason
from bucketboard.integrations.written import WRITTEN
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url

__all__ = ["bucket_of", "children", "kind", "list_files", "matching", "size_of", "walk"]

_ATTEMPTS = 3
_SETTINGS = {entry.name for entry in fields(Settings)}


def bucket_of(url: str, options: Mapping[str, Any] | None = None) -> tuple[Bucket, str]:
    """The bucket and the key of ``url``, reached as writers with ``options`` reach theirs."""
    place = S3Url.parse(url)
    options = WRITTEN.options if options is None else options
    given = {name: value for name, value in options.items() if name in _SETTINGS}
    return Bucket(place.bucket, Settings.resolve(**given), attempts=_ATTEMPTS), place.key


def kind(url: str) -> str:
    """ "file", "directory", or "" for nothing: at most one LIST, none for what this process writes."""
    known = WRITTEN.kind(url)
    if known is not None:
        return known
    bucket, key = bucket_of(url)
    if not key:
        return "directory"
    listing = bucket.list(key, delimiter="/")
    if any(info.key == key for info in listing.objects):
        return "file"
    return "directory" if f"{key}/" in listing.prefixes else ""


def size_of(url: str) -> int | None:
    """The size of the file at ``url`` in bytes; None where there is none."""
    bucket, key = bucket_of(url)
    try:
        return bucket.head(key).size
    except BucketboardError as error:
        if error.reason is Reason.NOT_FOUND:
            return None
        raise


def children(url: str, options: Mapping[str, Any] | None = None) -> tuple[list[str], list[ObjectInfo]]:
    """The names of the directories in a directory, and its files."""
    bucket, key = bucket_of(url, options)
    prefix = f"{key}/" if key else ""
    listing = bucket.list(prefix, delimiter="/")
    directories = [name[len(prefix) : -1] for name in listing.prefixes]
    return directories, [info for info in listing.objects if info.key != prefix]


def list_files(url: str) -> list[str]:
    """The paths of all files below a directory, relative to it: one LIST per 1,000."""
    bucket, key = bucket_of(url)
    prefix = f"{key}/" if key else ""
    keys = [info.key[len(prefix) :] for info in bucket.list(prefix).objects]
    return [path for path in keys if path and not path.endswith("/")]


def walk(url: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Directories below ``url`` as `os.walk` gives them, from one listing."""
    tree: dict[str, tuple[set[str], list[str]]] = {"": (set(), [])}
    for path in list_files(url):
        directory, _, name = path.rpartition("/")
        tree.setdefault(directory, (set(), []))[1].append(name)
        while directory:
            parent, _, name = directory.rpartition("/")
            tree.setdefault(parent, (set(), []))[0].add(name)
            directory = parent
    for directory, (directories, files) in sorted(tree.items()):
        yield (f"{url.rstrip('/')}/{directory}".rstrip("/"), sorted(directories), files)


def matching(pattern: str) -> list[str]:
    """Files and directories that match a pattern; ``*``, ``?`` and ``[…]`` do not match slashes."""
    literal = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    top = literal.rpartition("/")[0]
    found: set[str] = set()
    for path in list_files(top):
        parts = path.split("/")
        found.update(f"{top}/{'/'.join(parts[:depth])}" for depth in range(1, len(parts) + 1))
    expressions = [re.compile(fnmatch.translate(part)) for part in pattern.split("/")]
    return sorted(url for url in found if _matches(url.split("/"), expressions))


def _matches(parts: list[str], expressions: list[re.Pattern[str]]) -> bool:
    return len(parts) == len(expressions) and all(
        expression.match(part) for part, expression in zip(parts, expressions, strict=True)
    )
