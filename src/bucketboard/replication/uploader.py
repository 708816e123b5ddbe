"""The uploader: sends one writer's log to its run, file after file, in a thread of its own."""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bucketboard.errors import BucketboardError, FencedError, InvalidError, UnavailableError
from bucketboard.events.record import crc32c
from bucketboard.replication.log import EventLog, LogFile, State
from bucketboard.replication.names import RunNames
from bucketboard.replication.options import Options
from bucketboard.replication.plan import MAX_TAIL
from bucketboard.replication.position import Mark
from bucketboard.replication.replica import ObjectGone, Replica, SegmentsNeeded
from bucketboard.replication.run_file import write_run_file
from bucketboard.replication.storage import Storage
from bucketboard.selection import RUN_FILE
from bucketboard.store.bucket import Bucket, Content
from bucketboard.store.capabilities import Capabilities, capabilities_of

__all__ = ["Sidecar", "Target", "Uploader"]

logger = logging.getLogger("bucketboard")

_BACKOFF_FIRST = 0.5
_BACKOFF_MOST = 30.0


@dataclass(frozen=True)
class Target:
    """Where a log goes: the run's prefix in a bucket (with a slash behind), and what its objects carry."""

    bucket: Bucket
    prefix: str
    suffix: str = ""
    user: Mapping[str, str] = field(default_factory=dict)
    gather: Callable[[], Mapping[str, str]] = dict
    """Finds out what else the objects carry; may take a while, and is asked by the uploader's thread."""

    def __str__(self) -> str:
        return f"s3://{self.bucket.name}/{self.prefix.rstrip('/')}"


@dataclass(frozen=True)
class Sidecar:
    """A file that belongs beside the event files, stored whole."""

    name: str
    storage: Storage
    content_type: str = "application/octet-stream"


