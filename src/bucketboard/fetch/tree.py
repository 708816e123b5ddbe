"""All that is below a prefix into a directory: one listing, many files at once, event files in order."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from bucketboard.errors import BucketboardError, Reason, UnavailableError
from bucketboard.events.filename import is_event_file
from bucketboard.fetch.directory import InTheWay, PulledDirectory
from bucketboard.fetch.download import Download, Stopped
from bucketboard.fetch.file import Files, Prepared, PulledFile
from bucketboard.fetch.keys import Refusal, lay_out
from bucketboard.fetch.state import PulledState
from bucketboard.journal import list_visible
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.url import S3Url

__all__ = ["Progress", "PullReport", "PulledTree", "Watcher", "list_wanted"]

_log = logging.getLogger("bucketboard.pull")
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is; the totals grow when a followed prefix does."""

    files: int = 0
    files_total: int = 0
    bytes: int = 0
    bytes_total: int = 0


@dataclass
class PullReport:
    """What a pull did. Of a followed prefix: sums, and what was wrong at the last look."""

    files: int = 0
    """Files that were written, or would be."""
    bytes: int = 0
    """Bytes that were fetched for them."""
    skipped: int = 0
    """Files that were equal already."""
    requests: int = 0
    """Without those that were repeated after failures."""
    replaced: list[str] = field(default_factory=list)
    """Event files whose object was no continuation of what was here."""
    refused: list[Refusal] = field(default_factory=list)
    """Keys, without the prefix, that can't be files here, and why."""
    failed: list[Refusal] = field(default_factory=list)
    """Keys, without the prefix, that could not be pulled now, and why."""

    @property
    def complete(self) -> bool:
        """Whether the directory has all that was asked for."""
        return not self.refused and not self.failed


class Watcher:
    """Tells callbacks what happens, one at a time, from whichever thread."""

    def __init__(
        self,
        on_progress: Callable[[Progress], None] | None = None,
        on_file: Callable[[PulledFile], None] | None = None,
    ) -> None:
        self._on_progress = on_progress
        self._on_file = on_file
        self._lock = threading.Lock()
        self._so_far = Progress()

    def add(self, *, files: int = 0, files_total: int = 0, bytes: int = 0, bytes_total: int = 0) -> None:
        """Count."""
        with self._lock:
            was = self._so_far
            self._so_far = Progress(
                was.files + files,
                was.files_total + files_total,
                was.bytes + bytes,
                was.bytes_total + bytes_total,
            )
            if self._on_progress is not None:
                self._on_progress(self._so_far)

    def file(self, file: PulledFile) -> None:
        """A file was written, or would be."""
        with self._lock:
            if self._on_file is not None:
                self._on_file(file)


