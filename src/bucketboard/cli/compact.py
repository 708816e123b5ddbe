"""``bucketboard compact``: join the many small event files of runs."""

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
    from bucketboard.runs.compact import Compacted

__all__ = ["add_parser", "run"]

_EXAMPLES = """\
examples:
  bucketboard compact s3://bucket/exp --dry-run     say which runs have files to join
  bucketboard compact s3://bucket/exp               join those of all finished runs
  bucketboard compact s3://bucket/exp/run1 --json

When what was joined has been read back, the originals go to .bucketboard-trash, from where bucketboard
undelete brings them back. Interrupted, it is brought to its end by running it again.

exit status: 0 done, 1 some runs were left as they are, 2 not possible as asked"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "compact",
        help="join many small event files into few",
        description="Join the event files of each finished run: the same events, in the same order.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="s3://BUCKET/PREFIX", help="a run, or a prefix of runs")
    parser.add_argument("--force", action="store_true", help="also runs that are being written")
    parser.add_argument("--dry-run", "--dryrun", action="store_true", help="change nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object per run")
    add_bulk_options(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compact, saying what becomes of each run that had more than one file."""
    from bucketboard.bulk.compact import compact

    with Bar("compacting", quiet=options.json) as bar:
        results = compact(
            options.target,
            dry_run=options.dry_run,
            force=options.force,
            workers=options.workers or 1,
            cluster=options.cluster,
            on_progress=bar.show,
            **given_settings(options),
        )
    for result in results:
        if options.json:
            print(json.dumps(dataclasses.asdict(result), ensure_ascii=False))
        elif result.error:
            print(f"{result.run}: left as it is: {result.error}", file=sys.stderr)
        elif result.after < result.before:
            print(_line(result, options.dry_run))
    if not options.json:
        joined = sum(result.after < result.before for result in results)
        print(
            f"{joined:,} of {len(results):,} runs {'would be' if options.dry_run else 'were'} compacted",
            flush=True,
        )
    return 1 if any(result.error for result in results) else 0


def _line(result: Compacted, dry_run: bool) -> str:
    would = "would become" if dry_run else "are now"
    return f"{result.run}: {result.before:,} files {would} {result.after:,} ({size(result.bytes)})"
