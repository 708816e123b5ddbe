"""``bucketboard verify``: whether event files are whole, and the index says the truth about them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from bucketboard.cli.bulk import add_bulk_options
from bucketboard.cli.progress import Bar, size
from bucketboard.cli.settings import add_settings, given_settings

if TYPE_CHECKING:
    from bucketboard.runs.repair import Repaired
    from bucketboard.runs.verify import Finding, Verified

__all__ = ["add_parser", "run"]

_EXAMPLES = """\
examples:
  bucketboard verify s3://bucket/exp                  every record of every run
  bucketboard verify s3://bucket/exp/run1 --json | jq .findings
  bucketboard verify s3://bucket/exp --cluster tcp://scheduler:8786
  bucketboard verify s3://bucket/exp --repair --dry-run    say what a repair would keep and lose
  bucketboard verify s3://bucket/exp --repair         put what is whole in the place of damaged files

A repair keeps all records that are whole, also behind a place where readers stop. The damaged original goes
to .bucketboard-trash, from where bucketboard undelete brings it back; with --discard it is not kept.

exit status: 0 nothing is wrong (or all of it was repaired), 1 something is, 2 not possible as asked"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "verify",
        help="check every record, checksum and the index",
        description="Read every event file below a prefix: checksums of records and objects, order, index.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="s3://BUCKET/PREFIX", help="a run, or a prefix of runs")
    parser.add_argument("--repair", action="store_true", help="replace damaged event files by what is whole")
    parser.add_argument("--discard", action="store_true", help="with --repair: do not keep the originals")
    parser.add_argument(
        "--force", action="store_true", help="with --repair: also files that are being written"
    )
    parser.add_argument("--dry-run", "--dryrun", action="store_true", help="with --repair: change nothing")
    parser.add_argument("--json", action="store_true", help="the result as a JSON object")
    add_bulk_options(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Verify, and repair where asked."""
    from bucketboard.bulk.verify import verify_runs
    from bucketboard.runs.repair import repair
    from bucketboard.runs.verify import verify

    settings = given_settings(options)
    with Bar("verifying", quiet=options.json) as bar:
        if options.cluster or options.workers:
            workers = options.workers or 1
            verified = verify_runs(
                options.target,
                workers=workers,
                cluster=options.cluster,
                on_progress=bar.show,
                **settings,
            )
        else:
            verified = verify(options.target, on_progress=bar.show, **settings)
    repaired: list[Repaired] = []
    if options.repair and not verified.sound:
        repaired = repair(
            options.target,
            verified.findings,
            discard=options.discard,
            force=options.force,
            dry_run=options.dry_run,
            **settings,
        )
    mended = {each.key for each in repaired if not each.error} if not options.dry_run else set()
    left = [finding for finding in verified.findings if finding.key not in mended]
    if options.json:
        print(json.dumps(_plain(verified, repaired), ensure_ascii=False))
    else:
        _say(verified, repaired, options.dry_run)
    return 1 if left else 0


def _plain(verified: Verified, repaired: list[Repaired]) -> dict[str, Any]:
    runs = [
        {name: value for name, value in dataclasses.asdict(run).items() if name != "findings"}
        for run in verified.runs
    ]
    return {
        "sound": verified.sound,
        "index": verified.index,
        "runs": runs,
        "findings": [dataclasses.asdict(finding) for finding in verified.findings],
        "repaired": [dataclasses.asdict(each) for each in repaired],
    }


def _say(verified: Verified, repaired: list[Repaired], dry_run: bool) -> None:
    for finding in verified.findings:
        print(_line(finding), file=sys.stderr)
    if verified.index:
        print(f"bucketboard: the index was not compared: {verified.index}", file=sys.stderr)
    for each in repaired:
        if each.error:
            print(f"{each.key}: not repaired: {each.error}", file=sys.stderr)
            continue
        told = f"{each.kept:,} records kept, {len(each.lost):,} places lost ({size(each.lost_bytes)})"
        original = f"; the original is in {each.original}" if each.original else ""
        print(f"{each.key}: {'would be repaired' if dry_run else 'repaired'}: {told}{original}")
    files = sum(run.files for run in verified.runs)
    events = sum(run.events for run in verified.runs)
    count = len(verified.findings)
    wrong = f"{count:,} things are wrong" if count != 1 else "one thing is wrong"
    told = f"{len(verified.runs):,} runs, {files:,} event files, {events:,} events"
    print(f"{told}: {'nothing is wrong' if verified.sound else wrong}", flush=True)


def _line(finding: Finding) -> str:
    return f"{finding.key}: {finding.kind}: {finding.message}"
