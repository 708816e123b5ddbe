"""``index``: the event files of many runs, read by processes or a Dask cluster; one index is published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bucketboard.bulk.engine import Done, fan_out
from bucketboard.errors import InvalidError, UnavailableError
from bucketboard.runs.location import Location
from bucketboard.source import BucketSource

if TYPE_CHECKING:
    from bucketboard.index import Index, Report, Share, ShareRead

__all__ = ["index_runs"]


@dataclass(frozen=True)
class _Task:
    """Some runs to read; it travels to whoever does it."""

    location: Location
    share: Share


def index_runs(
    url: str,
    *,
    known: Index | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Report:
    """Bring the index below ``url`` up to date; what it costs goes by what has grown.

    Where ``workers`` or a ``cluster`` is given, the runs are divided into at most eight shares. Each worker
    makes what the index has of its share and stores it; the index is published once, at the end. The same
    runs give the same bytes, whoever reads them. Killed before that, the next call goes on.

    Args:
        url: ``s3://bucket/prefix``.
        known: the index after the last update, so that less of it has to be read.
        workers: processes that share the work; None: all is done here, by threads.
        cluster: the address of a Dask cluster's scheduler, which does it instead.
        dry_run: read and store nothing; the report says what would be read.
        on_progress: told the bytes that are read, and those that there are to read.
        settings: fields of `Settings`.

    Raises:
        InvalidError: the index is of a newer version, or an argument is wrong.
        UnavailableError: the bucket can't be listed, the index not be stored, or the cluster not be reached.
    """
    from bucketboard.index import BucketObjects, ShareRead, update

    location = Location.of(url, settings)
    source = _source(location)

    def scan(shares: Sequence[Share]) -> list[ShareRead]:
        tasks = {str(number): _Task(location, share) for number, share in enumerate(shares)}
        total, done = sum(share.bytes for share in shares), 0

        def tell(name: str, ended: Done[ShareRead]) -> None:
            nonlocal done
            done += tasks[name].share.bytes
            if on_progress:
                on_progress(done, total)

        # One at a time in this process: a share is read by threads already, and held in memory.
        outcome = fan_out(_read, tasks, workers=workers or 1, cluster=cluster, on_done=tell, threads=1)
        for name, failure in outcome.failures.items():
            error = UnavailableError(failure)
            outcome.results[name] = ShareRead(failures=dict.fromkeys(tasks[name].share.files, error))
        return [outcome.results[name] for name in tasks]

    return update(
        source,
        BucketObjects(source.bucket, source.url.prefix),
        known=known,
        dry_run=dry_run,
        progress=on_progress,
        scan=None if workers is None and cluster is None else scan,
    )


def _source(location: Location) -> BucketSource:
    source = location.source()
    if not isinstance(source, BucketSource):
        raise InvalidError(f"{location.target!r} is not in a bucket", hint="write it as s3://bucket/prefix")
    return source


def _read(task: _Task) -> ShareRead:
    from bucketboard.index import BucketObjects, read_share

    source = _source(task.location)
    objects = BucketObjects(source.bucket, source.url.prefix)
    return read_share(source, objects, task.share, lambda count: None, receipt=True)
