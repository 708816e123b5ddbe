"""Removing runs: to the trash, or for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bucketboard.journal import Journal
from bucketboard.runs.change import Copying
from bucketboard.runs.choice import Choice, choose, parent, refuse_live
from bucketboard.runs.perform import Ask, Plan, perform, reached
from bucketboard.runs.report import ChangeReport, Left
from bucketboard.runs.trash import Trash
from bucketboard.store.bucket import Bucket
from bucketboard.store.url import S3Url

__all__ = ["prune_runs", "rm"]


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


def prune_runs(
    url: str,
    *,
    keep_last: int | None,
    older_than: float | None,
    holds: Callable[[], Mapping[str, str]] | None,
    copying: Copying | None,
    now: bool,
    force: bool,
    ask: Ask,
    settings: dict[str, Any],
) -> ChangeReport:
    """Remove those runs below ``url`` that fit all of what is given.

    ``holds`` gives the names of those that a condition holds for, each with why it can't be read now: then it
    is left. ``copying`` is who copies, if not this process. The rest is as for :func:`bucketboard.prune`.
    """
    place = S3Url.parse(url)
    bucket = reached(place, settings)
    unread: dict[str, str] = {}

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
        if holds is not None and wanted:
            found = holds()
            unread.update({name: found[name] for name in wanted & found.keys() if found[name]})
            wanted &= {name for name, wrong in found.items() if not wrong}
        return choice.only(wanted)

    report = _remove(bucket, "prune", place, chosen, now, force, ask, copying)
    report.left += [Left(name, f"it can't be read: {wrong}") for name, wrong in unread.items()]
    return report


def _remove(
    bucket: Bucket,
    command: str,
    place: S3Url,
    choose_again: Callable[[], Choice],
    now: bool,
    force: bool,
    ask: Ask,
    copying: Copying | None = None,
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
            copying=copying,
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