def list_wanted(
    bucket: Bucket, source: S3Url, wanted: Callable[[str], bool]
) -> tuple[dict[str, ObjectInfo], int]:
    """The wanted objects by their paths below ``source``, and how many requests that took."""
    objects = list_visible(bucket, source)
    found = {}
    for info in objects:
        path = info.key[len(source.prefix) :]
        # A folder's marker, as consoles make them, holds nothing.
        marker = info.size == 0 and (path == "" or path.endswith("/"))
        if not marker and wanted(path):
            found[path] = info
    return found, max(1, -(-len(objects) // _PAGE))


class PulledTree:
    """One source and one target, looked at any number of times."""

    def __init__(
        self,
        bucket: Bucket,
        source: S3Url,
        target: PulledDirectory,
        state: PulledState,
        *,
        wanted: Callable[[str], bool],
        watcher: Watcher,
        jobs: int,
        stop: threading.Event,
        dry_run: bool,
    ) -> None:
        self._bucket = bucket
        self._source = source
        self._target = target
        self._state = state
        self._wanted = wanted
        self._watcher = watcher
        self._stop = stop
        self._dry_run = dry_run
        self._jobs = jobs
        self._report = PullReport()
        self._lock = threading.Lock()
        self._fold = None if dry_run else target.folding()
        self._said: set[Refusal] = set()
        self._swept = dry_run
        self._download = Download(
            bucket, target, jobs=jobs, stop=stop, on_bytes=lambda count: watcher.add(bytes=count)
        )
        self._files = Files(target, state, self._download)
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="bucketboard-pull")

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown(cancel_futures=True)
        self._download.close()

    def look(self) -> PullReport:
        """List once, and bring what is new."""
        objects, requests = list_wanted(self._bucket, self._source, self._wanted)
        self._download.count(requests)
        layout = lay_out(objects, room=self._target.room, fold=self._fold)
        report = self._report
        report.skipped, report.refused, report.failed = 0, [], []
        for refusal in layout.refused:
            self._note(report.refused, "refused", refusal)
        changed = {
            path: objects[path] for path in layout.paths if not self._is_unchanged(path, objects[path])
        }
        report.skipped = len(layout.paths) - len(changed)
        if not self._swept:
            self._target.sweep({self._download.name(path, info) for path, info in changed.items()})
            self._swept = True
        if changed:
            self._bring(changed)
        self._state.flush()
        report.requests = self._download.requests
        return replace(
            report,
            replaced=list(report.replaced),
            refused=sorted(report.refused, key=lambda refusal: refusal.key),
            failed=sorted(report.failed, key=lambda refusal: refusal.key),
        )

    def _is_unchanged(self, path: str, info: ObjectInfo) -> bool:
        try:
            return self._files.is_unchanged(path, info)
        except (InTheWay, OSError):
            return False  # and what is wrong will be said

    def _bring(self, objects: dict[str, ObjectInfo]) -> None:
        """Fetch side by side; event files are shown in the order of their names, directory by directory."""
        self._watcher.add(files_total=len(objects), bytes_total=sum(info.size for info in objects.values()))
        turns: dict[str, _Turns] = {}
        events = sorted(filter(is_event_file, objects))
        for path in events:
            turns.setdefault(path.rpartition("/")[0], _Turns()).expect(path)
        others = [path for path in objects if not is_event_file(path)]
        others.sort(key=lambda path: -objects[path].size)  # what takes longest begins first
        left = iter([*events, *others])
        taking = threading.Lock()

        def bring() -> None:
            try:
                while not self._stop.is_set() and (path := _next(left, taking)) is not None:
                    self._bring_one(path, objects[path], turns.get(path.rpartition("/")[0]))
            except BaseException:
                self._stop.set()
                raise

        for future in [self._pool.submit(bring) for _ in range(min(self._jobs, len(objects)))]:
            future.result()

    def _bring_one(self, path: str, info: ObjectInfo, turns: _Turns | None) -> None:
        prepared, blocks = None, False
        try:
            prepared = self._prepare(path, info)
        except Stopped:
            return
        except (BucketboardError, InTheWay, OSError) as error:
            blocks = self._fail(path, error)
        if turns is None or not is_event_file(path):
            self._finish(prepared)
        else:
            turns.arrive(path, lambda held: self._take_turn(path, prepared, blocks, held))
        self._watcher.add(files=1)

    def _prepare(self, path: str, info: ObjectInfo) -> Prepared | None:
        if self._stop.is_set():
            raise Stopped
        plan = self._files.plan(path, info)
        if plan is None or plan.start:
            self._watcher.add(bytes_total=-(info.size if plan is None else plan.start))
        if plan is None:
            with self._lock:
                self._report.skipped += 1
            return None
        if self._dry_run:
            self._done(PulledFile(path, plan.action, info.size - plan.start))
            return None
        return self._files.fetch(plan)

    def _take_turn(self, path: str, prepared: Prepared | None, blocks: bool, held: str) -> str:
        """Show an event file, unless one before it is missing; gives which one the next has to wait for."""
        if held and prepared is not None:
            self._note(self._report.failed, "not pulled", Refusal(path, f"{held!r} has to come before it"))
            return held
        return held or ("" if self._finish(prepared) and not blocks else path)

    def _finish(self, prepared: Prepared | None) -> bool:
        if prepared is None:
            return True
        try:
            done = self._files.finish(prepared)
        except (BucketboardError, InTheWay, OSError) as error:
            return not self._fail(prepared.path, error)
        self._done(done)
        return True

    def _done(self, file: PulledFile) -> None:
        with self._lock:
            self._report.files += 1
            self._report.bytes += file.bytes
            if file.action == "replaced":
                self._report.replaced.append(file.path)
        if file.action == "replaced" and not self._dry_run:
            _log.warning("%s was replaced: its object is no continuation of it any more", _shown(file.path))
        self._watcher.file(file)

    def _fail(self, path: str, error: Exception) -> bool:
        """Note why a file could not be pulled; gives whether later event files have to wait for it."""
        if isinstance(error, BucketboardError):
            if error.reason is Reason.NOT_FOUND:  # deleted since it was listed
                return False
            self._note(self._report.failed, "not pulled", Refusal(path, error.message))
            return isinstance(error, UnavailableError)
        if isinstance(error, OSError):
            self._note(self._report.failed, "not pulled", Refusal(path, error.strerror or str(error)))
            return True
        self._note(self._report.refused, "refused", Refusal(path, str(error)))
        return False

    def _note(self, where: list[Refusal], what: str, refusal: Refusal) -> None:
        with self._lock:
            where.append(refusal)
            known = refusal in self._said
            self._said.add(refusal)
        if not known:
            _log.warning("%s: %s: %s", what, _shown(refusal.key), refusal.reason)


class _Turns:
    """The event files of one directory: each is shown when all before it are."""

    def __init__(self) -> None:
        self._expected: deque[str] = deque()
        self._arrived: dict[str, Callable[[str], str]] = {}
        self._lock = threading.Lock()
        self._held = ""

    def expect(self, path: str) -> None:
        """Another one, behind those before."""
        self._expected.append(path)

    def arrive(self, path: str, act: Callable[[str], str]) -> None:
        """``path`` is ready: let all act whose turn it is, each with what the one before said."""
        with self._lock:
            self._arrived[path] = act
            while self._expected and self._expected[0] in self._arrived:
                self._held = self._arrived.pop(self._expected.popleft())(self._held)


def _next(paths: Iterator[str], taking: threading.Lock) -> str | None:
    with taking:
        return next(paths, None)


def _shown(key: str) -> str:
    """A key as a terminal may show it."""
    return key if key.isprintable() else ascii(key)
