"""All runs of what is served, kept up to date by one listing per refresh and ranged reads of what is new."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from bucketboard.errors import BucketboardError, CorruptDataError, InvalidError, UnavailableError
from bucketboard.events.filename import is_event_file
from bucketboard.selection import is_shown
from bucketboard.serve.indexed import Indexed, open_index
from bucketboard.serve.mount import Mount
from bucketboard.serve.reading import InOrder, Replaced, is_gone, read_file
from bucketboard.serve.records import Records
from bucketboard.serve.run import EventFile, Run
from bucketboard.serve.series import Series
from bucketboard.serve.tree import parent, run_name
from bucketboard.store.bucket import ObjectInfo

__all__ = ["Catalog"]

_log = logging.getLogger(__name__)
_READERS = 32
_LONGEST_WAIT = 32
"""Refreshes between two tries of a file that can't be read and does not change."""


class Catalog:
    """What is known of all runs of some mounts, which have been listed once."""

    def __init__(
        self,
        mounts: Sequence[Mount],
        *,
        runs: str | None = None,
        samples: Mapping[str, int | None] | None = None,
        cache_size: int = 0,
    ) -> None:
        self.mounts = mounts
        self.runs: dict[str, Run] = {}
        self.records = Records()
        self._samples = dict(samples or {})
        self._cache_size = cache_size
        self._indexes: dict[Mount, Indexed] | None = None
        try:
            self._wanted = re.compile(runs) if runs is not None else None
        except re.error as error:
            raise InvalidError(f"{runs!r} is no regular expression: {error}") from error
        self._pool = ThreadPoolExecutor(_READERS, "bucketboard-read")
        self._lock = threading.Lock()
        self._closed = False
        self._reported = ""

    @property
    def location(self) -> str:
        """What is served, as the user wrote it."""
        return ",".join(f"{m.name}:{m.source.location}" if m.name else m.source.location for m in self.mounts)

    @property
    def trouble(self) -> str:
        """What is wrong at the moment, "" if nothing is."""
        failed = [mount.trouble for mount in self.mounts if mount.trouble]
        if failed:
            return f"what is shown may be old, the listing failed: {failed[0]}"
        unreadable = self.unreadable
        if unreadable:
            path, reason = next(iter(unreadable.items()))
            return f"{len(unreadable)} of the files could not be read, such as {path}: {reason}"
        return ""

    @property
    def unreadable(self) -> dict[str, str]:
        """The event files that could not be read, or not all of them, and why."""
        files = [file for run in list(self.runs.values()) for file in list(run.numbered)]
        return {file.path: str(file.trouble) for file in files if file.trouble}

    @property
    def has_event_files(self) -> bool:
        """Whether the last listing showed any."""
        return any(is_event_file(path) for mount in self.mounts for path in mount.files)

    def refresh(self, *, listing: bool = True) -> None:
        """List everything and read what is new. Errors are in ``trouble``, and logged when they change."""
        with self._lock:
            if self._closed:
                return
            for mount in self.mounts if listing else ():
                with contextlib.suppress(BucketboardError):  # the mount keeps it
                    mount.list()
            self._read_new()
            self._report()

    def close(self) -> None:
        """Read nothing more."""
        self._closed = True
        self.records.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def load(self, wanted: Sequence[tuple[Run, Series]]) -> bool:
        """Fetch the points of unread series from the index.

        False if there is no index any more: then the runs were read from their files, and are other ones.

        Raises:
            UnavailableError: the bucket does not answer.
        """
        for mount, indexed in list((self._indexes or {}).items()):
            some = [(run, series) for run, series in wanted if series.unread and run.source is mount.source]
            if not some:
                continue
            try:
                indexed.read(some, self.records)
            except BucketboardError as error:
                if isinstance(error, UnavailableError) and not is_gone(error):
                    raise
                with self._lock:
                    if self._indexes and self._indexes.pop(mount, None):
                        _log.warning("the index is of no use any more, reading the files: %s", error.message)
                        self._read_new()
                return False
        return True

    def _read_new(self) -> None:
        if self._indexes is None:
            opened = {mount: open_index(mount, self._cache_size) for mount in self.mounts}
            self._indexes = {mount: index for mount, index in opened.items() if index}
        indexes = self._indexes
        found = {
            name: (mount, paths) for mount in self.mounts for name, paths in self._event_files(mount).items()
        }
        before = set(self.runs.values())
        runs: dict[str, Run] = {}
        loads: list[_Load] = []
        for name, (mount, paths) in found.items():
            shown = self.runs.get(name)
            run = shown
            if run is None or not run.files.keys() <= set(paths) or (mount not in indexes and run.unread):
                # A run without one of its files is another run, and one without its index has to be read.
                run = Run(name, mount.source, self._samples)
                if mount in indexes:
                    indexes[mount].restore(run, paths, mount.files)
            loads.append(_Load(run, mount, paths, anew=shown is not None and shown is not run))
            # Until it is read anew, what was shown before is shown.
            runs[name] = shown or run
        self.runs = runs
        while loads:
            for load in loads:
                if self._closed:
                    return
                load.start(self._pool)
            wait([future for load in loads for future in load.futures])
            again = []
            for load in loads:
                if load.finish():
                    self.runs[load.run.name] = load.run
                elif load.replaced and not self._closed:
                    run = Run(load.run.name, load.run.source, self._samples)
                    again.append(_Load(run, load.mount, load.paths, anew=True))
            loads = again
        if gone := before - set(self.runs.values()):
            self.records.forget(gone)

    def _event_files(self, mount: Mount) -> dict[str, list[str]]:
        runs: dict[str, list[str]] = {}
        for path in sorted(mount.files):
            if is_event_file(path) and is_shown(path):
                runs.setdefault(run_name(parent(path), mount.name), []).append(path)
        if self._wanted is None:
            return runs
        return {name: paths for name, paths in runs.items() if self._wanted.search(name)}

    def _report(self) -> None:
        """Warn when the trouble changes, not each time it is met."""
        trouble = "" if self._closed else self.trouble
        if trouble and trouble != self._reported:
            _log.warning("%s", trouble)
        elif self._reported and not trouble and not self._closed:
            _log.warning("everything can be read again")
        self._reported = trouble