class Uploader:
    """Decides when to send and what comes first; replicas do the sending.

    ``advance`` does all work due now and can be driven by hand with a clock of one's own; ``start`` drives
    it from a daemon thread. ``sent_before`` tells, for files found in the spool, what S3 was known to have.
    """

    def __init__(
        self,
        log: EventLog,
        target: Target,
        options: Options,
        report: Callable[[BucketboardError], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sent_before: Mapping[str, int] | None = None,
    ) -> None:
        self._log = log
        self._target = target
        self._options = options
        self._report = report
        self._clock = clock
        self._sent_before = sent_before or {}
        self._sidecars: collections.deque[Sidecar] = collections.deque()
        self._names = RunNames(target.bucket, target.prefix, target.suffix)
        self._replica: tuple[LogFile, Replica] | None = None
        self._segments = options.append == "segments"
        self._segments_because = ""
        """Why the log is still to be divided, "" while it is not."""
        self._can: Capabilities | None = None
        self._random = random.Random()  # the training's own generator must not be touched
        self._began = clock()
        self._last_start = float("-inf")
        self._last_duration = 0.0
        self._failures = 0
        self._retry_at = float("-inf")
        self._error: BucketboardError | None = None
        self._attempts = 0
        self._closing_attempts = 0
        self._wanted = 0
        self._idle = False
        self._closing = False
        self._stopped = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        if self._segments:
            self._log.roll_size = min(self._log.roll_size, MAX_TAIL)

    def start(self) -> None:
        """Begin uploading in the background."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="bucketboard-upload", daemon=True)
            # At the end of the interpreter no thread can be started: then `close` does the work itself.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def logged(self) -> None:
        """Something was logged. Costs next to nothing unless the uploader had nothing to do."""
        self.start()
        if self._idle or self._log.pressing:
            self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def add(self, sidecar: Sidecar) -> None:
        """Send a file beside the event files; one of the same name that still waits is replaced."""
        for waiting in list(self._sidecars):
            if waiting.name == sidecar.name:
                with contextlib.suppress(ValueError):
                    self._sidecars.remove(waiting)
                    waiting.storage.remove()
        self._sidecars.append(sidecar)

    @property
    def pending(self) -> bool:
        """Whether anything waits for S3."""
        return bool(self._sidecars) or self._log.stored != self._log.logged

    @property
    def complete(self) -> bool:
        """Whether S3 has everything, the finished files marked as such."""
        return not self._sidecars and self._log.empty

    def due(self) -> float:
        """The clock's time of the next upload; infinity when there is nothing to send."""
        if self._stopped or not (self.pending or (self._closing and not self.complete)):
            return float("inf")
        if self._failures:
            return self._retry_at
        if self._closing or self._log.pressing or self._log.stored.events < self._wanted:
            return float("-inf")
        resent = self._replica[1].resent if self._replica else 0
        interval = self._options.cadence.interval(
            age=self._clock() - self._began,
            resent=0 if self._segments else resent,
            last_duration=self._last_duration,
            segments=self._segments,
        )
        return self._last_start + interval

    def advance(self) -> None:
        """Send everything that is logged now.

        Raises:
            FencedError: somebody else wrote to our object; the uploader has stopped for good.
            BucketboardError: it did not work; ``due`` says when to try again.
        """
        self._gathered()  # its time is none of S3's, by which the cadence goes
        self._last_start = self._clock()
        before = self._log.stored.bytes
        try:
            self._send_all()
        except FencedError as error:
            self._error, self._stopped = error, True
            raise
        except BucketboardError as error:
            self._error = error
            if self._log.stored.bytes > before:  # of many files in a row now and then one fails
                self._failures = 0
            wait = min(_BACKOFF_MOST, _BACKOFF_FIRST * 2**self._failures)
            self._failures = min(self._failures + 1, 16)
            self._retry_at = self._clock() + wait * self._random.uniform(0.5, 1.5)
            raise
        else:
            self._error = None
            self._failures = 0
            self._last_duration = self._clock() - self._last_start
        finally:
            self._attempts += 1  # only now the error, or its absence, is that of this attempt

    def _send_all(self) -> None:
        self._send_sidecars()
        goal = self._log.logged.bytes
        if self._segments:
            self._log.seal(State.ROLLED)
        while self._log.files:
            file = self._log.files[0]
            try:
                replica = self._replica_for(file)
                if self._segments_because:
                    replica.settle()
                    self._change_to_segments()
                    continue
                self._check_versions()
                if self._segments:
                    if not file.sealed:
                        return
                    replica.put_whole()
                elif not replica.advance() and not file.sealed:
                    return
                elif not file.sealed and self._log.stored.bytes >= goal:
                    self._check_versions()
                    return
            except SegmentsNeeded as reason:
                self._segments_because = str(reason)
                continue
            except ObjectGone as gone:
                self._report(
                    UnavailableError(
                        f"{gone}; its {file.stored.events:,} events are lost, later ones go to a new file",
                        hint="keep a spool (spool=) and such an object is written again",
                    )
                )
                replica.drop_strays()
                self._log.divide()
                self._replica = None
                continue
            finally:
                self._notify()
            if replica.complete:
                replica.drop_strays()
                self._log.finish(file)
                self._replica = None

    def _send_sidecars(self) -> None:
        while self._sidecars:
            sidecar = self._sidecars[0]
            body = sidecar.storage.read(0, sidecar.storage.size)
            key = self._target.prefix + sidecar.name
            if sidecar.name == RUN_FILE:
                write_run_file(self._target.bucket, key, json.loads(body))
            else:
                content = Content(sidecar.content_type, {}, final=True)
                self._target.bucket.put(key, body, content, crc=crc32c(body))
            sidecar.storage.remove()  # first: who sees that all is done may end the process
            with contextlib.suppress(ValueError):  # replaced meanwhile by a newer one
                self._sidecars.remove(sidecar)

    def _replica_for(self, file: LogFile) -> Replica:
        if self._can is None:
            self._can = capabilities_of(self._target.bucket)
        if self._replica is None or self._replica[0] is not file:
            gathered = self._gathered()
            if gathered:
                file.storage.note(gathered=dict(gathered))
            replica = Replica(
                self._target.bucket,
                self._target.prefix,
                file,
                self._can,
                self._names,
                self._target.user,
                gathered,
                sent=self._sent_before.get(file.log_id),
            )
            self._replica = (file, replica)
        return self._replica[1]

    def _gathered(self) -> Mapping[str, str]:
        try:
            return self._target.gather()
        except Exception:  # whatever a machine or a repository holds: it must not keep events back
            logger.debug("%s: nothing gathered", self._target, exc_info=True)
            return {}

    def _check_versions(self) -> None:
        can = self._can
        if self._segments or self._options.append == "grow" or can is None:
            return
        if can.versioned:
            raise SegmentsNeeded("the bucket keeps every replaced version")
        if can.part_copy is False:
            raise SegmentsNeeded("the server can't copy parts of objects")

    def _change_to_segments(self) -> None:
        self._log.roll_size = min(self._log.roll_size, MAX_TAIL)
        self._log.divide()
        why, self._segments_because = self._segments_because, ""
        if not self._segments:
            logger.warning("%s: events go to segments, one object a minute at most: %s", self._target, why)
        self._segments, self._replica = True, None
        if self._closing or self._log.stored.events < self._wanted:
            self._log.seal(State.CLOSED if self._closing else State.ROLLED)

    def sync(self, wanted: Mark, timeout: float | None) -> None:
        """Wait until S3 has everything up to ``wanted``.

        Raises:
            InvalidError, FencedError: it can't be sent as things are.
            UnavailableError: it was not sent in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._wanted = max(self._wanted, wanted.events)
            self._retry_at = float("-inf")
            attempts = self._attempts
            self._changed.notify_all()
            while self._log.stored.events < wanted.events or self._sidecars:
                error = self._error
                hopeless = isinstance(error, InvalidError | FencedError) and self._attempts > attempts
                if error is not None and (hopeless or self._stopped):
                    raise error
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise UnavailableError(
                        f"{self._target}: not stored within {timeout:g} s",
                        hint="uploads go on in the background",
                    ) from error
                self._changed.wait(left)

    def begin_close(self) -> None:
        """Send the rest without further delay. The log must be sealed before."""
        with self._changed:
            if not self._closing:
                self._closing = True
                self._closing_attempts = self._attempts
                self._retry_at = float("-inf")
            self._changed.notify_all()

    def let_go(self) -> None:
        """Close the log and what waits beside it; what is spooled stays there."""
        self._log.close()
        for sidecar in self._sidecars:
            sidecar.storage.close()

    def close(self, timeout: float) -> bool:
        """Send the rest, wait for it up to ``timeout`` seconds, stop. Whether S3 has everything.

        Gives up early where trying again can't help.
        """
        deadline = time.monotonic() + timeout
        self.begin_close()
        while self._thread is None and not self._finished and time.monotonic() < deadline:
            time.sleep(max(0.0, min(self.due() - self._clock(), deadline - time.monotonic())))
            self._attempt()
            if isinstance(self._error, InvalidError):
                break
        with self._changed:
            attempts = self._closing_attempts
            while not self.complete and not self._stopped:
                left = deadline - time.monotonic()
                hopeless = isinstance(self._error, InvalidError) and self._attempts > attempts
                if left <= 0 or hopeless:
                    break
                self._changed.wait(left)
            self._stopped = True
            self._changed.notify_all()
        return self.complete

    @property
    def error(self) -> BucketboardError | None:
        """Why the last attempt failed; None if it did not."""
        return self._error

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._finished:
                    self._idle = True  # before the look at the log, so that nothing logged after it is missed
                    wait = self.due() - self._clock()
                    self._idle = wait == float("inf")
                    if wait <= 0:
                        break
                    self._changed.wait(None if wait == float("inf") else wait)
                else:
                    return
            self._attempt()

    @property
    def _finished(self) -> bool:
        return self._stopped or (self._closing and self.complete)

    def _attempt(self) -> None:
        failures = self._failures
        try:
            self.advance()
        except BucketboardError as error:
            if not failures:
                self._report(error)
        except Exception as error:
            if self._stopped:
                return  # close() gave up and took the files away
            # A fault of our own must neither end uploads nor stay unseen.
            self._failures += 1
            self._retry_at = self._clock() + _BACKOFF_MOST
            self._error = UnavailableError(f"{self._target}: {type(error).__name__}: {error}")
            logger.exception("%s: upload failed", self._target)
        self._notify()
