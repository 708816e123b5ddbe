"""``bucketboard prune``: remove those runs that are not wanted any more."""

from __future__ import annotations

import argparse
from typing import Any

from bucketboard.cli.bulk import add_bulk_options
from bucketboard.cli.changing import EXIT, add_change_options, age, change
from bucketboard.cli.rm import verbs

__all__ = ["add_parser", "run"]

_EXAMPLES = f"""\
examples:
  bucketboard prune s3://bucket/exp --keep-last 20               all but the 20 that were written to last
  bucketboard prune s3://bucket/exp --older-than 30d --dry-run   only say which
  bucketboard prune s3://bucket/exp --keep-last 5 --older-than 1w --yes
  bucketboard prune s3://bucket/exp --where 'state == "stalled" and step < 100'
  bucketboard prune s3://bucket/exp --where 'loss > 2' --workers 8   read and copied by eight processes
  bucketboard undelete s3://bucket/exp                           what is in the trash, and how it comes back

A run has to fit all that is given.

{EXIT}"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "prune",
        help="remove runs by number, age or a condition",
        description="Remove runs below a prefix, to its trash.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="s3://BUCKET/PREFIX", help="where the runs are")
    parser.add_argument("--keep-last", type=int, metavar="N", help="not the N that were written to last")
    parser.add_argument("--older-than", type=age, metavar="AGE", help="not written to for so long, as 30d")
    parser.add_argument(
        "--where", metavar="CONDITION", help="that this holds for, as 'loss > 2'; see bucketboard ls -h"
    )
    parser.add_argument("--now", action="store_true", help="delete for good instead of to the trash")
    add_bulk_options(parser)
    add_change_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Remove as the options say."""
    from bucketboard.bulk.prune import prune

    return change(
        options,
        *verbs(options.now),
        prune,
        options.url,
        keep_last=options.keep_last,
        older_than=options.older_than,
        where=options.where,
        now=options.now,
        workers=options.workers or 1,
        cluster=options.cluster,
    )
