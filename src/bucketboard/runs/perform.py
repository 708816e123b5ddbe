"""The way every command takes that moves or removes objects: look, ask, finish what was begun, carry out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bucketboard.errors import BucketboardError, InvalidError, Reason, UnavailableError
from bucketboard.journal import Journal, Move, journal_key, new_id
from bucketboard.runs.change import Copying, abandon, carry_out
from bucketboard.runs.report import ChangeReport
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url

__all__ = ["Ask", "Plan", "perform", "reached"]

_ATTEMPTS = 5


@dataclass(frozen=True)
class Ask:
    """Whether to go on, and whom to tell how far it is (bytes copied and to copy)."""

    dry_run: bool = False
    confirm: Callable[[ChangeReport], bool] | None = None
    on_progress: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class Plan:
    """A change before it begins."""

    command: str
    url: S3Url
    place: S3Url
    objects: Sequence[tuple[str, ObjectInfo]]
    """Each with the name of its run, "" if it is in none."""
    target: Callable[[str, str], str] | None = None
    """Where an object goes, by the change's id and its key; None: nowhere."""
    shown_target: str = ""
    whole: bool = True
    pointed_from: Sequence[S3Url] = ()
    """Other places whose readers must know of the change."""
    interrupted: Sequence[Journal] = field(default=())
    copying: Copying | None = None
    """Who copies, if not this process."""


def reached(url: S3Url, settings: dict[str, Any]) -> Bucket:
    """The bucket of ``url``; failed requests are repeated by botocore."""
    return Bucket(url.bucket, Settings.resolve(**settings), attempts=_ATTEMPTS)


def perform(
    bucket: Bucket,
    plan: Plan,
    ask: Ask,
    *,
    again: Callable[[], Plan],
    begin: Callable[[Plan], None],
    begun: Callable[[], Sequence[Journal]],
) -> ChangeReport:
    """Do what ``plan`` says, after what was interrupted.

    ``again`` makes the plan anew when something was finished first: only what both plans have is moved.
    ``begin`` may refuse the plan, before anybody is asked and again after that. ``begun`` gives the changes
    under way there.

    Raises:
        InvalidError: there is nothing to do, or it is refused or not permitted.
        UnavailableError: the bucket does not do it now. The same command goes on later.
    """
    report = _report(plan, ask)
    if not plan.objects and not plan.interrupted:
        raise InvalidError(f"there is nothing below {plan.url}", hint="check the URL")
    begin(plan)
    if ask.dry_run:
        return report
    if ask.confirm is not None and not ask.confirm(report):
        report.declined = True
        return report
    if plan.interrupted:
        for journal in plan.interrupted:
            report.left += carry_out(bucket, journal).lefts()
        known = {(run, info.key, info.etag) for run, info in plan.objects}
        plan = again()
        plan = replace(
            plan, objects=[each for each in plan.objects if (each[0], each[1].key, each[1].etag) in known]
        )
        begin(plan)
    if not plan.objects:
        report.objects = report.bytes = 0
        report.runs = []
        return report
    change = new_id()
    moves = tuple(
        Move(run, info.key, info.etag, info.size, plan.target(change, info.key) if plan.target else "")
        for run, info in plan.objects
    )
    _try_deleting(bucket, moves[0].source)
    journal = Journal(
        change,
        plan.command,
        str(plan.url),
        journal_key(plan.place, change),
        whole=plan.whole,
        moves=moves,
        pointers=tuple(
            journal_key(place, change)
            for place in dict.fromkeys(plan.pointed_from)
            if not plan.place.prefix.startswith(place.prefix)  # else the journal itself is below it
        ),
    )
    try:
        journal = journal.begin(bucket)
    except InvalidError:
        written = Journal.read(bucket, journal.key)  # what points to it may have been denied
        if written is not None and not written.turned:
            abandon(bucket, written)
        raise
    _withdraw_beside(bucket, journal, begun())
    try:
        outcome = carry_out(bucket, journal, fresh=True, copying=plan.copying, on_progress=ask.on_progress)
    except UnavailableError as error:
        hint = "nothing is lost and readers see every run once; the same command goes on"
        raise UnavailableError(error.message, hint=hint, reason=error.reason) from error
    report.id = change
    report.left += outcome.lefts()
    report.runs = sorted({move.run for move in outcome.moved if move.run} - outcome.left.keys())
    report.objects = len(outcome.moved)
    report.bytes = sum(move.size for move in outcome.moved)
    return report


def _withdraw_beside(bucket: Bucket, journal: Journal, others: Sequence[Journal]) -> None:
    """Two that have begun without knowing of each other: of their journals, each has written its own before
    it looked, so that one at least sees the other, and withdraws before anything is copied."""
    own = {key for move in journal.moves for key in (move.source, move.target) if key}
    for other in others:
        theirs = {key for move in other.moves for key in (move.source, move.target)}
        if other.id != journal.id and own & theirs:
            abandon(bucket, replace(journal, moves=()))
            raise UnavailableError(
                f"{other.command} {other.url} began at the same moment; this command changed nothing",
                hint="run it again when that one has ended",
            )


def _report(plan: Plan, ask: Ask) -> ChangeReport:
    return ChangeReport(
        plan.command,
        str(plan.url),
        runs=sorted({run for run, _ in plan.objects if run}),
        objects=len(plan.objects),
        bytes=sum(info.size for _, info in plan.objects),
        target=plan.shown_target,
        resumed=[f"{journal.command} {journal.url}" for journal in plan.interrupted],
        dry_run=ask.dry_run,
    )


def _try_deleting(bucket: Bucket, beside: str) -> None:
    """Who may copy and not delete would end in the middle: found out on an object that is not there."""
    try:
        bucket.delete(f"{beside.rpartition('/')[0]}/.bucketboard-{new_id()}".lstrip("/"))
    except BucketboardError as error:
        if error.reason is not Reason.NOT_FOUND:
            raise
