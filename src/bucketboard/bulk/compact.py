"""``compact``: many runs, by threads, processes or a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bucketboard.bulk.engine import Done, fan_out
from bucketboard.errors import InvalidError
from bucketboard.runs.change import carry_out
from bucketboard.runs.choice import choose
from bucketboard.runs.compact import Compacted, compact_run, groups
from bucketboard.runs.listing import RunObjects
from bucketboard.runs.location import Location
from bucketboard.store.url import S3Url

__all__ = ["compact"]


@dataclass(frozen=True)
class _Run:
    """One run to compact; it travels to whoever does it."""

    location: Location
    place: S3Url
    objects: RunObjects
    dry_run: bool
    force: bool


def compact(
    url: str,
    *,
    dry_run: bool = False,
    force: bool = False,
    workers: int = 1,
    cluster: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> list[Compacted]:
    """Join the event files of each run at and below ``url`` into files of up to 256 MiB: `compact_run`.

    Changes that were interrupted there are brought to their end first.

    Args:
        url: a run, or a prefix of runs.
        dry_run: only say what would become of each run.
        force: also runs that are being written; one whose files change meanwhile is left.
        workers: processes that share the work.
        cluster: the address of a Dask cluster's scheduler, which does it instead.
        on_progress: told the bytes that are done, and those that there are to do.
        settings: fields of `Settings`.

    Raises:
        InvalidError: there are no runs, or an argument is wrong.
        UnavailableError: the bucket can't be listed, or the cluster can't be reached.
    """
    location = Location.of(url, settings)
    place = S3Url.parse(url)
    bucket = location.bucket()
    choice = choose(bucket, place)
    if choice.interrupted and not dry_run:
        for journal in choice.interrupted:
            carry_out(bucket, journal)
        choice = choose(bucket, place)
    if not choice.runs:
        raise InvalidError(f"there are no event files below {url}", hint="bucketboard ls shows what is there")
    sizes = {
        run.name: sum(info.size for group in groups(run.event_files) for info in group) for run in choice.runs
    }
    total, done = sum(sizes.values()), 0

    def tell(name: str, ended: Done[Compacted]) -> None:
        nonlocal done
        done += sizes[name]
        if on_progress:
            on_progress(done, total)

    tasks = {run.name: _Run(location, choice.place, run, dry_run, force) for run in choice.runs}
    outcome = fan_out(_compact, tasks, workers=workers, cluster=cluster, on_done=tell)
    for run in choice.runs:
        if failure := outcome.failures.get(run.name):
            count = len(run.event_files)
            outcome.results[run.name] = Compacted(run.name, count, count, 0, failure)
    return [outcome.results[run.name] for run in choice.runs]


def _compact(task: _Run) -> Compacted:
    url, bucket = S3Url.parse(task.location.target), task.location.bucket()
    return compact_run(bucket, task.place, url, task.objects, dry_run=task.dry_run, force=task.force)
