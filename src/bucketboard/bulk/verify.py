"""Verifying many runs, by processes or a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bucketboard.bulk.engine import Done, fan_out
from bucketboard.errors import InvalidError
from bucketboard.runs.fingerprint import IndexedFile
from bucketboard.runs.listing import RunObjects, list_runs
from bucketboard.runs.location import Location
from bucketboard.runs.verify import Finding, RunVerified, Verified, open_indexed, verify_run
from bucketboard.source import BucketSource

__all__ = ["verify_runs"]


@dataclass(frozen=True)
class _Run:
    """One run to verify; it travels to whoever does it."""

    location: Location
    objects: RunObjects
    indexed: dict[str, IndexedFile]


def verify_runs(
    url: str,
    *,
    workers: int = 1,
    cluster: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Verified:
    """Read every event file below ``url`` as ``verify`` does, by ``workers`` processes or a Dask cluster.

    The index, which has the rows of all runs together, is read here, once; each run's task has the
    fingerprints of its rows.

    Raises:
        InvalidError: there are no runs, or an argument is wrong.
        UnavailableError: the bucket can't be listed, or the cluster can't be reached.
    """
    location = Location.of(url, settings)
    source = location.source()
    if not isinstance(source, BucketSource):
        raise InvalidError(f"{url!r} is not in a bucket", hint="write it as s3://bucket/prefix")
    runs = list_runs(source.bucket, source.url)
    sizes = {name: sum(info.size for info in run.event_files) for name, run in runs.items()}
    total, done = sum(sizes.values()), 0

    def tell(name: str, ended: Done[RunVerified]) -> None:
        nonlocal done
        done += sizes[name]
        if on_progress:
            on_progress(done, total)

    indexed, trouble = open_indexed(source.bucket, source.url)
    tasks = {
        name: _Run(
            location, run, {info.key: indexed[info.key] for info in run.event_files if info.key in indexed}
        )
        for name, run in runs.items()
    }
    outcome = fan_out(_verify, tasks, workers=workers, cluster=cluster, on_done=tell)
    for name, failure in outcome.failures.items():
        finding = Finding(runs[name].prefix, "unreadable", None, failure)
        outcome.results[name] = RunVerified(name, len(runs[name].event_files), 0, 0, (finding,))
    return Verified(tuple(outcome.results[name] for name in runs), trouble)


def _verify(task: _Run) -> RunVerified:
    source = task.location.source()
    assert isinstance(source, BucketSource)
    return verify_run(source.bucket, task.objects, task.indexed)
