"""Labels: what people say of a run afterwards."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bucketboard.errors import BucketboardError, InvalidError, Reason
from bucketboard.replication.run_file import edit_run_file
from bucketboard.runs.listing import group
from bucketboard.selection import RUN_FILE
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url

__all__ = ["Labelled", "label"]

_ATTEMPTS = 3
_AT_ONCE = 16
_MOST_TAGS = 10
_TAG = re.compile(r"[\w\s+\-=.:/@]*")
"""What S3 takes in keys (128 characters) and values (256) of object tags."""


@dataclass
class Labelled:
    """What was done. ``labels`` are the run's, now; ``tagged`` of its ``objects`` event objects have them as
    object tags, and ``notes`` say why some have not."""

    url: str
    labels: dict[str, str]
    objects: int = 0
    tagged: int = 0
    notes: list[str] = field(default_factory=list)


def label(
    url: str,
    labels: Mapping[str, object] | None = None,
    *,
    remove: Collection[str] = (),
    object_tags: bool = True,
    **settings: Any,
) -> Labelled:
    """Set labels of the run at ``url``, and remove some. No event object is rewritten.

    They are kept in the run's ``bucketboard.json``, and as tags on its event objects where the server has
    such; a run that is still written loses the tags with its next upload, never the labels.

    Args:
        url: ``s3://bucket/prefix/run``.
        labels: keys and values to set.
        remove: keys to remove; one that is not there is no error.
        object_tags: whether to tag the event objects too.
        settings: those of the bucket.

    Raises:
        InvalidError: there is no such run, a label is empty, or it may not be written.
        UnavailableError: it does not work now.
    """
    wanted = {str(key): str(value) for key, value in (labels or {}).items()}
    gone = {remove} if isinstance(remove, str) else set(remove)
    if not all(wanted) or gone & wanted.keys():
        raise InvalidError("a label needs a name, and can't be set and removed at once")
    at = S3Url.parse(url)
    bucket = Bucket(at.bucket, Settings.resolve(**settings), attempts=_ATTEMPTS)
    run = group(bucket.list(at.prefix, delimiter="/").objects, at.prefix).get(".")
    if run is None:
        raise InvalidError(f"there is no run at {at}", hint=f"bucketboard ls {at}")

    def change(found: dict[str, Any]) -> None:
        before = found.get("labels")
        kept = {key: value for key, value in (before or {}).items() if key not in gone}
        if kept or wanted or before:
            found["labels"] = {**kept, **wanted}

    stored = edit_run_file(bucket, at.prefix + RUN_FILE, change)
    done = Labelled(str(at), dict(stored.get("labels", {})), len(run.event_files))
    if object_tags:
        _tag(bucket, run.event_files, wanted, gone, done)
    return done


def _tag(
    bucket: Bucket, objects: Sequence[ObjectInfo], wanted: Mapping[str, str], gone: set[str], done: Labelled
) -> None:
    fitting = {key: value for key, value in wanted.items() if _fits(key, 128) and _fits(value, 256)}
    if unfit := sorted(wanted.keys() - fitting.keys()):
        done.notes.append(f"S3 takes no object tags like these, they are labels only: {', '.join(unfit)}")

    def tag(info: ObjectInfo) -> BucketboardError | None:
        try:
            before = bucket.tags(info.key)
            after = {**{key: value for key, value in before.items() if key not in gone}, **fitting}
            if len(after) > _MOST_TAGS:
                raise InvalidError(f"{info.key} would have more than {_MOST_TAGS} tags")
            if after != before:
                bucket.put_tags(info.key, after)
        except BucketboardError as error:
            return error
        return None

    first = tag(objects[0])
    results = [first]
    if first is None or first.reason not in (Reason.UNSUPPORTED, Reason.DENIED):
        with ThreadPoolExecutor(_AT_ONCE, "bucketboard-label") as pool:
            results += pool.map(tag, objects[1:])
    done.tagged = sum(error is None for error in results)
    for error in {error.message: error for error in results if error}.values():
        said = "object tags are not supported here" if error.reason is Reason.UNSUPPORTED else error.message
        done.notes.append(f"{said}; the labels are stored all the same")
        break


def _fits(text: str, most: int) -> bool:
    return len(text) <= most and _TAG.fullmatch(text) is not None
