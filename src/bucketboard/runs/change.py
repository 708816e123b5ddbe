"""A change of many objects as one: copied, turned, deleted, and brought to its end by whoever comes next.

1. The journal is written: the targets are hidden from readers, the sources are shown.
2. Everything is copied, and compared with a new listing. A run that has changed is dropped from the change.
3. The journal turns, by one conditional PUT: the sources are hidden, the targets are shown.
4. The sources are deleted, each under its ETag, then the journal.

Each step may be done again, and by several processes at once: what a process knows of the journal counts only
as long as the journal is still the one it read. In step 4 no target is ever deleted.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bucketboard.errors import BucketboardError, InvalidError, Reason, UnavailableError
from bucketboard.events.filename import is_event_file
from bucketboard.journal import Journal, Move
from bucketboard.runs.listing import group
from bucketboard.runs.report import Left
from bucketboard.selection import is_hidden
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.copy import copy
from bucketboard.store.url import S3Url

__all__ = ["Copying", "Outcome", "abandon", "carry_out", "copy_all", "copy_for"]

_AT_ONCE = 16
_BATCH = 1000
_CHANGED = {Reason.PRECONDITION, Reason.NOT_FOUND, Reason.CONFLICT}
_WRITTEN = "it was written to meanwhile"
_ARCHIVED = "it is archived and can't be copied: thaw it first, or remove it for good"


Copying = Callable[[Bucket, Journal, list[Move], dict[str, str], Callable[[int, int], None] | None], None]
"""Like `copy_all`, perhaps by others."""


@dataclass
class Outcome:
    """What came of a change."""

    moved: tuple[Move, ...] = ()
    left: dict[str, str] = field(default_factory=dict)
    """By run (or key, of an object that is in none), why it was left."""

    def lefts(self) -> list[Left]:
        """The same, for a report."""
        return [Left(run, reason) for run, reason in sorted(self.left.items())]


def carry_out(
    bucket: Bucket,
    journal: Journal,
    *,
    fresh: bool = False,
    copying: Copying | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Bring a change whose journal is written to its end, from wherever it is.

    ``fresh`` says that nothing was copied yet, which saves a listing; a change that makes objects is undone
    without it. ``copying`` is who copies, if not this process. If it fails the journal stays, readers see all
    runs as before or as after, and the same call goes on. What is denied undoes what was copied; so does an
    interruption (KeyboardInterrupt) before the turning point.

    Raises:
        InvalidError: it is not permitted.
        UnavailableError: the bucket does not do it now.
    """
    left: dict[str, str] = {}
    if journal.made and not journal.turned and not fresh:
        abandon(bucket, journal)  # only who began it can make what it makes
        return Outcome()
    while True:
        try:
            if not journal.turned:
                try:
                    if not fresh:
                        journal.point(bucket)  # whoever began it may not have come so far
                    journal = _turn(bucket, journal, left, fresh, copying or copy_all, on_progress)
                except (InvalidError, KeyboardInterrupt):
                    with contextlib.suppress(BucketboardError):
                        abandon(bucket, journal)
                    raise
            _delete(bucket, journal, left)
            journal.end(bucket)
            return Outcome(journal.moves, left)
        except _Overtaken as overtaken:
            now = Journal.read(bucket, journal.key)
            if now is None:
                return _ended_elsewhere(bucket, overtaken.journal, left)
            journal, fresh = now, False


def abandon(bucket: Bucket, journal: Journal) -> None:
    """Undo a change that has not turned: the targets go, the sources stay."""
    sources = _listed(bucket, (move.source for move in journal.moves))
    targets = _listed(bucket, (move.target for move in journal.moves))
    dropped = (*journal.dropped, *journal.made, *_undone(journal.moves, sources, targets))
    try:
        undone = _rewrite(bucket, journal, moves=(), made=(), dropped=dropped, turned=True)
    except _Overtaken:
        return
    _delete(bucket, undone, {})
    undone.end(bucket)


def _ended_elsewhere(bucket: Bucket, journal: Journal, left: dict[str, str]) -> Outcome:
    """Another process has brought it to its end, or undone it: then our copies go too."""
    for pointer in journal.pointers:
        bucket.delete(pointer)
    sources = _listed(bucket, (move.source for move in journal.moves))
    _remove_copies(bucket, journal.moves, sources)
    return Outcome(tuple(move for move in journal.moves if move.source not in sources), left)


