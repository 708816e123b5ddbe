"""Bring a directory over to the bucket, once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bucketboard.errors import BucketboardError, InvalidError
from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.replicator import Replicator
from bucketboard.logdir.report import IncompleteError, SyncEvent, SyncReport
from bucketboard.store.settings import Settings, from_environ
from bucketboard.store.url import S3Url

__all__ = ["check_directory", "raise_if_incomplete", "split_settings", "sync"]


def sync(
    directory: str | os.PathLike[str],
    url: str,
    *,
    on_event: Callable[[SyncEvent], None] = lambda event: None,
    **options: Any,
) -> SyncReport:
    """Make the objects below ``url`` equal to the files in ``directory``, sending only what is new.

    Args:
        directory: a log directory; files of every kind are replicated, event files by appending.
        url: ``s3://bucket/prefix``.
        on_event: told of each file as it is done, from other threads.
        options: fields of `SyncOptions`, such as ``exclude=("*.ckpt",)``, ``delete=True``, ``dry_run=True``,
            and of `Settings`, such as ``profile="research"``.

    Raises:
        InvalidError: an argument, the bucket or a permission is not right.
        IncompleteError: not all could be stored; its ``report`` tells what.
        UnavailableError: nothing could be done.
    """
    own, settings = split_settings(options)
    check_directory(directory)
    replicator = Replicator(directory, S3Url.parse(url), own, settings, report=on_event)
    try:
        report = replicator.finish()
    except BaseException:
        replicator.stop()
        raise
    raise_if_incomplete(report, replicator.error)
    return report


def split_settings(options: dict[str, Any]) -> tuple[SyncOptions, Settings]:
    """A replication's options, and how to reach the bucket: keyword arguments, then the environment."""
    own = set(SyncOptions.__dataclass_fields__)
    mine = {name: value for name, value in options.items() if name in own}
    return from_environ(SyncOptions, mine), Settings.resolve(
        **{name: value for name, value in options.items() if name not in own}
    )


def check_directory(directory: str | os.PathLike[str]) -> None:
    """Raises InvalidError where there is no such directory."""
    if not Path(directory).is_dir():
        raise InvalidError(f"no such directory: {os.fspath(directory)!r}")


def raise_if_incomplete(report: SyncReport, error: BucketboardError | None) -> None:
    """Raise what kept the bucket from being complete."""
    if report.complete:
        return
    if error is not None and not report.failed[0][0]:
        raise error
    raise IncompleteError(report) from error
