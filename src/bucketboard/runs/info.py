"""All there is to say of one run; its event files are read for it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bucketboard.errors import InvalidError
from bucketboard.runs.listing import group
from bucketboard.runs.ls import STALLED_AFTER
from bucketboard.runs.summary import RunSummary, summary
from bucketboard.source import BucketSource
from bucketboard.store.bucket import ObjectInfo
from bucketboard.store.fast import fast_bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url

if TYPE_CHECKING:
    from bucketboard.index import Index

__all__ = ["FileInfo", "RunInfo", "TagInfo", "info"]

_ATTEMPTS = 3
_READERS = 8
_POINTS = 32
"""Of a sparkline."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """An object of a run: its name below the run, bytes, and when it was written (seconds since the epoch).

    ``state`` is that of its object metadata, "" for what is no event file of ours; ``events`` is None for
    what is no event file.
    """

    name: str
    size: int
    written: float | None
    storage_class: str
    state: str
    events: int | None


@dataclass(frozen=True, slots=True)
class TagInfo:
    """A tag: its plugin, number of values, least and greatest step.

    ``value`` is the last value and ``trend`` up to 32 values from all along, in order, where it is a series
    of scalars; else None and empty.
    """

    plugin: str
    count: int
    first_step: int
    last_step: int
    value: float | None
    trend: tuple[float, ...]


@dataclass(frozen=True)
class RunInfo:
    """A run. ``lag`` is now minus the wall time of its last value, in seconds."""

    summary: RunSummary
    lag: float | None
    tags: dict[str, TagInfo]
    files: tuple[FileInfo, ...]
    object_tags: dict[str, str] | None
    """Of its newest event file; None where the server has none, or they may not be read."""
    encryption: str
    """Of its newest event file, as S3 names it, with the key if there is one; "" where it says nothing."""
    index: str
    """The URL of the prefix whose index knows the run; "" if there is none."""
    index_behind: int | None
    """Bytes of the run that the index does not have yet; None without an index."""

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON: what its summary says and the rest side by side."""
        rest = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        del rest["summary"]
        rest["tags"] = {name: dataclasses.asdict(tag) for name, tag in self.tags.items()}
        rest["files"] = [dataclasses.asdict(file) for file in self.files]
        return {**self.summary.as_dict(), **rest}


def info(
    url: str,
    *,
    stalled_after: float = STALLED_AFTER,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> RunInfo:
    """Everything about the run at ``url``, ``s3://bucket/prefix/run``; its event files are read whole.

    Args:
        url: the run.
        stalled_after: seconds without a write after which a run that is not finished counts as stalled.
        on_progress: called with bytes read and to read.
        settings: those of the bucket.

    Raises:
        InvalidError: there is no such run, or it may not be read.
        UnavailableError: it can't be read now.
    """
    from bucketboard.index import BucketObjects, Index, look

    at = S3Url.parse(url)
    bucket = fast_bucket(at.bucket, Settings.resolve(**settings), attempts=_ATTEMPTS)
    source = BucketSource(at, bucket)
    run = group(source.files().values(), at.prefix).get(".")
    if run is None:
        raise InvalidError(f"there is no run at {at}", hint=f"bucketboard ls {at}")
    own = {each.key[len(at.prefix) :]: each for each in run.objects}
    paths = [each.key[len(at.prefix) :] for each in run.event_files]
    known, report = look(source, Index(BucketObjects(bucket, at.prefix)), own, on_progress, keep=True)
    trouble = {path: places[0].message for path, places in report.damage.items()}
    trouble |= {path: error.message for path, error in report.failures.items()}
    now = time.time()
    said = summary(known, str(at), ".", paths, own, now=now, stalled_after=stalled_after, trouble=trouble)
    with ThreadPoolExecutor(_READERS, "bucketboard-info") as pool:
        newest = f"{at.prefix}{paths[-1]}"
        tagging, encrypted = pool.submit(bucket.tags, newest), pool.submit(bucket.encryption, newest)
        prefix, index = _index_above(at, bucket)
        object_tags = None if tagging.exception() else tagging.result()
        encryption = "" if encrypted.exception() else encrypted.result()
    return RunInfo(
        summary=dataclasses.replace(said, run=at.prefix.rstrip("/").rpartition("/")[2] or "."),
        lag=None if said.last is None else now - said.last,
        tags=_tags(said, report.series),
        files=tuple(_file(known, path, each) for path, each in sorted(own.items())),
        object_tags=object_tags,
        encryption=encryption,
        index=str(S3Url(at.bucket, prefix.rstrip("/"))) if index else "",
        index_behind=_behind(index, at.prefix[len(prefix) :], paths, own) if index else None,
    )


def _index_above(at: S3Url, bucket: Any) -> tuple[str, Index | None]:
    """The prefix whose published index knows the run, the nearest one, and the index."""
    from bucketboard.index import BucketObjects, Index

    parts = [part for part in at.prefix.split("/") if part]
    for length in range(len(parts), -1, -1):
        prefix = "".join(f"{part}/" for part in parts[:length])
        index = Index.open(BucketObjects(bucket, prefix))
        below = at.prefix[len(prefix) :]
        if any(path.rpartition("/")[0] == below.rstrip("/") for path in index.files):
            return prefix, index
    return "", None


def _behind(index: Index, below: str, paths: Sequence[str], own: dict[str, ObjectInfo]) -> int:
    behind = 0
    for path in paths:
        covered = index.files.get(f"{below}{path}")
        same = covered is not None and (covered.etag == own[path].etag or covered.end <= own[path].size)
        behind += own[path].size - (covered.end if covered and same else 0)
    return behind


def _file(known: Index, path: str, each: ObjectInfo) -> FileInfo:
    part = known.parts.get(path)
    written = each.last_modified.timestamp() if each.last_modified else None
    return FileInfo(
        path,
        each.size,
        written,
        each.storage_class,
        part.state or "" if part else "",
        part.events if part else None,
    )


def _tags(said: RunSummary, series: dict[str, list[tuple[Any, Any]]]) -> dict[str, TagInfo]:
    found = {}
    for name in sorted(said.tags, key=lambda name: (said.tags[name].plugin, name)):
        tag = said.tags[name]
        steps = np.concatenate([step for step, _ in series[name]])
        values = np.concatenate([value for _, value in series[name]])
        trend: tuple[float, ...] = ()
        if tag.value is not None:
            places = np.unique(np.linspace(0, len(values) - 1, _POINTS).astype(int))
            trend = tuple(values[places].tolist())
        found[name] = TagInfo(tag.plugin, tag.count, int(steps.min()), int(steps.max()), tag.value, trend)
    return found
