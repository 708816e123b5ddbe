"""``bucketboard sync``: a directory to the bucket, or the way back."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bucketboard.cli.progress import Bar, size
from bucketboard.cli.settings import add_settings, given_settings
from bucketboard.errors import InvalidError
from bucketboard.logdir.report import QUIET

if TYPE_CHECKING:
    from bucketboard.logdir.report import SyncEvent, SyncReport

__all__ = ["COMPLETE", "NOTHING", "PARTIAL", "add_parser", "add_sending", "given_sending", "run"]

COMPLETE, NOTHING, PARTIAL = 0, 1, 3

_EXAMPLES = """\
examples:
  bucketboard sync runs s3://bucket/exp                     once; sends only what is new
  bucketboard sync runs s3://bucket/exp --watch             until Ctrl-C or SIGTERM
  bucketboard sync runs s3://bucket/exp --until-exit 4711   until that process has ended
  bucketboard sync runs s3://bucket/exp --exclude '*.ckpt' --exclude checkpoints
  bucketboard sync runs s3://bucket/exp --delete --dry-run  what would be sent and deleted?
  bucketboard sync s3://bucket/exp runs                     the way back, like bucketboard pull

Event files grow in the bucket by their new bytes, in whole records; other files are sent when they have
settled. Nothing is deleted in the bucket without --delete.

