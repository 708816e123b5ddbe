"""``bucketboard run``: a command whose log directory is replicated while it runs, and when it has ended."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bucketboard.cli.progress import size
from bucketboard.cli.settings import add_settings, given_settings
from bucketboard.cli.sync import add_sending, given_sending
from bucketboard.errors import InvalidError
from bucketboard.logdir.report import QUIET, SyncReport

if TYPE_CHECKING:
    from bucketboard.logdir.report import SyncEvent
    from bucketboard.supervise.signals import Signals
    from bucketboard.supervise.supervisor import Ended

__all__ = ["add_parser", "run"]

_EXAMPLES = """\
examples:
  bucketboard run s3://bucket/exp --logdir runs -- python train.py
  bucketboard run s3://bucket/exp --logdir runs --grace 100 -- torchrun --nproc-per-node 8 train.py
  bucketboard run s3://bucket/exp --logdir runs --ca-bundle ca.pem -- ./train.sh --epochs 3
  bucketboard run s3://bucket/exp --logdir runs --json -- python train.py 2> events.jsonl

The command keeps the terminal, standard input and output. Signals are handed on to it. On SIGTERM it has
the --grace, less up to 5 s that are kept for sending its last bytes, before it is killed. It goes on unharmed
if bucketboard itself is killed. As a container's first process this one reaps orphans.

exit status: the command's; 128+n when it ended by signal n; 127 not found, 126 not executable;
75 when it succeeded and the bucket is incomplete (bucketboard sync sends the rest)"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "run",
        help="run a command and replicate its log directory",
        usage="bucketboard run s3://BUCKET/PREFIX --logdir DIR [options] -- COMMAND [ARGUMENT ...]",
        description="Run a command; replicate the directory it logs to while it runs, and what is left when "
        "it ends, however it ends.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="s3://BUCKET/PREFIX", help="where the directory goes")
    parser.add_argument(
        "--logdir", required=True, metavar="DIR", help="what the command logs to; need not exist yet"
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=25.0,
        metavar="SECONDS",
        help="from a SIGTERM: for the command's end and the rest of the uploads (default: 25)",
    )
    parser.add_argument(
        "--drain-timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="without a signal: how long to send the rest (default: 300)",
    )
    add_sending(parser)
    add_settings(parser)
    parser.set_defaults(run=run, takes_rest=True)


def run(options: argparse.Namespace) -> int:
    """Supervise the command; gives the status to exit with."""
    from bucketboard.supervise.child import CommandError
    from bucketboard.supervise.init import stand_in_for_init
    from bucketboard.supervise.signals import Signals

    signals = Signals()
    status = stand_in_for_init(signals)
    if status is not None:
        return status
    try:
        ended = _supervise(options, signals)
    except CommandError as error:
        print(f"bucketboard: error: {error}", file=sys.stderr)
        return error.status
    if ended.abandoned:  # the interpreter would wait for the requests of its threads
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(ended.status)
    return ended.status


def _supervise(options: argparse.Namespace, signals: Signals) -> Ended:
    from bucketboard.logdir.once import split_settings
    from bucketboard.logdir.replicator import Replicator
    from bucketboard.store.url import S3Url
    from bucketboard.supervise.supervisor import Supervisor

    console = _Console(options)
    directory, url = Path(options.logdir), S3Url.parse(options.target)
    if directory.exists() and not directory.is_dir():
        raise InvalidError(f"{directory} is no directory")
    patience = {"patience": options.drain_timeout} if options.drain_timeout > 0 else {}
    own, settings = split_settings({**patience, **given_sending(options), **given_settings(options)})
    supervisor = Supervisor(
        options.rest,
        Replicator(directory, url, own, settings, report=console.tell, fast=True),
        grace=options.grace,
        drain_timeout=options.drain_timeout,
        say=console,
    )
    console("replicating", f"{directory} → {url}", directory=str(directory), target=str(url))
    ended = supervisor.run(signals)
    console.conclude(directory, str(url), ended)
    return ended


class _Console:
    """Standard error, shared with the command: a line to begin with, troubles, and a line at the end."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._json: bool = options.json
        self._verbose: bool = options.verbose

    def __call__(self, kind: str, message: str, **facts: Any) -> None:
        if self._json:
            self._write(json.dumps({"kind": kind, "message": message, **facts}))
        elif self._verbose or kind not in ("start", "exit") or facts.get("signal"):  # shells say these too
            self._write(f"bucketboard: {message}")

    def tell(self, event: SyncEvent) -> None:
        """What the replicator tells; why files failed is in the conclusion."""
        if self._json:
            self._write(json.dumps(event.as_dict()))
        elif self._verbose or event.kind not in {*QUIET, "failed"}:
            parts = (event.kind, event.path, event.message)
            self._write(f"bucketboard: {': '.join(filter(None, parts))}")

    def _write(self, line: str) -> None:
        # The terminal may have gone (SIGHUP), or whoever read us; the run goes on.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def conclude(self, directory: Path, target: str, ended: Ended) -> None:
        """What became of it all."""
        outcome = ended.outcome
        report = outcome.report or SyncReport()
        complete = outcome.complete and not ended.abandoned
        if not complete:
            why = _why(report, outcome.troubles)
            again = f"bucketboard sync {directory} {target}"
            message = f"{target} is incomplete{why}\n  hint: send the rest with: {again}"
        elif not directory.exists() and not outcome.recovered:
            message = f"nothing was logged to {directory}: is it the right --logdir?"
        else:
            message = f"{target} is complete: {report.files:,} files sent, {size(report.bytes)}"
        facts = {
            **report.as_dict(),
            "complete": complete,
            "status": ended.status,
            "command_status": ended.command,
            "troubles": outcome.troubles,
            "recovered": outcome.recovered,
            "held": outcome.held,
        }
        self("report", message, **facts)


def _why(report: SyncReport, troubles: list[str]) -> str:
    if not report.failed:
        return f": {troubles[0]}" if troubles else ""
    path, message = report.failed[0]
    count = f"{len(report.failed):,} files, such as " if len(report.failed) > 1 else ""
    return f": {count}{path}: {message}" if path else f": {message}"
