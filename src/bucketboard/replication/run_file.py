"""A run's ``bucketboard.json``: each side changes its own part and leaves the others' as they are."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from bucketboard.errors import BucketboardError, InvalidError, Reason, UnavailableError
from bucketboard.events.record import crc32c
from bucketboard.store.bucket import Bucket, Content
from bucketboard.store.capabilities import capabilities_of

__all__ = ["edit_run_file", "write_run_file"]

_log = logging.getLogger("bucketboard")
FORMAT = 1
_TRIES = 8
_UNREADABLE = (Reason.DENIED, Reason.INVALID_STATE)


class _NewerError(InvalidError):
    """The file is of a format that is not ours to change."""


def edit_run_file(bucket: Bucket, key: str, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Let ``change`` alter what the file holds; gives what it holds then. Nothing changed, nothing is sent.

    What others write meanwhile is kept: the write has a condition, and where the server may not obey it, the
    file is read again.

    Raises:
        InvalidError: it is of a newer format, or may not be read or written.
        UnavailableError: it does not work now.
    """
    for _ in range(_TRIES):
        found, etag = _read(bucket, key)
        before = copy.deepcopy(found)
        change(found)
        if found == before:
            return found
        try:
            _put(bucket, key, found, etag)
        except BucketboardError as error:
            if error.reason in (Reason.PRECONDITION, Reason.CONFLICT, Reason.NOT_FOUND):
                continue
            raise
        if capabilities_of(bucket).put_conditions or _read(bucket, key)[0] == found:
            return found
    raise UnavailableError(
        f"s3://{bucket.name}/{key} is changed by others again and again", reason=Reason.CONFLICT
    )


def write_run_file(bucket: Bucket, key: str, said: Mapping[str, Any]) -> None:
    """Store what a writer says of its run: ``said`` replaces the parts that it names.

    With permission to write alone it is stored only where there is no file yet; a file of a newer format is
    left as it is.

    Raises:
        BucketboardError: it did not work this time.
    """
    try:
        edit_run_file(bucket, key, lambda found: found.update(said))
    except _NewerError as error:
        _log.warning("%s: what this writer would say there is left out", error.message)
    except InvalidError as error:
        if error.reason not in _UNREADABLE:
            raise
        try:
            _put(bucket, key, {"format": FORMAT, **said}, None)
        except BucketboardError as refused:
            if refused.reason is not Reason.PRECONDITION:
                raise


def _read(bucket: Bucket, key: str) -> tuple[dict[str, Any], str | None]:
    try:
        body, info = bucket.get(key)
    except BucketboardError as error:
        if error.reason is Reason.NOT_FOUND:
            return {"format": FORMAT}, None
        raise
    try:
        found = json.loads(body)
        version = int(found.get("format", FORMAT))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return {"format": FORMAT}, info.etag  # it is none of ours, and nothing in it can be kept
    if version > FORMAT:
        raise _NewerError(
            f"s3://{bucket.name}/{key} is of format {version}", hint="change it with a newer bucketboard"
        )
    return dict(found), info.etag


def _put(bucket: Bucket, key: str, found: Mapping[str, Any], etag: str | None) -> None:
    body = json.dumps(found, ensure_ascii=False, indent=1).encode(errors="backslashreplace")
    content = Content("application/json", {})
    bucket.put(key, body, content, crc=crc32c(body), if_match=etag, if_none_match=etag is None)
