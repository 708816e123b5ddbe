"""``recover``: what spools still hold of the dead, be it writers' logs or spooled log directories."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bucketboard.errors import BucketboardError, CorruptDataError
from bucketboard.replication.recover import Recovered, recover_logs
from bucketboard.replication.spool import default_directories, remove_finished
from bucketboard.store.url import S3Url
from bucketboard.supervise.spooled import Spooled, entries

__all__ = ["recover"]

_LOOK = 0.2


def recover(
    spool: str | os.PathLike[str] | None = None,
    *,
    dry_run: bool = False,
    wait: float = 60.0,
    within: float = float("inf"),
    on_result: Callable[[Recovered], None] = lambda result: None,
    **settings: Any,
) -> list[Recovered]:
    """Send what spools of dead writers hold, to where their headers say; then remove it.

    What a living writer holds is left to it, so this may run at any time, and twice does no harm. Where only
    the process that sends a spooled log directory lives, it is waited for.

    Args:
        spool: the directory; None: wherever the user's writers spool by default.
        dry_run: only say what is there.
        wait: seconds to try each dead writer's log, or spooled log directory.
        within: seconds for all of them together.
        on_result: called for each file and each spooled log directory when it is done.
        settings: fields of `Settings` that differ from what the writer was given, such as ``profile``.
    """
    deadline = time.monotonic() + within
    results = recover_logs(spool, dry_run=dry_run, wait=wait, within=within, on_result=on_result, **settings)
    directories = [Path(spool)] if spool is not None else default_directories()
    for directory in directories:
        for path in entries(directory):
            result = _recover(path, dry_run, min(time.monotonic() + wait, deadline), settings)
            if result is not None:
                results.append(result)
                on_result(result)
        if not dry_run:
            remove_finished(directory)
    return results


def _recover(path: Path, dry_run: bool, deadline: float, settings: dict[str, Any]) -> Recovered | None:
    """What became of one spooled log directory; None where there was nothing to do."""
    try:
        spooled = Spooled.load(path)
    except CorruptDataError as error:
        if (path / "files").exists():
            return Recovered(str(path), "", "", "failed", error=str(error))
        shutil.rmtree(path, ignore_errors=True)  # finished, and its sender died while it removed it
        return None
    size = spooled.size

    def became(state: str, error: str = "") -> Recovered:
        return Recovered(str(path), spooled.url, "", state, bytes=size, error=error)

    while holder := spooled.take():
        if not path.exists():
            return became("sent") if size else None
        if holder == "writer" or dry_run or time.monotonic() >= deadline:
            return became("held")
        time.sleep(_LOOK)
    try:
        if not size:
            if not dry_run:
                spooled.remove()
            return None
        failure = "" if dry_run else _send(spooled, deadline, settings)
    finally:
        spooled.let_go()
    return became("failed" if failure else "pending" if dry_run else "sent", failure)


def _send(spooled: Spooled, deadline: float, settings: dict[str, Any]) -> str:
    """Bring the files over and remove them; gives what was in the way."""
    from bucketboard.logdir.once import raise_if_incomplete, split_settings
    from bucketboard.logdir.replicator import Replicator

    given = {name: value for name, value in settings.items() if value is not None}
    try:
        options, reach = split_settings({**spooled.options, **given})
        replicator = Replicator(spooled.files, S3Url.parse(spooled.url), options, reach)
        report = replicator.finish(max(0.0, deadline - time.monotonic()))
        raise_if_incomplete(report, replicator.error)
    except BucketboardError as error:
        return str(error)
    spooled.remove()
    return ""
