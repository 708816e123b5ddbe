"""``prune``: many runs, read and copied by threads, processes or a Dask cluster, as one change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bucketboard.bulk.engine import Done, fan_out
from bucketboard.errors import InvalidError, UnavailableError
from bucketboard.journal import Journal, Move
from bucketboard.runs.change import copy_for
from bucketboard.runs.location import Location
from bucketboard.runs.perform import Ask
from bucketboard.runs.remove import prune_runs
from bucketboard.runs.report import ChangeReport
from bucketboard.runs.where import Condition
from bucketboard.store.bucket import Bucket
from bucketboard.store.url import S3Url

if TYPE_CHECKING:
    from bucketboard.index import Head, Share, ShareRead

__all__ = ["prune"]


def prune(
    url: str,
    *,
    keep_last: int | None = None,
    older_than: float | None = None,
    where: str | None = None,
    now: bool = False,
    force: bool = False,
    dry_run: bool = False,
    workers: int = 1,
    cluster: str | None = None,
    confirm: Callable[[ChangeReport], bool] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> ChangeReport:
    """Remove those runs below ``url`` that fit all of what is given; the rest is as for :func:`rm`.

    It is one change, with one journal and one entry in the trash. ``workers`` processes, or a Dask cluster,
    read what no index covers, for ``where``, and copy to the trash, each run by itself.

    Args:
        url: ``s3://bucket/prefix``.
        keep_last: all but the so many that were written to last.
        older_than: seconds since anything was written to the run.
        where: only those that a condition holds for, as :func:`bucketboard.ls` takes it. One that can't be
            read now is left, and reported.
        now: delete for good.
        force: also runs that are being written.
        dry_run: change nothing.
        workers: processes that share the work; 1: this one, by threads.
        cluster: the address of a Dask cluster's scheduler, which does it instead.
        confirm: asked with the report of what would be done.
        on_progress: called with bytes copied and to copy.
        settings: those of the bucket.

    Raises:
        InvalidError: an argument is wrong, a run is being written, or it is denied; nothing was changed.
        UnavailableError: the bucket or the cluster does not do it now; the same call goes on.
    """
    if keep_last is None and older_than is None and where is None:
        raise InvalidError("prune needs to be told which runs", hint="give keep_last, older_than or where")
    if keep_last is not None and keep_last < 0:
        raise InvalidError(f"keep_last={keep_last} must not be negative")
    if older_than is not None and not older_than >= 0:
        raise InvalidError(f"older_than={older_than:g} must not be negative")
    if workers < 1:
        raise InvalidError(f"workers={workers} must be 1 or more")
    location = Location.of(str(S3Url.parse(url)), settings)
    others = _Others(location, workers, cluster) if workers > 1 or cluster is not None else None
    return prune_runs(
        url,
        keep_last=keep_last,
        older_than=older_than,
        holds=_holding(location, Condition(where), others) if where is not None else None,
        copying=others.copy if others else None,
        now=now,
        force=force,
        ask=Ask(dry_run, confirm, on_progress),
        settings=settings,
    )


def _holding(
    location: Location, condition: Condition, others: _Others | None
) -> Callable[[], dict[str, str]]:
    """Tells the runs that the condition holds for, each with why something of it can't be read now."""

    def holds() -> dict[str, str]:
        from bucketboard.runs.ls import summaries

        place, by = S3Url.parse(location.target), others.look if others else None
        runs, unread = summaries(place, location.settings, by=by)
        return {run.run: unread.get(run.run, "") for run in runs if condition(run)}

    return holds


@dataclass(frozen=True)
class _Look:
    """A run to read; it travels to whoever does it, as the other tasks do."""

    location: Location
    share: Share


@dataclass(frozen=True)
class _Copy:
    """A run to copy, for the change with a journal at ``key``."""

    location: Location
    key: str
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class _Copied:
    left: dict[str, str] = field(default_factory=dict)
    refused: str = ""
    """Why it may not be done at all."""


@dataclass(frozen=True)
class _Others:
    """Those who do the work."""

    location: Location
    workers: int
    cluster: str | None

    def look(self, shares: Sequence[Share]) -> list[tuple[Head, ShareRead]]:
        """Have runs read, and nothing stored."""
        from bucketboard.index import Head, ShareRead

        tasks = {str(number): _Look(self.location, share) for number, share in enumerate(shares)}
        outcome = fan_out(_look, tasks, workers=self.workers, cluster=self.cluster)
        for name, failure in outcome.failures.items():
            failed = dict.fromkeys(tasks[name].share.files, UnavailableError(failure))
            outcome.results[name] = Head({}, []), ShareRead(failures=dict(failed))
        return [outcome.results[name] for name in tasks]

    def copy(
        self,
        bucket: Bucket,
        journal: Journal,
        moves: list[Move],
        left: dict[str, str],
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        """Have runs copied: see `bucketboard.runs.change.copy_all`."""
        runs: dict[str, list[Move]] = {}
        for move in moves:
            runs.setdefault(move.run or move.source, []).append(move)
        tasks = {name: _Copy(self.location, journal.key, tuple(those)) for name, those in runs.items()}
        total, done = sum(move.size for move in moves), 0

        def tell(name: str, ended: Done[_Copied]) -> None:
            nonlocal done
            done += sum(move.size for move in runs[name])
            if on_progress:
                on_progress(done, total)

        outcome = fan_out(_copy, tasks, workers=self.workers, cluster=self.cluster, on_done=tell)
        for copied in outcome.results.values():
            if copied.refused:
                raise InvalidError(copied.refused)
            left |= copied.left
        for name, failure in outcome.failures.items():
            raise UnavailableError(f"{name} can't be copied: {failure}")


def _look(task: _Look) -> tuple[Head, ShareRead]:
    from bucketboard.index import look_share

    return look_share(task.location.source(), task.share, lambda count: None)


def _copy(task: _Copy) -> _Copied:
    try:
        return _Copied(copy_for(task.location.bucket(), task.key, list(task.moves)))
    except InvalidError as error:
        return _Copied(refused=error.message)
