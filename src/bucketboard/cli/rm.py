"""``bucketboard rm``: remove runs, or empty the trash."""

from __future__ import annotations

import argparse
from typing import Any

from bucketboard.cli.changing import EXIT, add_change_options, age, change
from bucketboard.errors import InvalidError

__all__ = ["add_parser", "run"]

_EXAMPLES = f"""\
examples:
  bucketboard rm s3://bucket/exp/run1                what is at and below run1 goes to the trash
  bucketboard rm s3://bucket/exp/run1 --dry-run      only say what would go
  bucketboard rm s3://bucket/exp/run1 --now --yes    delete for good, and do not ask
  bucketboard undelete s3://bucket/exp               what is in the trash, and how it comes back
  bucketboard rm s3://bucket/exp --empty-trash --older-than 30d

A removed run takes its space until the trash is emptied. Killed, the same command goes on.

{EXIT}"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "rm",
        help="remove runs; undelete brings them back",
        description="Remove all runs at and below a URL, and the files there that are in none.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="s3://BUCKET/PREFIX", help="a run, or a prefix with runs below it")
    parser.add_argument("--now", action="store_true", help="delete for good instead of to the trash")
    parser.add_argument(
        "--empty-trash", action="store_true", help="delete for good what was removed there, and no run"
    )
    parser.add_argument(
        "--older-than",
        type=age,
        metavar="AGE",
        help="with --empty-trash: removed longer ago than this, as 30d",
    )
    add_change_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Remove as the options say."""
    if options.empty_trash:
        from bucketboard.runs.undelete import empty_trash

        del options.force
        return change(
            options,
            "delete for good",
            "deleted for good",
            empty_trash,
            options.url,
            older_than=options.older_than or 0.0,
        )
    if options.older_than is not None:
        raise InvalidError(
            "--older-than goes with --empty-trash",
            hint="bucketboard prune removes runs that are older than something",
        )
    from bucketboard.runs.remove import rm

    return change(options, *verbs(options.now), rm, options.url, now=options.now)


def verbs(now: bool) -> tuple[str, str]:
    """What is done, and was done."""
    return ("delete for good", "deleted for good") if now else ("remove", "removed")