def _remove_copies(bucket: Bucket, moves: Iterable[Move], sources: dict[str, ObjectInfo]) -> None:
    """Remove what was copied for nothing: the sources are there, and stay."""
    # In the trash a copy is this change's alone; elsewhere another change may have made it, and gone on.
    again = [
        move.target
        for move in moves
        if is_hidden(move.target) and move.source in sources and _same(sources[move.source].etag, move.etag)
    ]
    _raise_refused(bucket, dict(bucket.delete_many(again)))


class _Overtaken(Exception):
    """Another process has changed the journal."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal


def _rewrite(bucket: Bucket, journal: Journal, **changes: object) -> Journal:
    try:
        return journal.rewrite(bucket, **changes)
    except BucketboardError as error:
        # After a lost answer the journal may be our own: reading it tells.
        if error.reason in (*_CHANGED, Reason.OUTCOME_UNKNOWN):
            raise _Overtaken(journal) from error
        raise


def _turn(
    bucket: Bucket,
    journal: Journal,
    left: dict[str, str],
    fresh: bool,
    copying: Copying,
    on_progress: Callable[[int, int], None] | None,
) -> Journal:
    present = {} if fresh else _listed(bucket, (move.target for move in journal.moves))
    missing = [move for move in journal.moves if move.target and not _is_copy(present.get(move.target), move)]
    if missing:
        copying(bucket, journal, missing, left, on_progress)
    sources = _listed(bucket, (move.source for move in journal.moves))
    targets = _listed(bucket, (move.target for move in journal.moves))
    for move in journal.moves:
        stored = sources.get(move.source)
        if stored is None or not _same(stored.etag, move.etag):
            left.setdefault(move.run or move.source, _WRITTEN)
        elif move.target and (move.target not in targets or targets[move.target].size != move.size):
            left.setdefault(move.run or move.source, "its copy is not what it should be")
    if journal.whole:
        _leave_grown(journal, sources, left)
    if journal.made and left:  # what is made stands for all of them
        raise InvalidError(f"{journal.url}: {next(iter(left.values()))}")
    kept = tuple(move for move in journal.moves if (move.run or move.source) not in left)
    gone = _undone([move for move in journal.moves if (move.run or move.source) in left], sources, targets)
    return _rewrite(bucket, journal, moves=kept, dropped=(*journal.dropped, *gone), turned=True)


def copy_all(
    bucket: Bucket,
    journal: Journal,
    moves: list[Move],
    left: dict[str, str],
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Copy what the change moves; ``left`` gets why a run can't be.

    Event files come last, so that even who knows nothing of journals sees no run without the rest.

    Raises:
        InvalidError: it is not permitted.
        UnavailableError: the bucket does not do it now.
    """
    _copy(bucket, moves, left, on_progress)


def copy_for(bucket: Bucket, key: str, moves: list[Move]) -> dict[str, str]:
    """Copy some of what a change moves that another process carries out, whose journal is at ``key``.

    That one may have undone the change meanwhile, or ended it without these: then the copies go again. Gives
    the reasons for what is left; raises as `copy_all`.
    """
    left: dict[str, str] = {}
    _copy(bucket, moves, left, None)
    now = Journal.read(bucket, key)
    wanted = {move.target for move in now.moves} if now else set()
    if stray := [move for move in moves if move.target not in wanted]:
        _remove_copies(bucket, stray, _listed(bucket, (move.source for move in stray)))
    return left


def _copy(
    bucket: Bucket,
    moves: list[Move],
    left: dict[str, str],
    on_progress: Callable[[int, int], None] | None,
) -> None:
    total, done = sum(move.size for move in moves), 0

    def one(move: Move) -> tuple[Move, BucketboardError | None]:
        try:
            copy(bucket, ObjectInfo(move.source, move.size, move.etag), move.target)
        except BucketboardError as error:
            return move, error
        return move, None

    for events in (False, True):
        turn = [move for move in moves if is_event_file(move.target) is events]
        pool = ThreadPoolExecutor(_AT_ONCE, "bucketboard-copy")
        try:
            for move, error in pool.map(one, turn):
                if error is not None:
                    if error.reason is Reason.INVALID_STATE:
                        left[move.run or move.source] = _ARCHIVED
                    elif error.reason in _CHANGED:
                        left[move.run or move.source] = _WRITTEN
                    else:
                        raise error
                done += move.size
                if on_progress is not None:
                    on_progress(done, total)
        finally:
            pool.shutdown(cancel_futures=True)


