"""The runs below a prefix."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from bucketboard.errors import InvalidError
from bucketboard.runs.listing import group
from bucketboard.runs.summary import FIELDS, RunSummary, summary, with_hparams_from_below
from bucketboard.runs.where import Condition
from bucketboard.source import BucketSource
from bucketboard.store.bucket import ObjectInfo
from bucketboard.store.fast import fast_bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url

if TYPE_CHECKING:
    from bucketboard.index import Look

__all__ = ["STALLED_AFTER", "ls", "summaries", "unknown_names"]

STALLED_AFTER = 600.0
"""Seconds without a write after which a run that is not finished is stalled; writers write every 120."""
_ATTEMPTS = 3


def ls(
    url: str,
    *,
    where: str | Condition | None = None,
    sort: str | Sequence[str] = "run",
    limit: int | None = None,
    stalled_after: float = STALLED_AFTER,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> list[RunSummary]:
    """The runs below ``url``, without reading their data where an index is published there.

    It costs a listing and a few requests for the index; what the index does not know yet is read from the
    event files. Without an index that is all of them: ``on_progress`` is called with bytes read and to read.

    Args:
        url: ``s3://bucket/prefix``.
        where: which runs, such as ``lr < 0.01 and team == "vision"``; see :mod:`bucketboard.runs.where`.
        sort: names as in ``where``; with a "-" before it, from the greatest down. Runs without one come last.
        limit: at most so many.
        stalled_after: seconds without a write after which a run that is not finished counts as stalled.
        settings: those of the bucket.

    Raises:
        InvalidError: the condition can't be read, or the bucket not be listed.
        UnavailableError: the bucket can't be listed now.
    """
    condition = Condition(where) if isinstance(where, str) else where
    if limit is not None and limit < 0:
        raise InvalidError(f"limit={limit} must not be negative")
    if not stalled_after > 0:
        raise InvalidError(f"stalled_after={stalled_after:g} must be above 0 seconds")
    runs, _ = summaries(S3Url.parse(url), Settings.resolve(**settings), stalled_after, on_progress)
    found = [run for run in runs if condition is None or condition(run)]
    for name in reversed([sort] if isinstance(sort, str) else sort):
        found = _sorted(found, name)
    return found[:limit]


def summaries(
    url: S3Url,
    settings: Settings,
    stalled_after: float = STALLED_AFTER,
    on_progress: Callable[[int, int], None] | None = None,
    by: Look | None = None,
) -> tuple[list[RunSummary], dict[str, str]]:
    """All runs below ``url``, and by run why something of it could not be read now.

    ``by`` has what no index covers read by others.
    """
    from bucketboard.index import BucketObjects, Index, look

    source = BucketSource(url, fast_bucket(url.bucket, settings, attempts=_ATTEMPTS))
    with ThreadPoolExecutor(1, "bucketboard-index") as beside:
        opening = beside.submit(Index.open, BucketObjects(source.bucket, url.prefix))
        listed = source.files()
        index = opening.result()
    index, report = look(source, index, listed, on_progress, by=by)
    trouble = {path: places[0].message for path, places in report.damage.items()}
    trouble |= {path: error.message for path, error in report.failures.items()}
    now = time.time()
    runs = with_hparams_from_below(
        summary(index, str(url), run, paths, listed, now=now, stalled_after=stalled_after, trouble=trouble)
        for run, paths in _paths(listed, url).items()
    )
    return runs, {path.rpartition("/")[0] or ".": error.message for path, error in report.failures.items()}


def _paths(listed: Mapping[str, ObjectInfo], url: S3Url) -> dict[str, list[str]]:
    """The event files of each run, in their order."""
    start = len(url.prefix)
    runs = group(listed.values(), url.prefix)
    return {name: [info.key[start:] for info in run.event_files] for name, run in runs.items()}


def _sorted(runs: list[RunSummary], name: str) -> list[RunSummary]:
    falling, name = name.startswith("-"), name.removeprefix("-")
    having = [(value, run) for run in runs if (value := run.value(name)) is not None]
    without = [run for run in runs if run.value(name) is None]
    # Numbers before text: metadata are text, and may be numbers for some runs only.
    numbers = [(_number(value), run) for value, run in having]
    ordered = sorted((pair for pair in numbers if pair[0] is not None), key=lambda pair: pair[0] or 0.0)
    texts = sorted(
        (pair for pair, number in zip(having, numbers, strict=True) if number[0] is None),
        key=lambda pair: str(pair[0]),
    )
    found = [run for _, run in ordered] + [run for _, run in texts]
    return [*(reversed(found) if falling else found), *without]


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def unknown_names(condition: Condition, runs: Iterable[RunSummary]) -> list[str]:
    """A sentence for each name in the condition that none of the runs has."""
    runs = list(runs)
    sentences = []
    for name, where in condition.names:
        if (not where and name in FIELDS) or any(run.value(name, where) is not None for run in runs):
            continue
        known = {key for run in runs for place in _places(run) for key in place}
        known |= {tag for run in runs for tag, told in run.tags.items() if told.value is not None}
        close = difflib.get_close_matches(name, sorted(known | set(FIELDS)), 1)
        sentences.append(f"no run has {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    return sentences


def _places(run: RunSummary) -> tuple[Mapping[str, Any], ...]:
    return run.labels, run.metadata, run.gathered, run.hparams
