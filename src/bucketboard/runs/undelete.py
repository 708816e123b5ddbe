"""What is in the trash: listed, brought back, or deleted for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from bucketboard.errors import InvalidError
from bucketboard.journal import JOURNAL, Journal, Move, journal_key, journals, new_id, visible
from bucketboard.runs.change import carry_out
from bucketboard.runs.choice import parent
from bucketboard.runs.perform import Ask, Plan, perform, reached
from bucketboard.runs.report import ChangeReport
from bucketboard.runs.trash import Trash, TrashEntry
from bucketboard.store.bucket import Bucket
from bucketboard.store.url import S3Url

__all__ = ["empty_trash", "trash", "undelete"]


def trash(url: str, **settings: Any) -> list[TrashEntry]:
    """What was removed at ``url`` and can be brought back, oldest first.

    That is in the trash of ``url`` itself and, for what was a run, in its parent's. Two LISTs.

    Raises:
        InvalidError: the bucket can't be listed.
        UnavailableError: not now.
    """
    place = S3Url.parse(url)
    return _look(reached(place, settings), place)[0]


def undelete(
    url: str,
    id: str,
    *,
    dry_run: bool = False,
    confirm: Callable[[ChangeReport], bool] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> ChangeReport:
    """Bring back what the removal with this ``id`` took, to the names it had.

    Raises:
        InvalidError: there is no such removal at ``url``, or one of the names is taken; nothing was changed.
        UnavailableError: the bucket does not do it now; the same call goes on.
    """
    asked = S3Url.parse(url)
    bucket = reached(asked, settings)
    first, _ = _look(bucket, asked)
    place = next((S3Url.parse(entry.place) for entry in first if entry.id == id), asked)
    its_trash = Trash(place)

    def plan(again: bool) -> Plan:
        entries, interrupted = _look(bucket, asked)
        [objects] = [entry.objects for entry in entries if entry.id == id] or [()]
        if not objects and not interrupted and not again:
            raise InvalidError(
                f"there is no {id} in the trash of {asked}",
                hint=f"bucketboard undelete {asked} lists what there is",
            )
        return Plan(
            "undelete",
            place,
            place,
            [(its_trash.run(info.key), info) for info in objects],
            target=lambda _, key: its_trash.original(key),
            shown_target=str(place),
            whole=False,
            interrupted=interrupted,
        )

    def begin(planned: Plan) -> None:
        wanted = {its_trash.original(info.key) for _, info in planned.objects}
        there = {info.key for info in bucket.list(place.prefix).objects} if wanted else set()
        hidden = frozenset().union(*(journal.hidden for journal in planned.interrupted))
        for key in sorted(wanted & (there - hidden)):
            raise InvalidError(
                f"s3://{bucket.name}/{key} is there again; nothing was changed",
                hint="move what is there to another name first, with bucketboard mv",
            )

    ask = Ask(dry_run, confirm, on_progress)
    return perform(
        bucket,
        plan(False),
        ask,
        again=lambda: plan(True),
        begin=begin,
        begun=lambda: _look(bucket, asked)[1],
    )


def empty_trash(
    url: str,
    *,
    older_than: float = 0.0,
    dry_run: bool = False,
    confirm: Callable[[ChangeReport], bool] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> ChangeReport:
    """Delete for good what was removed at ``url`` more than ``older_than`` seconds ago.

    Raises:
        InvalidError: it is not permitted.
        UnavailableError: the bucket does not do it now; the same call goes on.
    """
    place = S3Url.parse(url)
    bucket = reached(place, settings)
    entries, interrupted = _look(bucket, place)
    old = [entry for entry in entries if entry.removed <= time.time() - older_than]
    report = ChangeReport(
        "empty-trash",
        str(place),
        runs=sorted(run for entry in old for run in entry.runs),
        objects=sum(len(entry.objects) for entry in old),
        bytes=sum(entry.size for entry in old),
        resumed=[f"{journal.command} {journal.url}" for journal in interrupted],
        dry_run=dry_run,
    )
    if dry_run or not (old or interrupted):
        return report
    if confirm is not None and not confirm(report):
        report.declined = True
        return report
    for journal in interrupted:
        report.left += carry_out(bucket, journal).lefts()
    done = 0
    for entry in old:
        report.id = new_id()
        of = S3Url.parse(entry.place)
        journal = Journal(
            report.id,
            "empty-trash",
            str(of),
            journal_key(of, report.id),
            moves=tuple(Move(entry.id, info.key, info.etag, info.size) for info in entry.objects),
        )
        report.left += carry_out(bucket, journal.begin(bucket)).lefts()
        done += entry.size
        if on_progress is not None:
            on_progress(done, report.bytes)
    return report


def _look(bucket: Bucket, url: S3Url) -> tuple[list[TrashEntry], Sequence[Journal]]:
    """What is in the trash at ``url``, and the changes there that were interrupted."""
    places = [url] if not url.key else [parent(url), url]
    entries: list[TrashEntry] = []
    interrupted: dict[str, Journal] = {}
    for place in places:
        its_trash = Trash(place)
        # Journals first: what they hide of the listing that follows is what they hid then.
        found = bucket.list(f"{place.prefix}{JOURNAL}/").objects
        known = [journal for _, journal in journals(bucket, found) if journal is not None]
        interrupted |= {journal.key: journal for journal in known}
        entries += its_trash.among(visible(bucket.list(its_trash.prefix).objects, known))
    return sorted(entries, key=lambda entry: entry.id), tuple(interrupted.values())
