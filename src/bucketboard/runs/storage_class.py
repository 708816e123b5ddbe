"""Storage classes of finished runs: to a colder one, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bucketboard.errors import BucketboardError, InvalidError, Reason
from bucketboard.runs.choice import Choice, choose, refuse_live
from bucketboard.runs.perform import reached
from bucketboard.runs.report import ChangeReport, Left
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.copy import copy, restore, restoring
from bucketboard.store.url import S3Url

__all__ = ["ARCHIVED", "archive", "thaw"]

ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")
"""Classes whose objects can't be read before they are restored."""
_AT_ONCE = 16


def archive(
    url: str,
    storage_class: str = "GLACIER_IR",
    *,
    force: bool = False,
    dry_run: bool = False,
    confirm: Callable[[ChangeReport], bool] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> ChangeReport:
    """Give all objects at and below ``url`` a storage class; those that have it are passed over.

    Each is copied onto itself inside S3, with its metadata and tags. Runs in ``GLACIER`` and ``DEEP_ARCHIVE``
    can't be read before :func:`thaw`; in the other classes they can. The other arguments are those of
    :func:`bucketboard.rm`.

    Raises:
        InvalidError: there is nothing, a run is being written, or it is not permitted.
        UnavailableError: the bucket does not do it now; the same call goes on.
    """

    def change(bucket: Bucket, info: ObjectInfo) -> str:
        copy(bucket, info, info.key, storage_class=storage_class)
        return ""

    def wanted(info: ObjectInfo) -> bool:
        return info.storage_class != storage_class

    return _each(
        "archive", url, storage_class, wanted, change, force, dry_run, confirm, on_progress, settings
    )


def thaw(
    url: str,
    *,
    days: int = 7,
    tier: str = "Standard",
    force: bool = False,
    dry_run: bool = False,
    confirm: Callable[[ChangeReport], bool] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> ChangeReport:
    """Bring all objects at and below ``url`` back to the class STANDARD.

    Of those in ``GLACIER`` and ``DEEP_ARCHIVE`` S3 is first asked for a copy that stays for ``days``; that
    takes minutes to two days by ``tier`` (Expedited, Standard, Bulk). Until then they are among what is
    ``left``; the same call later goes on.

    Raises:
        InvalidError: there is nothing, the server knows no restoring, or it is not permitted.
        UnavailableError: the bucket does not do it now; the same call goes on.
    """
    if days < 1:
        raise InvalidError(f"days={days} must be at least 1")

    def change(bucket: Bucket, info: ObjectInfo) -> str:
        if info.storage_class in ARCHIVED:
            state = restoring(bucket, info.key)
            if not state:
                restore(bucket, info.key, days=days, tier=tier)
                return "a copy was asked for: run the same command when S3 has it"
            if state != "done":
                return "S3 is still bringing it back: run the same command later"
        copy(bucket, info, info.key, storage_class="STANDARD")
        return ""

    def wanted(info: ObjectInfo) -> bool:
        return info.storage_class != "STANDARD"

    return _each("thaw", url, "STANDARD", wanted, change, force, dry_run, confirm, on_progress, settings)


def _each(
    command: str,
    url: str,
    storage_class: str,
    wanted: Callable[[ObjectInfo], bool],
    change: Callable[[Bucket, ObjectInfo], str],
    force: bool,
    dry_run: bool,
    confirm: Callable[[ChangeReport], bool] | None,
    on_progress: Callable[[int, int], None] | None,
    settings: dict[str, Any],
) -> ChangeReport:
    """One object after the other is replaced atomically: without a journal, and as often as one likes."""
    place = S3Url.parse(url)
    bucket = reached(place, settings)
    choice = choose(bucket, place)
    if not choice.objects:
        raise InvalidError(f"there is nothing below {place}", hint="check the URL")
    _refuse_interrupted(choice)
    objects = [(run, info) for run, info in choice.objects if wanted(info)]
    if not force:
        names = {run for run, _ in objects}
        refuse_live(bucket, [run for run in choice.runs if run.name in names])
    report = ChangeReport(
        command,
        str(place),
        runs=sorted({run for run, _ in objects if run}),
        objects=len(objects),
        bytes=sum(info.size for _, info in objects),
        target=storage_class,
        dry_run=dry_run,
    )
    if dry_run or not objects:
        return report
    if confirm is not None and not confirm(report):
        report.declined = True
        return report
    left = _change_all(bucket, objects, change, on_progress)
    report.left = [Left(run, reason) for run, reason in sorted(left.items())]
    report.runs = [run for run in report.runs if run not in left]
    done = [info for run, info in objects if (run or info.key) not in left]
    report.objects, report.bytes = len(done), sum(info.size for info in done)
    return report


def _change_all(
    bucket: Bucket,
    objects: Sequence[tuple[str, ObjectInfo]],
    change: Callable[[Bucket, ObjectInfo], str],
    on_progress: Callable[[int, int], None] | None,
) -> dict[str, str]:
    left: dict[str, str] = {}
    total, done = sum(info.size for _, info in objects), 0

    def one(owned: tuple[str, ObjectInfo]) -> str:
        try:
            return change(bucket, owned[1])
        except BucketboardError as error:
            if error.reason in (Reason.PRECONDITION, Reason.NOT_FOUND, Reason.CONFLICT):
                return "it was written to meanwhile"
            if error.reason is Reason.INVALID_STATE:
                return "it is archived: thaw it first"
            raise

    pool = ThreadPoolExecutor(_AT_ONCE, "bucketboard-copy")
    try:
        for (run, info), trouble in zip(objects, pool.map(one, objects), strict=True):
            if trouble:
                left[run or info.key] = trouble
            done += info.size
            if on_progress is not None:
                on_progress(done, total)
    finally:
        pool.shutdown(cancel_futures=True)
    return left


def _refuse_interrupted(choice: Choice) -> None:
    for journal in choice.interrupted:
        raise InvalidError(
            f"{journal.command} {journal.url} is under way or was interrupted",
            hint="let it end, or run it again; any rm, mv or prune there ends it, too",
        )
