"""Exporting many runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bucketboard.bulk.engine import Done, fan_out
from bucketboard.errors import InvalidError
from bucketboard.runs.export import ExportedRun, RunExport, export_run
from bucketboard.runs.extra import extra
from bucketboard.runs.location import Location
from bucketboard.runs.logdir import Names
from bucketboard.runs.scan import KINDS, chosen, event_files
from bucketboard.runs.sheets import FORMATS
from bucketboard.store.url import is_s3_url

__all__ = ["ExportProgress", "ExportReport", "export"]

_WORTH_PROCESSES = 1 << 30
"""Bytes to read from which on processes save more than it takes to start them."""


@dataclass
class ExportReport:
    """What an export did; with ``dry_run``, what it would do."""

    exported: list[str] = field(default_factory=list)
    """Runs that were exported, sorted."""
    unchanged: list[str] = field(default_factory=list)
    """Runs that an earlier export left complete."""
    failures: dict[str, str] = field(default_factory=dict)
    """By run, what went wrong."""
    damaged: dict[str, list[str]] = field(default_factory=dict)
    """By run, places in its event files that can't be read, at most a hundred; the rest was exported."""
    rows: dict[str, int] = field(default_factory=dict)
    """By kind, of the exported runs."""
    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def complete(self) -> bool:
        """Whether every run is there."""
        return not self.failures

    def add(self, done: ExportedRun) -> None:
        """Take in a run."""
        self.exported.append(done.run)
        for kind, count in done.rows.items():
            self.rows[kind] = self.rows.get(kind, 0) + count
        if done.damaged:
            self.damaged[done.run] = done.damaged
        self.bytes_read += done.bytes_read
        self.bytes_written += done.bytes_written


@dataclass(frozen=True)
class ExportProgress:
    """How far an export is, of what it has to do."""

    runs: int
    runs_total: int
    bytes: int
    bytes_total: int


def export(
    target: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str = "parquet",
    runs: Names = None,
    tags: Names = None,
    kinds: Names = None,
    workers: int | None = 1,
    cluster: str | None = None,
    dry_run: bool = False,
    on_progress: Callable[[ExportProgress], object] | None = None,
    **settings: Any,
) -> ExportReport:
    """Write what is logged below ``s3://bucket/prefix``, or in a directory, as tables below ``out``.

    All records of each chosen run, tag and kind go to ``out/KIND/run=RUN/data.FORMAT``, in the order in which
    they were logged. A run that is there and has not changed is left alone, so that the same call goes on
    where another one ended. ``workers`` processes share the work (None: as many as are worth it; a script
    that asks for more than 1 needs ``if __name__ == "__main__"``), or the Dask cluster whose scheduler is at
    ``cluster``, whose workers must see ``out`` under the same path.

    Raises:
        InvalidError: an argument is wrong, or a library is missing.
        UnavailableError: the bucket can't be listed, or the cluster can't be reached.
    """
    tasks = _tasks(Location.of(target, settings), out, format, runs, tags, kinds)
    report = ExportReport()
    for run, task in list(tasks.items()):
        if task.done():
            report.unchanged.append(run)
            del tasks[run]
    total = sum(task.bytes for task in tasks.values())
    if dry_run:
        report.exported, report.bytes_read = list(tasks), total
        return report
    try:
        Path(out).expanduser().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidError(f"{os.fspath(out)} can't be made: {error}") from error
    if workers is None:
        workers = (os.cpu_count() or 1) if total >= _WORTH_PROCESSES else 1
    sizes = {run: task.bytes for run, task in tasks.items()}
    at = {"runs": 0, "bytes": 0}

    def tell(run: str, done: Done[ExportedRun]) -> None:
        at["runs"] += 1
        at["bytes"] += sizes[run]
        if on_progress:
            on_progress(ExportProgress(at["runs"], len(sizes), at["bytes"], total))

    outcome = fan_out(export_run, tasks, workers=workers, cluster=cluster, on_done=tell)
    for run in sorted(outcome.results):
        report.add(outcome.results[run])
    report.failures = dict(sorted(outcome.failures.items()))
    return report


def _tasks(
    location: Location, out: str | os.PathLike[str], format: str, runs: Names, tags: Names, kinds: Names
) -> dict[str, RunExport]:
    if format not in FORMATS:
        raise InvalidError(f"format={format!r} is not known", hint=f"use one of {', '.join(FORMATS)}")
    if format == "parquet":
        extra("pyarrow", "bucketboard[data]")
    if is_s3_url(os.fspath(out)):
        raise InvalidError(f"{os.fspath(out)!r} is not a directory", hint="export to a directory")
    directory = Path(out).expanduser().absolute()
    named = KINDS if kinds is None else tuple([kinds] if isinstance(kinds, str) else kinds)
    if unknown := [kind for kind in named if kind not in KINDS]:
        raise InvalidError(f"{unknown[0]!r} is no kind of summary", hint=f"use some of {', '.join(KINDS)}")
    globs = None if tags is None else tuple([tags] if isinstance(tags, str) else tags)
    listed = location.source().files()
    wanted = chosen(runs)
    return {
        run: RunExport(
            location,
            run,
            tuple((path, listed[path].size, listed[path].etag) for path in paths),
            str(directory),
            format,
            tuple(kind for kind in KINDS if kind in named),
            globs,
        )
        for run, paths in event_files(listed).items()
        if wanted(run)
    }
