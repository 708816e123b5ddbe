"""``SpooledDirectory``: a directory that any framework may write into, live in S3 and safe in the spool."""

from __future__ import annotations

import atexit
import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import Any

from bucketboard.errors import InvalidError, UnavailableError
from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.report import SyncReport
from bucketboard.replication.options import AUTO, MEMORY, Options
from bucketboard.replication.spool import prepare_directory
from bucketboard.store.settings import Settings, from_environ
from bucketboard.store.url import S3Url
from bucketboard.supervise.replicate import Replication
from bucketboard.supervise.spooled import Spooled
from bucketboard.writer.report import OnError, Reporter

__all__ = ["SpooledDirectory"]


class SpooledDirectory:
    """A new, empty directory in the spool, whose files go to ``url`` while they are written.

        with bucketboard.SpooledDirectory("s3://bucket/exp/run") as directory:
            model.learn(100_000, tensorboard_log=os.fspath(directory))

    A process of its own sends, and removes the directory when S3 has everything; it goes on if this one is
    killed. What both leave behind, ``bucketboard recover`` sends. Trouble is reported, never raised. The end
    of the interpreter closes what is still open.

    Args:
        url: the prefix that gets to hold the same files.
        spool: the directory of the spool; ``None`` or left out: the user's state directory.
        close_timeout: seconds that :meth:`close` waits for S3.
        on_error: called with each `BucketboardError` of this process; default: logged once.
        options: fields of `SyncOptions` and of `Settings`, as ``upload_every=5`` or ``profile="research"``.

    Raises:
        InvalidError: the URL or an option is wrong.
        OSError: neither the spool nor the temporary directory can be written.
    """

    def __init__(
        self,
        url: str,
        *,
        spool: str | os.PathLike[str] | EllipsisType | None = ...,
        close_timeout: float | None = None,
        on_error: OnError | None = None,
        **options: Any,
    ) -> None:
        where = None if spool is ... or spool is None else os.fspath(spool)
        timing = {name: options.pop(name, None) for name in ("upload_every", "max_lag")}
        asked = from_environ(Options, {"spool": where, "close_timeout": close_timeout, **timing})
        own = {entry.name for entry in fields(SyncOptions)}
        given = {name: value for name, value in options.items() if name in own and value is not None}
        given.update(upload_every=asked.upload_every, max_lag=asked.max_lag)
        from_environ(SyncOptions, given)
        reach = Settings.resolve(**{name: value for name, value in options.items() if name not in own})
        target = S3Url.parse(url)
        self.url = url
        self.report: SyncReport | None = None
        """What was sent; None before :meth:`close`."""
        self._close_timeout = asked.close_timeout
        self.before_close: Callable[[], object] = lambda: None
        """Writes what the framework still holds back; called once, also by the end of the interpreter."""
        self._report = Reporter(on_error)
        self._temporary: Path | None = None
        self._spooled = self._create(asked.spool, {**given, **_pinned(reach)})
        self._replication = Replication(
            self._spooled.files, target, self._spooled.options, asked.close_timeout, False, self._spooled.path
        )
        self._appended = 0
        self._closing = False
        self._replication.start()
        _open.add(self)

    def _create(self, spool: str, options: Mapping[str, Any]) -> Spooled:
        try:
            return Spooled.create(prepare_directory(AUTO if spool == MEMORY else spool), self.url, options)
        except (OSError, RuntimeError, InvalidError) as error:
            place = self._temporary = Path(tempfile.mkdtemp(prefix="bucketboard-"))
            hint = f"if this machine is killed: bucketboard recover --spool {place}"
            self._report(UnavailableError(f"no spool: {error}; {place} is taken instead", hint=hint))
            return Spooled.create(place, self.url, options)

    @property
    def path(self) -> Path:
        """Where to write."""
        return self._spooled.files

    def __fspath__(self) -> str:
        return str(self.path)

    def __enter__(self) -> SpooledDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether nothing that is written here from now on gets to S3; for a forked child it is closed."""
        return self._closing or self not in _open

    def close(self) -> None:
        """Send the rest and wait for it, ``close_timeout`` seconds at most. Never raises (but Ctrl-C)."""
        self.begin_close()
        self.end_close()

    def begin_close(self) -> None:
        """The first half of ``close``: what is there now is all; it is sent without anybody waiting."""
        if self.closed:
            return
        self._closing = True
        try:
            self.before_close()
        except Exception as error:
            self._report(UnavailableError(f"{self.url}: not all was written: {error}"))
        self._appended = self._spooled.size
        self._replication.begin_finish()

    def end_close(self) -> None:
        """The second half: wait, and report what is left."""
        if not self._closing or self not in _open:
            return
        _open.discard(self)
        report = self.report = self._replication.finish()
        if self._appended and not (report and report.complete):
            self._report_gap(report)
            self._spooled.let_go()
            return
        self._spooled.remove()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.rmdir()

    def _report_gap(self, report: SyncReport | None) -> None:
        left = self._appended - (report.stored if report else 0)
        why = report.failed[0][1].partition("\n")[0] if report else "the process that sends gave no report"
        self._report(
            UnavailableError(
                f"{self.url}: {left:,} of {self._appended:,} bytes are not stored, "
                f"they are kept in {self._spooled.path}: {why}",
                hint="send them with: bucketboard recover",
            )
        )


def _pinned(settings: Settings) -> dict[str, Any]:
    """What another process, in another environment, needs to reach the bucket. No secrets."""
    return {name: value for name, value in asdict(settings.pinned()).items() if value not in (None, {})}


_open: set[SpooledDirectory] = set()
os.register_at_fork(after_in_child=_open.clear)


@atexit.register
def _close_all() -> None:
    directories = list(_open)
    for directory in directories:
        directory.begin_close()
    for directory in directories:
        directory.end_close()
