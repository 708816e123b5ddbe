"""``bucketboard pull``: a bucket's prefix into a directory."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bucketboard.cli.progress import Bar
from bucketboard.cli.settings import add_settings, given_settings
from bucketboard.cli.sync import COMPLETE, NOTHING, PARTIAL

if TYPE_CHECKING:
    from bucketboard.fetch.pull import PulledFile, PullReport

__all__ = ["add_parser", "add_pull_options", "run", "run_pull"]

_EXAMPLES = """\
examples:
  bucketboard pull s3://bucket/exp runs                    once; run it again to go on or to bring what is new
  bucketboard pull s3://bucket/exp runs --watch            follow, for a tensorboard --logdir runs beside it
  bucketboard pull s3://bucket/exp runs --events-only --exclude 'old/*'
  bucketboard pull s3://bucket/exp runs --dry-run          only say what would be done
  bucketboard pull s3://bucket/exp runs --json | jq .failed

Event files that grew are appended to in place, other files are replaced at once. Nothing is deleted.

exit status: 0 the directory has all, 3 all but some files, 1 nothing, 2 not possible as asked,
130 interrupted before the end (with --watch an interruption is the end)"""
_INTERRUPTED = 130


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "pull",
        help="bring a prefix of a bucket into a directory, and follow it",
        description="Bring what is below a prefix into a directory, byte for byte.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="s3://BUCKET/PREFIX", help="what to bring")
    parser.add_argument("directory", metavar="DIR", help="where to; it is made if need be")
    add_pull_options(parser)
    add_settings(parser, storing=False)
    parser.set_defaults(run=run)


def add_pull_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what to pull and how."""
    parser.add_argument("--watch", action="store_true", help="follow until Ctrl-C or SIGTERM")
    parser.add_argument(
        "--interval",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="time between two looks of --watch (default: 5)",
    )
    parser.add_argument(
        "--include", action="append", default=[], metavar="GLOB", help="only such paths or names; repeatable"
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="no such paths or names; repeatable"
    )
    parser.add_argument("--events-only", action="store_true", help="only event files")
    parser.add_argument("--dry-run", "--dryrun", action="store_true", help="say what would be done")
    parser.add_argument("--jobs", type=int, default=32, metavar="N", help="files at a time (default: 32)")
    parser.add_argument(
        "--json", action="store_true", help="the result as a JSON object; with --watch one per look"
    )


def run(options: argparse.Namespace) -> int:
    """Pull as the options say."""
    return run_pull(options)


def run_pull(options: argparse.Namespace) -> int:
    """Pull ``options.source`` into ``options.directory``, showing progress; gives the exit status."""
    from bucketboard.fetch.pull import pull

    stop = threading.Event()
    with _stopping(stop), Bar("pull") as bar:
        report = pull(
            options.source,
            options.directory,
            watch=options.watch,
            interval=options.interval,
            include=options.include,
            exclude=options.exclude,
            events_only=options.events_only,
            dry_run=options.dry_run,
            jobs=options.jobs,
            stop=stop,
            on_progress=lambda now: bar.files(now.bytes, now.bytes_total, now.files, now.files_total),
            on_file=_say_what_would_be_done if options.dry_run and not options.json else None,
            on_look=_print_json if options.watch and options.json else None,
            **given_settings(options),
        )
    if options.json:
        if not options.watch or options.dry_run:
            _print_json(report)
    else:
        print(_summary(report, options.dry_run), flush=True)
    if stop.is_set() and not options.watch:
        return _INTERRUPTED
    nothing = not (report.files or report.skipped or report.refused or report.failed)
    if nothing and not options.watch:
        print(f"bucketboard: nothing to pull from {options.source}", file=sys.stderr)
    if report.complete and (options.watch or not nothing):
        return COMPLETE
    return PARTIAL if report.files or report.skipped else NOTHING


@contextlib.contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM end it in order; a second one ends it at once."""
    before: dict[int, Any] = {}

    def end(number: int, frame: object) -> None:
        stop.set()
        for each, handler in before.items():
            signal.signal(each, handler)

    before.update({each: signal.signal(each, end) for each in (signal.SIGINT, signal.SIGTERM)})
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _say_what_would_be_done(file: PulledFile) -> None:
    path = file.path if file.path.isprintable() else ascii(file.path)
    print(f"{file.action:<9} {path}  {file.bytes:,} bytes", flush=True)


def _print_json(report: PullReport) -> None:
    print(json.dumps({"complete": report.complete, **dataclasses.asdict(report)}), flush=True)


def _summary(report: PullReport, dry_run: bool) -> str:
    parts = [
        f"{'would pull' if dry_run else 'pulled'} {report.files:,} files, {report.bytes:,} bytes",
        f"{report.skipped:,} unchanged",
    ]
    named: dict[str, list[Any]] = {
        "replaced": report.replaced,
        "refused": report.refused,
        "failed": report.failed,
    }
    parts += [f"{len(keys):,} {name}" for name, keys in named.items() if keys]
    return f"{', '.join(parts)}; {report.requests:,} requests"
