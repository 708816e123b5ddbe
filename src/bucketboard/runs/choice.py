"""What a command that changes runs is about: what is below a URL, who writes to it, what was begun there."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from bucketboard.errors import BucketboardError, InvalidError, Reason
from bucketboard.journal import JOURNAL, Journal, journals, visible
from bucketboard.runs.listing import RunObjects, group
from bucketboard.selection import is_hidden
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.url import S3Url

__all__ = ["Choice", "choose", "parent", "refuse_live"]

_LIVE_FOR = datetime.timedelta(minutes=15)
"""A writer writes at least every two minutes (``max_lag``), unless it can't reach the bucket."""
_AT_ONCE = 16


@dataclass(frozen=True)
class Choice:
    """The runs at and below ``url``, the files there in no run, and changes that were interrupted."""

    url: S3Url
    runs: tuple[RunObjects, ...]
    strays: tuple[ObjectInfo, ...]
    interrupted: tuple[Journal, ...]

    @property
    def place(self) -> S3Url:
        """Whose trash a change within the runs takes: the URL's, or its parent's if the URL is a run."""
        return parent(self.url) if any(run.name == "." for run in self.runs) else self.url

    @property
    def objects(self) -> list[tuple[str, ObjectInfo]]:
        """Each object with the name of its run, "" if it is in none."""
        owned = [(run.name, info) for run in self.runs for info in run.objects]
        return owned + [("", info) for info in self.strays]

    def only(self, names: Collection[str]) -> Choice:
        """The same with some of the runs, and nothing besides."""
        return replace(self, runs=tuple(run for run in self.runs if run.name in names), strays=())


def parent(url: S3Url) -> S3Url:
    """The URL one level up; the bucket's own stays."""
    return S3Url(url.bucket, url.key.rpartition("/")[0])


def choose(bucket: Bucket, url: S3Url) -> Choice:
    """Look below ``url``, and for journals on each level above, with one LIST each."""
    objects = bucket.list(url.prefix).objects
    found = list(objects)
    above = url
    while above.key:
        above = parent(above)
        try:
            found += bucket.list(f"{above.prefix}{JOURNAL}/").objects
        except BucketboardError as error:
            if error.reason is not Reason.DENIED:  # whoever may not look there has begun nothing there
                raise
    interrupted = tuple(journal for _, journal in journals(bucket, found) if journal is not None)
    shown = visible(objects, interrupted)
    runs = tuple(group(shown, url.prefix).values())
    owned = {info.key for run in runs for info in run.objects}
    start = len(url.prefix)
    strays = tuple(info for info in shown if info.key not in owned and not is_hidden(info.key[start:]))
    return Choice(url, runs, strays, interrupted)


def refuse_live(bucket: Bucket, runs: Sequence[RunObjects]) -> None:
    """Raise if one of the runs is being written; one HEAD for each that was written in the last 15 minutes.

    Raises:
        InvalidError: some are; the message names them.
    """
    since = datetime.datetime.now(datetime.timezone.utc) - _LIVE_FOR
    recent = []
    for run in runs:
        newest = max(run.event_files, key=lambda info: (info.last_modified or since, info.key))
        if newest.last_modified is None or newest.last_modified >= since:
            recent.append((run.name, newest.key))
    if not recent:
        return
    with ThreadPoolExecutor(_AT_ONCE, "bucketboard-head") as pool:
        states = list(pool.map(lambda each: _state(bucket, each[1]), recent))
    live = [name for (name, _), state in zip(recent, states, strict=True) if state == "live"]
    if live:
        named = ", ".join(live[:5]) + (f" and {len(live) - 5} more" if len(live) > 5 else "")
        raise InvalidError(
            f"being written now: {named}; nothing was changed",
            hint="wait until they are finished (killed ones: 15 minutes after their last upload), or --force",
        )


def _state(bucket: Bucket, key: str) -> str:
    try:
        return bucket.head(key).metadata.get("bucketboard-state", "")
    except BucketboardError as error:
        if error.reason is Reason.NOT_FOUND:
            return "live"  # it was there a moment ago
        raise