class _Load:
    """The reading of what is new of one run."""

    def __init__(self, run: Run, mount: Mount, paths: Sequence[str], *, anew: bool) -> None:
        self.run = run
        self.mount = mount
        self.paths = paths
        self.replaced = False
        self.futures: list[Future[None]] = []
        self._unread = False
        self._anew = anew

    def start(self, pool: ThreadPoolExecutor) -> None:
        wanted = []
        for file in map(self.run.file, self.paths):
            if _is_due(file, self.mount.files[file.path]):
                wanted.append(file)
            elif file.wait:
                file.wait -= 1
        order = InOrder(self.run, wanted)
        self.futures = [pool.submit(self._read, file, order) for file in wanted]

    def finish(self) -> bool:
        """Whether the run is what it should be now."""
        return not self.replaced and not (self._anew and self._unread)

    def _read(self, file: EventFile, order: InOrder) -> None:
        try:
            if file.path in self.run.behind:
                # Later files have taken its place. Once it can be read, all are read anew, in order.
                self.run.source.get(file.path, 0, 1)
                raise Replaced
            read_file(self.run, file, self.mount.files[file.path], order)
        except Replaced:
            self.replaced = True
        except BucketboardError as error:
            if is_gone(error):  # the next listing will not show it
                file.trouble = None
                return
            _failed(file, error, self.mount.files[file.path].etag)
            if not isinstance(error, CorruptDataError) and file.path != self.paths[-1]:
                self.run.behind.add(file.path)
            self._unread = self._unread or isinstance(error, UnavailableError)
        except Exception as error:
            # Of no kind that is foreseen, such as want of memory: said, and the run is read anew later.
            reason = f"{file.path} can't be read now: {type(error).__name__} {error}"
            _failed(file, UnavailableError(reason.strip()), self.mount.files[file.path].etag)
            self.run.behind.add(file.path)
            self._unread = True
        else:
            file.trouble, file.failures, file.wait = None, 0, 0
        finally:
            order.finish(file)


def _is_due(file: EventFile, listed: ObjectInfo) -> bool:
    if file.etag == listed.etag and file.looked >= listed.size:
        return False
    if file.wait and file.failed == listed.etag:
        return False
    return listed.size > 0 or file.looked > 0


def _failed(file: EventFile, error: BucketboardError, etag: str) -> None:
    file.trouble = error
    file.failed = etag
    if not isinstance(error, CorruptDataError):  # what is damaged was read, and is not read again
        file.wait = min(1 << file.failures, _LONGEST_WAIT) - 1
        file.failures += 1
