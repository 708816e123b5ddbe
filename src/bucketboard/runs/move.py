"""Moving runs within a bucket: copied inside S3, then removed where they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bucketboard.errors import InvalidError
from bucketboard.journal import Journal, journals, visible
from bucketboard.runs.choice import Choice, choose, parent, refuse_live
from bucketboard.runs.perform import Ask, Plan, perform, reached
from bucketboard.runs.report import ChangeReport
from bucketboard.selection import is_hidden
from bucketboard.store.bucket import Bucket
from bucketboard.store.url import S3Url

__all__ = ["mv"]

_LONGEST_KEY = 1024


def mv(
    url: str,
    to: str,
    *,
    force: bool = False,
    dry_run: bool = False,
    confirm: Callable[[ChangeReport], bool] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> ChangeReport:
    """Give what is at and below ``url`` the prefix ``to``, in the same bucket, where nothing may be yet.

    Readers show each run once: at its old name until all is copied, then at its new one. ``force`` moves runs
    that are being written, too; their writers do not follow. The other arguments are those of
    :func:`bucketboard.rm`.

    Raises:
        InvalidError: there is nothing, or something at ``to``; a run is being written; it is not permitted.
            Nothing was changed.
        UnavailableError: the bucket does not do it now; the same call goes on.
    """
    source, target = S3Url.parse(url), S3Url.parse(to)
    if source.bucket != target.bucket:
        raise InvalidError(
            f"{target} is in another bucket than {source}", hint="use bucketboard pull and bucketboard sync"
        )
    if source.prefix.startswith(target.prefix) or target.prefix.startswith(source.prefix):
        raise InvalidError(f"{source} can't be moved to {target}: one is in the other")
    if is_hidden(target.key):
        raise InvalidError(f"{target} is in a place of bucketboard's own")
    bucket = reached(source, settings)
    latest = choose(bucket, source)

    def plan(choice: Choice) -> Plan:
        return Plan(
            "mv",
            source,
            parent(source),
            choice.objects,
            target=lambda _, key: _moved(source, target, key),
            shown_target=str(target),
            pointed_from=[source, target, parent(target)],
            interrupted=choice.interrupted,
        )

    def again() -> Plan:
        nonlocal latest
        latest = choose(bucket, source)
        return plan(latest)

    def begin(planned: Plan) -> None:
        if planned.objects:
            _refuse_taken(bucket, target, planned.interrupted)
        if not force:
            refuse_live(bucket, latest.runs)

    def begun() -> list[Journal]:
        return [*choose(bucket, source).interrupted, *choose(bucket, target).interrupted]

    ask = Ask(dry_run, confirm, on_progress)
    return perform(bucket, plan(latest), ask, again=again, begin=begin, begun=begun)


def _moved(source: S3Url, target: S3Url, key: str) -> str:
    moved = target.prefix + key[len(source.prefix) :]
    if len(moved.encode()) > _LONGEST_KEY:
        raise InvalidError(f"{moved!r} would be longer than a key may be")
    return moved


def _refuse_taken(bucket: Bucket, target: S3Url, known: Sequence[Journal]) -> None:
    objects = bucket.list(target.prefix).objects
    found = [journal for _, journal in journals(bucket, objects) if journal is not None]
    start = len(target.prefix)
    taken = [info.key for info in visible(objects, [*known, *found]) if not is_hidden(info.key[start:])]
    if taken:
        raise InvalidError(
            f"there is something at {target} already, such as s3://{bucket.name}/{taken[0]}",
            hint="move it to another name",
        )
