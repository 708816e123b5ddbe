"""What stands behind a writer: a log that is uploaded, or a local event file."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from bucketboard.errors import BucketboardError, FencedError, InvalidError, UnavailableError
from bucketboard.events.filename import EventFileName, newest_time
from bucketboard.replication.log import EventLog, LogFile, State
from bucketboard.replication.metadata import RUN_FILE, run_file
from bucketboard.replication.options import Options
from bucketboard.replication.position import Mark
from bucketboard.replication.spool import Header, SpoolStorage, prepare_directory
from bucketboard.replication.storage import FileStorage, MemoryStorage, Storage
from bucketboard.replication.uploader import Sidecar, Target, Uploader
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.writer.gather import gathered, redacted
from bucketboard.writer.report import Reporter

__all__ = ["LocalSink", "S3Sink", "Sink"]


class Sink(Protocol):
    """A log, and the way from it to where its files are kept."""

    log: EventLog

    def logged(self) -> None:
        """Something was added to the log."""

    def add_file(self, name: str, data: bytes) -> None:
        """Keep a file beside the event files."""

    def sync(self, timeout: float | None) -> None:
        """Wait until everything logged is stored; see `Uploader.sync`."""

    def begin_close(self) -> None:
        """Nothing more is logged; send the rest."""

    def close(self, timeout: float) -> None:
        """Wait for the rest up to ``timeout`` seconds, then let go and report what is left."""

    @property
    def stored(self) -> Mark:
        """What is stored for good."""


class LocalSink:
    """An event file in a local directory. Raises OSError where the directory can't be written."""

    def __init__(self, logdir: str, suffix: str, report: Reporter) -> None:
        self._directory = Path(logdir)
        self._directory.mkdir(parents=True, exist_ok=True)
        newest = newest_time(os.listdir(self._directory))
        path = self._directory / str(EventFileName.new(max(int(time.time()), newest + 1), suffix))
        self._storage = FileStorage(path)
        self._report = report
        os.chmod(path, 0o666 & ~_umask())
        infinite = float("inf")
        self.log = EventLog(
            lambda _: LogFile.new(path.name, self._storage), roll_size=infinite, limit=infinite, report=report
        )
        self.log.open_file()

    def logged(self) -> None:
        if self._storage.error is not None:
            self._report(
                UnavailableError(
                    f"{self._storage.path} can't be written: {self._storage.error}",
                    hint="events are kept in memory and tried again",
                )
            )

    def add_file(self, name: str, data: bytes) -> None:
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def sync(self, timeout: float | None) -> None:
        if self._storage.error is not None:
            raise UnavailableError(f"{self._storage.path} can't be written: {self._storage.error}")

    def begin_close(self) -> None:
        self.log.seal(State.CLOSED)

    def close(self, timeout: float) -> None:
        self.log.close()

    @property
    def stored(self) -> Mark:
        return self.log.logged


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class S3Sink:
    """A log in the spool or in memory, uploaded to a run in S3. Makes no request by itself."""

    def __init__(
        self,
        url: S3Url,
        suffix: str,
        options: Options,
        settings: Settings,
        user: Mapping[str, str],
        report: Reporter,
    ) -> None:
        self._options = options
        self._report = report
        self._writer_id = uuid.uuid4().hex
        self._spool: Path | None = None
        self._sequence = 0
        if not options.in_memory:
            self._spool = self._open_spool(options)
        self._header = Header(
            log_id="",
            writer_id=self._writer_id,
            sequence=0,
            bucket=url.bucket,
            prefix=url.prefix,
            suffix=suffix,
            append=options.append,
            settings=dataclasses.asdict(settings.pinned()),
            metadata=dict(user),
        )
        gather = gathered if options.gather_metadata else dict
        self._target = Target(Bucket(url.bucket, settings), url.prefix, suffix, user, gather)
        self.log = EventLog(
            self._new_file,
            roll_size=options.roll_size,
            limit=options.limit(self._spool is None),
            report=report,
        )
        self._uploader = Uploader(self.log, self._target, options, report)
        command = {"command": redacted(sys.orig_argv)} if options.gather_command else None
        details = run_file(user, command)
        if details is not None:
            self.add_file(RUN_FILE, details)

    def _open_spool(self, options: Options) -> Path | None:
        try:
            return prepare_directory(options.spool)
        except (OSError, RuntimeError, InvalidError) as error:
            self._without_spool(error)
            return None

    def _without_spool(self, error: Exception) -> None:
        self._spool = None
        self._report(
            UnavailableError(
                f"no spool: {error}; the log is kept in memory and is lost if the process is killed",
                hint="give a writable spool= directory, or spool=None to choose this",
            )
        )

    def _new_storage(self, kind: str, name: str = "") -> tuple[str, Storage]:
        log_id = uuid.uuid4().hex
        if self._spool is not None:
            header = dataclasses.replace(
                self._header,
                log_id=log_id,
                sequence=self._sequence,
                kind=kind,
                name=name,
                created=time.time(),
            )
            self._sequence += 1
            try:
                return log_id, SpoolStorage.create(self._spool, header)
            except OSError as error:
                self._without_spool(error)
        return log_id, MemoryStorage()

    def _new_file(self, _: int) -> LogFile:
        return LogFile.new(*self._new_storage("events"))

    def logged(self) -> None:
        self._uploader.logged()

    def add_file(self, name: str, data: bytes) -> None:
        _, storage = self._new_storage("file", name)
        storage.append(data)
        self._uploader.add(Sidecar(name, storage))
        self.logged()

    def sync(self, timeout: float | None) -> None:
        self._uploader.start()
        self._uploader.sync(self.log.logged, timeout)

    def begin_close(self) -> None:
        self.log.seal(State.CLOSED)
        if not self._uploader.complete:
            self._uploader.start()
        self._uploader.begin_close()

    def close(self, timeout: float) -> None:
        complete = self._uploader.close(timeout)
        left, error = self.log.backlog, self._uploader.error
        self._uploader.let_go()
        if not complete:
            self._report(self._unsent(left, error))

    def _unsent(self, left: Mark, error: BucketboardError | None) -> BucketboardError:
        kind = FencedError if isinstance(error, FencedError) else UnavailableError
        what = f"{left.events:,} events ({left.bytes:,} bytes)" if left.bytes else "the final upload"
        why = f": {error.message}" if error else ""
        if self._spool is None:
            where, hint = "they were only in memory and are lost", error.hint if error else ""
        else:
            where, hint = f"they are kept in {self._spool}", "send them with: bucketboard recover"
        failure = kind(f"{self._target}: {what} not stored, {where}{why}", hint=hint)
        failure.__cause__ = error
        return failure

    @property
    def stored(self) -> Mark:
        return self.log.stored
