"""A bucket's prefix into a directory: once, or following it. What is promised: docs/SEMANTICS.md."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bucketboard.errors import BucketboardError, InvalidError
from bucketboard.fetch.directory import PulledDirectory
from bucketboard.fetch.file import PulledFile
from bucketboard.fetch.keys import lay_out
from bucketboard.fetch.state import PulledState
from bucketboard.fetch.tree import Progress, PulledTree, PullReport, Watcher, list_wanted
from bucketboard.selection import Selection
from bucketboard.store.bucket import Bucket
from bucketboard.store.fast import fast_bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url

__all__ = ["Progress", "PullReport", "PulledFile", "pull"]

_log = logging.getLogger("bucketboard.pull")
_ATTEMPTS = 5
_MAX_BACKOFF = 60.0


def pull(
    url: str,
    directory: str | os.PathLike[str],
    *,
    watch: bool = False,
    interval: float = 5.0,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    events_only: bool = False,
    dry_run: bool = False,
    jobs: int = 32,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_file: Callable[[PulledFile], None] | None = None,
    on_look: Callable[[PullReport], None] | None = None,
    **settings: Any,
) -> PullReport:
    """Make ``directory`` hold what is below ``url``, byte for byte; nothing in it is ever deleted.

    ``watch`` follows the bucket, with one listing every ``interval`` seconds; ``stop``, set, ends it and any
    pull. Globs in ``include`` and ``exclude`` are matched with paths below ``url``, where ``*`` matches ``/``
    too; a glob without a slash also with names. Callbacks come from several threads, one at a time: for each
    change, each file, and each look. ``settings`` are those of the bucket.

    What could not be pulled is in the report; all else was.

    Raises:
        InvalidError: the URL, the directory or a setting can't work, or the bucket can't be listed.
        UnavailableError: the bucket can't be listed now, or another pull writes to the directory.
    """
    if jobs < 1 or not interval > 0:
        raise InvalidError(f"jobs={jobs!r} and interval={interval!r} must be above 0")
    source = S3Url.parse(url)
    bucket = fast_bucket(source.bucket, Settings.resolve(**settings), _ATTEMPTS)
    wanted = Selection.of(include, exclude, events_only)
    watcher = Watcher(on_progress, on_file)
    stop = stop or threading.Event()
    if dry_run and not Path(directory).exists():
        return _all_new(bucket, source, wanted, watcher)
    target = PulledDirectory(directory, lock=not dry_run)
    try:
        state = PulledState(f"{bucket.endpoint}\0{source}", target.path)
        tree = PulledTree(
            bucket,
            source,
            target,
            state,
            wanted=wanted,
            watcher=watcher,
            jobs=jobs,
            stop=stop,
            dry_run=dry_run,
        )
        try:
            return _follow(tree, interval, stop, on_look) if watch and not dry_run else tree.look()
        except BaseException:
            stop.set()  # what is under way ends soon
            raise
        finally:
            tree.close()
            state.close()
    finally:
        target.close()


def _follow(
    tree: PulledTree, interval: float, stop: threading.Event, on_look: Callable[[PullReport], None] | None
) -> PullReport:
    """Look again and again; only the first listing's failure is the caller's."""
    report = tree.look()
    failures = 0
    while True:
        if on_look is not None and not failures:
            on_look(report)
        if stop.wait(min(max(_MAX_BACKOFF, interval), interval * 2**failures)):
            return report
        try:
            report = tree.look()
            failures = 0
        except BucketboardError as error:
            failures = min(failures + 1, 10)
            _log.warning("%s; trying again", error.message)


def _all_new(bucket: Bucket, source: S3Url, wanted: Selection, watcher: Watcher) -> PullReport:
    """What a pull into a directory that does not exist would do."""
    objects, requests = list_wanted(bucket, source, wanted)
    layout = lay_out(objects)
    for path in layout.paths:
        watcher.file(PulledFile(path, "new", objects[path].size))
    size = sum(objects[path].size for path in layout.paths)
    return PullReport(len(layout.paths), size, requests=requests, refused=layout.refused)
