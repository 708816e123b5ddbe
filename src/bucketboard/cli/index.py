"""``bucketboard index``: publish the index of a prefix."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from bucketboard.cli.bulk import add_bulk_options
from bucketboard.cli.progress import Bar
from bucketboard.cli.settings import add_settings, given_settings
from bucketboard.errors import InvalidError, UnavailableError

if TYPE_CHECKING:
    from bucketboard.index import Index, Report

__all__ = ["add_parser", "run"]

_EXAMPLES = """\
examples:
  bucketboard index s3://bucket/exp             so that everybody's first look is instant
  bucketboard index s3://bucket/exp --watch     keep it up to date while runs grow
  bucketboard index s3://bucket/exp --dry-run   only say what would be read
  bucketboard index s3://bucket/exp --workers 8       by eight processes, which is worth it from about 1 GB on
  bucketboard index s3://bucket/exp --json | jq .bytes_sent

It lies in s3://bucket/exp/.bucketboard/v1, costs what has grown, and may be deleted at any time. It is also a
data set: `duckdb -c "from 's3://bucket/exp/.bucketboard/v1/scalars/*.parquet'"`.

It needs s3:ListBucket, s3:GetObject, and s3:PutObject and s3:DeleteObject below .bucketboard.

exit status: 0 up to date, 1 some files could not be read"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "index",
        help="publish an index, so that opening a prefix is instant",
        description="Bring the index of what is below a prefix up to date.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="s3://BUCKET/PREFIX", help="what to index")
    parser.add_argument("--watch", action="store_true", help="go on until interrupted")
    parser.add_argument(
        "--interval",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="time between two looks with --watch (default: 60)",
    )
    parser.add_argument("--dry-run", "--dryrun", action="store_true", help="say what would be read")
    parser.add_argument("--json", action="store_true", help="one JSON object per update")
    add_bulk_options(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Index once, or over and over."""
    from bucketboard.bulk.index import index_runs

    if not options.interval > 0:
        raise InvalidError(f"--interval {options.interval:g} must be above 0")
    known: Index | None = None
    stop = threading.Event()
    if options.watch:
        signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    while True:
        status = 1
        try:
            with Bar("indexing", quiet=options.json) as bar:
                report = index_runs(
                    options.target,
                    known=known,
                    workers=options.workers,
                    cluster=options.cluster,
                    dry_run=options.dry_run,
                    on_progress=bar.show,
                    **given_settings(options),
                )
            known = report.index
            _say(options, report)
            status = 1 if report.failures else 0
        except UnavailableError as error:
            if not options.watch:
                raise
            print(f"bucketboard: {error}; trying again", file=sys.stderr, flush=True)
        if not options.watch or stop.wait(options.interval):
            return status


def _say(options: argparse.Namespace, report: Report) -> None:
    for path, places in report.damage.items():
        print(f"bucketboard: {path}: {places[0].message}", file=sys.stderr)
    for path, error in report.failures.items():
        print(f"bucketboard: {path} could not be read: {error}", file=sys.stderr)
    if options.json:
        print(json.dumps(_plain(report)), flush=True)
    elif options.dry_run:
        print(f"{report.read:,} of {report.files:,} event files have grown by {report.bytes_read:,} bytes")
    elif report.read or not options.watch:
        told = f"{report.files:,} event files, {report.rows:,} new values of {report.read:,} files"
        sent = f"{report.bytes_read:,} bytes read, {report.bytes_sent:,} sent"
        print(f"{options.target}: {told} ({sent})", flush=True)


def _plain(report: Report) -> dict[str, Any]:
    found = {
        entry.name: getattr(report, entry.name)
        for entry in dataclasses.fields(report)
        if entry.name not in ("damage", "failures", "index", "series")
    }
    damage = {path: [place.message for place in places] for path, places in report.damage.items()}
    return {**found, "damage": damage, "failures": {path: str(e) for path, e in report.failures.items()}}