def _undone(
    moves: Iterable[Move], sources: dict[str, ObjectInfo], targets: dict[str, ObjectInfo]
) -> tuple[str, ...]:
    """The copies that may go when their moves are given up: what has no source any more is no copy."""

    def is_ours(move: Move) -> bool:
        # Without conditions a server may have copied what the source has become.
        sizes = (move.size, sources[move.source].size)
        return is_hidden(move.target) or targets[move.target].size in sizes

    return tuple(
        move.target for move in moves if move.source in sources and move.target in targets and is_ours(move)
    )


def _leave_grown(journal: Journal, sources: dict[str, ObjectInfo], left: dict[str, str]) -> None:
    """A run that has more objects than when the change was planned is being written."""
    planned = {move.source for move in journal.moves}
    names = {move.run for move in journal.moves}
    for name, run in group(sources.values(), S3Url.parse(journal.url).prefix).items():
        if name in names and any(info.key not in planned for info in run.objects):
            left.setdefault(name, _WRITTEN)


def _delete(bucket: Bucket, journal: Journal, left: dict[str, str]) -> None:
    sources = _listed(bucket, (move.source for move in journal.moves))
    doomed = []
    for move in journal.moves:
        stored = sources.get(move.source)
        if stored is not None and _same(stored.etag, move.etag):
            doomed.append(move)
        elif stored is not None:
            left[move.run or move.source] = f"{_WRITTEN}: what is new stays, beside what was moved"
    for batch in _batches(doomed):
        etags = {move.source: _quoted(sources[move.source]) for move in batch}
        refused = dict(bucket.delete_many(list(etags), etags))
        for move in batch:
            if "PreconditionFailed" in refused.get(move.source, ""):
                left[move.run or move.source] = f"{_WRITTEN}: what is new stays, beside what was moved"
                del refused[move.source]
        _raise_refused(bucket, refused)
    if journal.dropped:
        _raise_refused(bucket, dict(bucket.delete_many(journal.dropped)))


def _quoted(info: ObjectInfo) -> str:
    """Its ETag in quotes, as a condition wants it and not every listing gives it."""
    return f'"{info.etag.strip(chr(34))}"'


def _raise_refused(bucket: Bucket, refused: dict[str, str]) -> None:
    for key, reason in refused.items():
        raise UnavailableError(
            f"DeleteObjects s3://{bucket.name}/{key}: {reason}; {len(refused)} objects in all",
            hint="the change is not finished: the same command goes on when they may be deleted",
        )


def _batches(moves: list[Move]) -> Iterable[list[Move]]:
    """At most a thousand each; event files first, those of one run together: a run goes at once."""
    of_run: dict[tuple[bool, str], list[Move]] = {}
    for move in moves:
        of_run.setdefault((not is_event_file(move.source), move.run), []).append(move)
    batch: list[Move] = []
    for _, those in sorted(of_run.items(), key=lambda item: item[0]):
        if batch and len(batch) + len(those) > _BATCH:
            yield batch
            batch = []
        batch += those
        while len(batch) > _BATCH:
            yield batch[:_BATCH]
            batch = batch[_BATCH:]
    if batch:
        yield batch


def _listed(bucket: Bucket, keys: Iterable[str]) -> dict[str, ObjectInfo]:
    """What lies where ``keys`` are, by one listing of their common prefix."""
    wanted = [key for key in keys if key]
    if not wanted:
        return {}
    prefix = os.path.commonprefix(wanted).rpartition("/")[0]  # noqa: RUF071
    return {info.key: info for info in bucket.list(f"{prefix}/" if prefix else "").objects}


def _same(one: str, other: str) -> bool:
    return one.strip('"') == other.strip('"')


def _is_copy(stored: ObjectInfo | None, move: Move) -> bool:
    # ETags of copies differ where parts or keys of KMS are in play. Then it is copied again.
    return stored is not None and stored.size == move.size and _same(stored.etag, move.etag)
