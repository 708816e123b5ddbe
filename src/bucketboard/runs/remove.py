"""Removing runs: to the trash, or for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from bucketboard.errors import InvalidError
from bucketboard.journal import Journal
from bucketboard.runs.choice import Choice, choose, parent, refuse_live
from bucketboard.runs.perform import Ask, Plan, perform, reached
from bucketboard.runs.report import ChangeReport
from bucketboard.runs.trash import Trash
from bucketboard.store.bucket import Bucket
from bucketboard.store.url import S3Url

__all__ = ["prune", "rm"]


def rm(
    url: str,
    *,
    now: bool = False,
    force: bool = False,
    dry_run: bool = False,
    confirm: Callable[[ChangeReport], bool] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> ChangeReport:
    """Remove all runs at and below ``url``, and the files there that are in none.

    They go to the trash, from where `undelete` brings them back; with ``now`` they are deleted for good.
    ``force`` does it to runs that are being written, too. ``dry_run`` changes nothing; ``confirm`` is asked
    with the report of what would be done. ``on_progress`` is called with bytes copied and to copy.

    Raises:
        InvalidError: there is nothing, a run is being written, or it is not permitted. Nothing was changed.
        UnavailableError: the bucket does not do it now; the same call goes on.
    """
    place = S3Url.parse(url)
    bucket = reached(place, settings)
    ask = Ask(dry_run, confirm, on_progress)
    return _remove(bucket, "rm", parent(place), lambda: choose(bucket, place), now, force, ask)


def prune(
    url: str,
    *,
    keep_last: int | None = None,
    older_than: float | None = None,
    where: str | None = None,
    now: bool = False,
    force: bool = False,
    dry_run: bool = False,
    confirm: Callable[[ChangeReport], bool] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> ChangeReport:
    """Remove those runs below ``url`` that fit all of what is given; the rest is as for :func:`rm`.

    Args:
        url: ``s3://bucket/prefix``.
        keep_last: all but the so many that were written to last.
        older_than: seconds since anything was written to the run.
        where: only those that a condition holds for, as :func:`bucketboard.ls` takes it.
        now: delete for good.
        force: also runs that are being written.
        dry_run: change nothing.
        confirm: asked with the report of what would be done.
        on_progress: called with bytes copied and to copy.
        settings: those of the bucket.
    """
    if keep_last is None and older_than is None and where is None:
        raise InvalidError("prune needs to be told which runs", hint="give keep_last, older_than or where")
    if keep_last is not None and keep_last < 0:
        raise InvalidError(f"keep_last={keep_last} must not be negative")
    if older_than is not None and not older_than >= 0:
        raise InvalidError(f"older_than={older_than:g} must not be negative")
    place = S3Url.parse(url)
    bucket = reached(place, settings)

    def chosen() -> Choice:
        choice = choose(bucket, place)
        by_time = sorted(
            choice.runs,
            key=lambda run: max(info.last_modified.timestamp() for info in run.objects if info.last_modified),
        )
        wanted = {run.name for run in by_time}
        if keep_last is not None:
            wanted -= {run.name for run in by_time[max(len(by_time) - keep_last, 0) :]}
        if older_than is not None:
            before = time.time() - older_than
            wanted -= {
                run.name
                for run in by_time
                if any(info.last_modified and info.last_modified.timestamp() > before for info in run.objects)
            }
        if where is not None and wanted:
            from bucketboard.runs.ls import ls

            wanted &= {run.run for run in ls(url, where=where, **settings)}
        return choice.only(wanted)

    return _remove(bucket, "prune", place, chosen, now, force, Ask(dry_run, confirm, on_progress))


def _remove(
    bucket: Bucket,
    command: str,
    place: S3Url,
    choose_again: Callable[[], Choice],
    now: bool,
    force: bool,
    ask: Ask,
) -> ChangeReport:
    latest = choose_again()

    def plan(choice: Choice) -> Plan:
        trash = Trash(place)
        return Plan(
            command,
            choice.url,
            place,
            choice.objects,
            target=None if now else trash.key,
            shown_target="" if now else f"s3://{place.bucket}/{trash.prefix}",
            pointed_from=[choice.url],
            interrupted=choice.interrupted,
        )

    def again() -> Plan:
        nonlocal latest
        latest = choose_again()
        return plan(latest)

    def begin(_: Plan) -> None:
        if not force:
            refuse_live(bucket, latest.runs)

    if command == "prune" and not latest.runs and not latest.interrupted:
        return ChangeReport(command, str(latest.url), dry_run=ask.dry_run)

    def begun() -> Sequence[Journal]:
        return choose(bucket, latest.url).interrupted

    return perform(bucket, plan(latest), ask, again=again, begin=begin, begun=begun)