exit status: 0 the bucket has everything, 3 all but some files, 1 nothing, 2 not possible as asked"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "sync",
        help="replicate a log directory to a bucket, or back",
        description="Make a prefix of a bucket equal to a log directory; arguments turned: the reverse.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="a directory, or s3://BUCKET/PREFIX")
    parser.add_argument("target", help="s3://BUCKET/PREFIX, or a directory")
    parser.add_argument("--watch", action="store_true", help="go on until Ctrl-C or SIGTERM")
    parser.add_argument(
        "--until-exit",
        metavar="PID|FILE",
        help="watch until the process has ended, or until the file exists",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=25.0,
        metavar="SECONDS",
        help="how long to go on sending after SIGTERM (default: 25)",
    )
    parser.add_argument("--dry-run", "--dryrun", action="store_true", help="only say what would be done")
    parser.add_argument("--delete", action="store_true", help="delete objects whose file is not there")
    add_sending(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def add_sending(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that replicates a directory."""
    group = parser.add_argument_group("files")
    group.add_argument("--include", action="append", metavar="GLOB", help="only files that match; repeatable")
    group.add_argument("--exclude", action="append", metavar="GLOB", help="no files that match; repeatable")
    group.add_argument("--events-only", action="store_true", help="event files alone")
    group.add_argument("--checksum", action="store_true", help="read every file, look at every object")
    group.add_argument("--jobs", type=int, metavar="N", help="files that are sent at once (default: 16)")
    group.add_argument(
        "--append",
        choices=("auto", "grow", "whole"),
        help="let objects grow, or send whole files, seldom (default: whichever the bucket makes cheap)",
    )
    group.add_argument(
        "--upload-every",
        type=float,
        metavar="SECONDS",
        help="between uploads of a file (default: 10, later 60)",
    )
    group.add_argument(
        "--publish-index", action="store_true", help="bring the prefix's index up to date at the end"
    )
    group.add_argument("--metadata", action="append", metavar="KEY=VALUE", help="on each object; repeatable")
    group.add_argument("--json", action="store_true", help="one JSON object per event, then the report")
    group.add_argument("-v", "--verbose", action="store_true", help="also say what is sent")


def given_sending(options: argparse.Namespace) -> dict[str, Any]:
    """What was given of these options, as arguments of `SyncOptions`."""
    pairs = [text.partition("=") for text in options.metadata or ()]
    if any(not separator for _, separator, _ in pairs):
        raise InvalidError("--metadata is written KEY=VALUE")
    given = {
        "include": tuple(options.include or ()),
        "exclude": tuple(options.exclude or ()),
        "events_only": options.events_only,
        "checksum": options.checksum,
        "jobs": options.jobs,
        "append": options.append,
        "upload_every": options.upload_every,
        "publish_index": options.publish_index,
        "metadata": {key: value for key, _, value in pairs} or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def run(options: argparse.Namespace) -> int:
    """Replicate, in the direction that the arguments say."""
    from bucketboard.store.url import is_s3_url

    to, back = is_s3_url(options.target), is_s3_url(options.source)
    if to == back:
        raise InvalidError(
            "one of the two is s3://BUCKET/PREFIX and the other a directory",
            hint="between buckets use aws s3 sync",
        )
    return _send(options) if to else _fetch(options)


def _fetch(options: argparse.Namespace) -> int:
    from bucketboard.cli.pull import run_pull

    for name in ("until_exit", "delete", "checksum", "append", "upload_every", "publish_index", "metadata"):
        if getattr(options, name):
            raise InvalidError(f"--{name.replace('_', '-')} is for the way to the bucket")
    options.directory = options.target
    options.interval = 5.0
    options.include, options.exclude = options.include or [], options.exclude or []
    options.jobs = options.jobs or 32
    return run_pull(options)


def _send(options: argparse.Namespace) -> int:
    from bucketboard.logdir.once import check_directory, split_settings
    from bucketboard.logdir.replicator import Replicator
    from bucketboard.store.url import S3Url

    watch = options.watch or options.until_exit is not None
    if watch and options.dry_run:
        raise InvalidError("--dry-run looks once, --watch goes on")
    given = {"delete": options.delete, "dry_run": options.dry_run, **given_sending(options)}
    own, settings = split_settings({**given, **given_settings(options)})
    if not watch:
        check_directory(options.source)
    out = _Output(options)
    replicator = Replicator(
        options.source, S3Url.parse(options.target), own, settings, report=out.tell, fast=True
    )
    signals = _Signals() if watch else None
    timeout = None

    def ask(bar: Bar) -> None:
        now = replicator.progress
        bar.files(now.bytes, now.total_bytes, now.files, now.total_files)

    with Bar("sync", ask=ask, quiet=options.json) as out.bar:
        try:
            if signals is not None:
                if not options.json:
                    out.bar.write(f"{options.source} → {options.target}: watching, Ctrl-C ends it")
                replicator.start()
                _wait(options.until_exit, signals.came)
                timeout = options.grace if signals.terminated else None
            report = replicator.finish(timeout)
        except KeyboardInterrupt:
            replicator.stop()
            raise
    out.conclude(report)
    if report.complete:
        return COMPLETE
    return PARTIAL if report.files or report.unchanged else NOTHING


class _Signals:
    """The first Ctrl-C or SIGTERM ends the watching, the next one everything."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.terminated = False
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        if self.came.is_set():
            raise KeyboardInterrupt
        self.terminated = number == signal.SIGTERM
        self.came.set()


def _wait(until: str | None, came: threading.Event) -> None:
    """Until a signal came, the process ended or the file exists."""
    while not came.wait(0.5):
        if until is None:
            continue
        if not until.isdigit():
            if Path(until).exists():
                return
        elif not _runs(int(until)):
            return


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a child that nobody has waited for yet has ended all the same
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


class _Output:
    """What is said while it goes on and at the end."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.bar: Bar
        self._json: bool = options.json
        self._verbose: bool = options.verbose or options.dry_run
        self._target: str = options.target

    def tell(self, event: SyncEvent) -> None:
        if self._json:
            print(json.dumps(event.as_dict()), flush=True)
            return
        path = event.path if event.path.isprintable() else ascii(event.path)
        if event.kind not in QUIET:
            self.bar.write(": ".join(part for part in (event.kind, path, event.message) if part))
        elif self._verbose:
            self.bar.write(f"{event.kind}: {path}" + (f" ({size(event.bytes)})" if event.bytes else ""))

    def conclude(self, report: SyncReport) -> None:
        if self._json:
            print(json.dumps({"kind": "report", **report.as_dict()}), flush=True)
            return
        said = [
            f"{report.files:,} files sent" if report.files else "nothing sent",
            f"{report.unchanged:,} unchanged",
            *([f"{report.deleted:,} deleted"] if report.deleted else ()),
            *([f"{len(report.failed):,} FAILED"] if report.failed else ()),
            f"{size(report.bytes)} in {report.requests:,} requests",
            f"{report.seconds:.1f} s",
        ]
        print(f"{self._target}: {', '.join(said)}", file=sys.stdout, flush=True)
