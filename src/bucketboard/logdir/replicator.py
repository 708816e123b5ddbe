"""The replicator: keeps a prefix of a bucket equal to a directory, while it changes and at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bucketboard.errors import (
    BucketboardError,
    CorruptDataError,
    FencedError,
    InvalidError,
    Reason,
    UnavailableError,
)
from bucketboard.events.filename import is_event_file
from bucketboard.logdir.account import Account
from bucketboard.logdir.agenda import NEVER, Agenda, Entry
from bucketboard.logdir.cache import Cache, Row, default_path
from bucketboard.logdir.deletion import delete
from bucketboard.logdir.follower import Follower, Outcome
from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.pace import Backoff
from bucketboard.logdir.publish import publish_index
from bucketboard.logdir.report import Progress, SyncEvent, SyncReport
from bucketboard.logdir.source import Source
from bucketboard.logdir.survey import Survey, survey
from bucketboard.logdir.tree import Found, Tree
from bucketboard.logdir.watcher import Watcher
from bucketboard.logdir.workers import Workers
from bucketboard.replication.replica import LogChanged
from bucketboard.replication.spool import on_network
from bucketboard.replication.uploader import Target
from bucketboard.selection import RUN_FILE
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.capabilities import capabilities_of
from bucketboard.store.fast import fast_bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url

__all__ = ["Replicator"]

logger = logging.getLogger("bucketboard")

_SCAN_EVERY = 10.0
_SCAN_SHARE = 50
"""Scans take at most one part in so many of the time."""
_SCAN_SOON = 0.3
_UNSTEADY_TRIES = 5
_INDEX_SECONDS = 10.0
"""With less time than this an index is not begun."""
_EVERYWHERE = (Reason.IDENTITY, Reason.NO_SUCH_BUCKET)
"""Reasons why what failed for one file fails for all."""
_UNAVAILABLE = (Reason.OTHER, Reason.OUTCOME_UNKNOWN)
"""The same, of something that may work later."""
_UNSEEN = ObjectInfo("", 0, "")


class Replicator:
    """``start`` follows the directory in the background; ``finish`` brings over everything and ends it.

    One thread decides, ``options.jobs`` threads send, others list, scan and watch and put what they find into
    its inbox. What happens is told to ``report``, from that one thread or from one that looks. ``fast``: send
    small files through obstore, which must not be loaded where training happens.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        url: S3Url,
        options: SyncOptions | None = None,
        settings: Settings | None = None,
        *,
        report: Callable[[SyncEvent], None] = lambda event: None,
        fast: bool = False,
    ) -> None:
        self._options = options or SyncOptions()
        settings = settings or Settings.resolve()
        self._account = Account(report, dry_run=self._options.dry_run)
        self._root = Path(directory)
        self._url = url
        open_bucket = fast_bucket if fast else Bucket
        self._bucket = open_bucket(url.bucket, settings)
        self._target = Target(self._bucket, url.prefix, user=dict(self._options.metadata))
        self._can = capabilities_of(self._bucket)
        self._tree = Tree(
            self._root, self._options.selection, self._account.refused, key_bytes=len(url.prefix.encode())
        )
        identity = (os.path.realpath(self._root), settings.endpoint() or "", str(url))
        asked = self._options.cache
        self._cache = Cache(Path(asked) if asked else default_path(*identity))
        self._agenda = Agenda()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._senders = Workers(self._options.jobs, "bucketboard-send")
        self._lookers = Workers(2, "bucketboard-look")
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._hurry = threading.Event()
        """Not to wait any longer before the bucket is listed again."""
        self._watcher: Watcher | None = None
        self._polling = on_network(self._root)
        self._there: Survey | None = None
        self._gone: set[str] = set()
        self._busy = 0
        self._outage = Backoff()
        self._proven = False
        self._error: BucketboardError | None = None
        self._live = self._final = self._scanning = self._scanned_finally = False
        self._scan_due = float("-inf")
        self._began = self._last_success = time.monotonic()
        self._deadline = NEVER

    def start(self) -> None:
        """Follow the directory, which need not exist yet, in the background."""
        self._live = True
        self._launch()

    def finish(self, timeout: float | None = None) -> SyncReport:
        """Bring over everything that is there now, event files first, and end.

        Gives up what trying again can't help, and all that is left when ``timeout`` seconds have passed or
        nothing has succeeded for ``options.patience``.
        """

        def begin() -> None:
            self._final = True
            self._agenda.in_order = self._live
            self._last_success = time.monotonic()
            self._deadline = NEVER if timeout is None else time.monotonic() + timeout
            self._outage.until = self._scan_due = float("-inf")
            for entry in self._agenda:
                entry.backoff.succeeded()  # each is tried as often as if it were seen now

        self._inbox.put(begin)
        self._hurry.set()
        self._launch()
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(0.5)  # in pieces, so that Ctrl-C gets through
        if self._options.publish_index and self._account.sent and not self._options.dry_run:
            self._publish()
        self._close()
        return self._account.report

    def stop(self) -> None:
        """End at once; what was being sent is resumed by a later replication."""
        self._inbox.put(self._stopped.set)
        if self._thread is not None:
            self._thread.join(5.0)
        self._close()

    @property
    def error(self) -> BucketboardError | None:
        """Why nothing could be done, or why some file could not; None while all is well."""
        return self._error or next((entry.error for entry in self._agenda if entry.error), None)

    @property
    def progress(self) -> Progress:
        """How far it is with what is not known to be in the bucket already."""
        files = size = total_files = total = 0
        for entry in self._agenda:
            if entry.path not in self._account.sent and entry.due == NEVER and not entry.busy:
                continue
            total_files += 1
            total += entry.found.size
            source = entry.follower.source
            if entry.done:
                files += 1
                size += entry.found.size
            elif source is not None:
                size += min(source.read_bytes // 2, entry.found.size)  # each byte is measured, then sent
        return Progress(files, total_files, size, total)

    def _launch(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="bucketboard-sync", daemon=True)
            self._lookers.submit(self._look_there)
            thread.start()
            self._thread = thread  # now that it may be waited for

    def _publish(self) -> None:
        """The index is a cache: what keeps it from being published is said, and no failure."""
        if self._deadline - time.monotonic() < _INDEX_SECONDS:
            return
        try:
            user = self._target.user
            done = publish_index(self._root, self._url, self._bucket, self._cache.rows, user)
        except BucketboardError as error:
            self._account.once("index", "", f"not published: {error}")
        else:
            self._account.once("index", "", done)

    def _close(self) -> None:
        self._stopped.set()
        self._hurry.set()
        if self._watcher is not None:
            self._watcher.close()
        self._senders.close()
        self._lookers.close()
        self._cache.close()
        if self._cache.trouble and not self._options.dry_run:
            self._account.once(
                "cache",
                "",
                f"what was sent is not remembered, the next time files are read again: {self._cache.trouble}",
            )
        report, meter = self._account.report, self._bucket.meter
        report.bytes, report.requests = meter.bytes_sent, meter.requests
        report.seconds = time.monotonic() - self._began
        report.files = len(self._account.sent)
        report.stored = sum(min(entry.follower.stored, entry.found.size) for entry in self._agenda)

    def _run(self) -> None:
        while not self._stopped.is_set():
            now = time.monotonic()
            if now >= self._scan_due and not self._scanning:
                self._scanning = True
                self._lookers.submit(partial(self._scan, self._final))
            self._dispatch(now)
            if self._final and self._is_over(time.monotonic()):
                return
            with contextlib.suppress(queue.Empty):
                self._inbox.get(timeout=max(0.0, min(60.0, self._next_time() - time.monotonic())))()
                while True:
                    self._inbox.get_nowait()()

    def _next_time(self) -> float:
        """When there is something to do, if nothing comes in before."""
        times = [NEVER if self._scanning else self._scan_due]
        if self._there is not None and self._busy < self._room:
            times.append(max(self._agenda.next_due(), self._outage.until))
        if self._final:
            times += [self._deadline, self._last_success + self._options.patience]
        return min(times)

    @property
    def _room(self) -> int:
        """How many files may be sent at once: one, until it is seen that and how the server takes them."""
        return 1 if self._outage.failures or not self._proven else self._options.jobs

    def _is_over(self, now: float) -> bool:
        """Whether the final pass has come to its end, one way or the other."""
        if isinstance(self._error, InvalidError):
            self._give_up(self._error)
            return True
        seen = self._there is not None and self._scanned_finally
        if seen and not self._busy and all(entry.done for entry in self._agenda):
            self._finish_deleting()
            return True
        if now >= min(self._deadline, self._last_success + self._options.patience):
            self._give_up(self.error or UnavailableError(f"{self._url}: not stored in time"))
            return True
        return False

    def _give_up(self, error: BucketboardError) -> None:
        left = [entry for entry in self._agenda if not entry.done]
        for entry in left:
            self._account.failed(entry.path, entry.error or error)
        if not left:
            self._account.failed("", error)

    # The bucket, looked at once.

    def _look_there(self) -> None:
        """Find out what the bucket has; tried until it succeeds."""
        backoff = Backoff()
        while not self._stopped.is_set():
            try:
                found = survey(self._bucket, self._url, uploads=not self._cache.found)
            except BucketboardError as error:
                self._inbox.put(partial(self._not_surveyed, error))
                backoff.failed(time.monotonic())
                if self._hurry.wait(backoff.until - time.monotonic()):
                    self._hurry.clear()
                    backoff.succeeded()
            else:
                self._inbox.put(partial(self._surveyed, found))
                return

    def _surveyed(self, found: Survey) -> None:
        self._there = found
        self._error = None
        self._last_success = time.monotonic()
        self._scan_due = float("-inf")

    def _not_surveyed(self, error: BucketboardError) -> None:
        self._error = error
        self._account.once("retry", "", str(error))

    # The directory, looked at over and over.

    def _scan(self, final: bool) -> None:
        began = time.monotonic()
        found = self._tree.scan()
        missed, took = self._tree.missed, time.monotonic() - began
        self._inbox.put(lambda: self._scanned(found, missed, took, final))

    def _scanned(self, found: dict[str, Found], missed: dict[str, str], took: float, final: bool) -> None:
        self._scanning = False
        if self._there is None or (self._final and not final):
            self._scan_due = NEVER if self._there is None else float("-inf")
            return
        now = time.monotonic()
        every = _SCAN_EVERY if found or self._root.is_dir() else _SCAN_SOON  # until there is a directory
        self._scan_due = NEVER if final else now + max(every, took * _SCAN_SHARE)
        self._scanned_finally = final
        for each in found.values():
            self._saw(each, now)
        for path, why in missed.items():
            self._account.once("refused", path, why)
            if final:
                self._account.failed(path, why)
        if not missed:
            self._forget_missing(found)
        elif final:
            for entry in self._agenda:
                if entry.path not in found:  # gone, or in what was missed: there is nothing to wait for
                    self._agenda.remove(entry.path)
        if self._live and not final:
            self._watch()

    def _forget_missing(self, found: dict[str, Found]) -> None:
        """Files that were there: forget them, and if asked delete their objects, when they miss twice."""
        missing = {entry.path for entry in self._agenda if entry.path not in found}
        there = self._root.is_dir()
        for path in missing:
            self._agenda.remove(path)
            if there:
                self._cache.remove(path)
        if self._options.delete and self._live and there:
            self._delete(sorted(self._gone - found.keys()))
            self._gone = missing

    def _watch(self) -> None:
        if self._watcher is None and not self._polling and self._root.is_dir():

            def changed(paths: set[str]) -> None:
                self._inbox.put(lambda: self._look(paths))

            def failed(why: str) -> None:
                self._inbox.put(lambda: self._unwatched(why))

            self._watcher = Watcher(self._root, changed, failed)
            self._watcher.start()

    def _unwatched(self, why: str) -> None:
        self._polling, self._watcher = True, None
        self._account.once(
            "polling", "", f"the system does not tell of changes, so scans alone find them: {why}"
        )

    def _look(self, paths: set[str]) -> None:
        """Look at files that have changed; at everything, where that does not tell what happened."""
        now = time.monotonic()
        new = {path for path in paths if is_event_file(path) and path not in self._agenda.entries}
        # Of a new directory the system may tell of a later file alone; the earlier ones must go first.
        for path in paths.union(*map(self._tree.event_files_beside, new)):
            found = self._tree.look(path)
            if found is not None:
                self._saw(found, now)
            elif path not in self._agenda.entries and (self._root / path).is_dir():
                self._scan_due = min(self._scan_due, now + _SCAN_SOON)

    def _saw(self, found: Found, now: float) -> None:
        entry = self._agenda.entries.get(found.path)
        if entry is None:
            entry = self._new_entry(found, now)
            if entry.due != NEVER:
                return
        elif found != entry.found:
            entry.found, entry.changed_at = found, now
            if not self._final:
                self._agenda.plan(entry, max(entry.due_after_change(self._options, now), entry.backoff.until))
        if self._final and self._scanned_finally and not entry.done:
            self._plan_finally(entry, now)

    def _plan_finally(self, entry: Entry, now: float) -> None:
        if entry.busy:
            return  # it is planned again when its pass is over
        if entry.follower.unchanged(entry.found) and not entry.follower.live:
            self._done(entry)
        else:
            self._agenda.plan(entry, now)

    def _done(self, entry: Entry) -> None:
        entry.done, entry.error = True, None
        self._account.done(entry.path)

    def _new_entry(self, found: Found, now: float) -> Entry:
        there = self._there or Survey()
        row = self._cache.rows.get(found.path)
        if found.path in there.strays:
            row = dataclasses.replace(row or Row(), strays=True)
        listed = _UNSEEN if there.blind else there.objects.get(found.path)

        def remember(row: Row, at_once: bool) -> None:
            self._cache.put(found.path, row, now=at_once)

        follower = Follower(self._target, self._options, self._can, row, listed, remember)
        entry = self._agenda.entries[found.path] = Entry(found, follower, now, now)
        if not self._final and not follower.unchanged(found):
            self._agenda.plan(entry, entry.due_after_change(self._options, now))
        return entry

    # Sending.

    def _dispatch(self, now: float) -> None:
        if self._there is None or now < self._outage.until:
            return
        while self._busy < self._room and (entry := self._agenda.take(now)) is not None:
            final = self._final and self._scanned_finally  # before, the file may have grown unseen
            as_it_is = final or (entry.events and now - entry.changed_at >= self._options.torn_after)
            self._busy += 1
            entry.last_start = now
            self._senders.submit(partial(self._advance, entry, entry.found, as_it_is, final))

    def _advance(self, entry: Entry, found: Found, as_it_is: bool, final: bool) -> None:
        """In a thread that sends."""
        began = time.monotonic()
        result: Outcome | LogChanged | BucketboardError
        try:
            result = entry.follower.advance(Source(self._root, found), final=as_it_is)
        except (LogChanged, BucketboardError) as error:
            result = error
        except Exception as error:
            logger.exception("%s: replication failed", found.path)  # a fault of our own must not stay unseen
            result = UnavailableError(
                f"{found.path}: {type(error).__name__}: {error}", reason=Reason.CONFLICT
            )
        took = time.monotonic() - began
        self._inbox.put(lambda: self._advanced(entry, found, result, took, final))

    def _advanced(
        self,
        entry: Entry,
        found: Found,
        result: Outcome | LogChanged | BucketboardError,
        took: float,
        final: bool,
    ) -> None:
        now = time.monotonic()
        self._busy -= 1
        if isinstance(result, Outcome):
            self._succeeded(entry, found, result, took, final, now)
        elif isinstance(result, LogChanged):
            self._unsteady(entry, result, now)
        else:
            self._failed(entry, result, now, now - took)
        self._agenda.release(entry)

    def _succeeded(
        self, entry: Entry, found: Found, outcome: Outcome, took: float, final: bool, now: float
    ) -> None:
        entry.last_duration, entry.error = took, None
        entry.backoff.succeeded()
        self._outage.succeeded()
        self._proven = self._proven or outcome.sent or outcome.complete
        self._error = None
        self._last_success = now
        self._account.passed(entry.path, outcome)
        if why := entry.follower.whole:
            self._account.once("whole", "", f"files are sent whole, at most hourly and at the end: {why}")
        if final:
            self._done(entry)
        elif self._final:
            if self._scanned_finally:  # else the scan plans it
                self._agenda.plan(entry, now)
        elif entry.found != found:
            self._agenda.plan(entry, entry.due_after_change(self._options, now))
        elif not outcome.complete:
            self._agenda.plan(entry, entry.changed_at + self._options.torn_after)

    def _unsteady(self, entry: Entry, change: LogChanged, now: float) -> None:
        """The file changed while it was read: look at it again, but not for ever."""
        entry.backoff.failed(now)
        self._account.report.retries += 1
        found = self._tree.look(entry.path)
        if found is not None:
            entry.found = found
        if self._final and entry.backoff.failures >= _UNSTEADY_TRIES:
            entry.done = True
            self._account.failed(
                entry.path, UnavailableError(f"{change}", hint="sync again when it has settled")
            )
        elif self._final and not (self._root / entry.path).exists():
            self._agenda.remove(entry.path)
        else:
            self._agenda.plan(entry, entry.backoff.until)

    def _failed(self, entry: Entry, error: BucketboardError, now: float, began: float) -> None:
        entry.error = error
        self._account.report.retries += 1
        hopeless = isinstance(error, InvalidError | FencedError | CorruptDataError)
        everywhere = error.reason in _EVERYWHERE or (not hopeless and error.reason in _UNAVAILABLE)
        if everywhere:
            self._error = error
            self._outage.failed(now, began)
        else:
            entry.backoff.failed(now)
        if hopeless and self._final:
            entry.done = True
            self._account.failed(entry.path, error)
            return
        self._account.once("retry", entry.path, str(error))
        self._agenda.plan(entry, NEVER if isinstance(error, FencedError) else entry.backoff.until)

    # Deleting.

    def _finish_deleting(self) -> None:
        if not self._options.delete or self._there is None or self._there.blind:
            return
        why = ""
        if self._tree.missed:
            why = "not all of the directory can be read"
        elif not self._root.is_dir():  # not mounted, or not begun: that is no wish to lose all of it
            why = "there is no such directory"
        if why:
            self._account.refused("", f"nothing is deleted in the bucket, because {why}")
            return
        wanted = self._options.selection
        stored = {*self._there.objects, *self._account.sent}
        here = self._agenda.entries
        runs = {path.rpartition("/")[0] for path in here if is_event_file(path)}
        # What was said of a run in the bucket alone, such as its labels, goes with the run.
        kept = here.keys() | {f"{run}/{RUN_FILE}" if run else RUN_FILE for run in runs}
        self._delete(sorted(path for path in stored if wanted(path) and path not in kept))

    def _delete(self, paths: list[str]) -> None:
        delete(self._bucket, self._url, paths, self._account, dry_run=self._options.dry_run)
        for path in paths:
            if self._there is not None:
                self._there.objects.pop(path, None)
