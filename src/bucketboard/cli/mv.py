"""``bucketboard mv``: give runs another name."""

from __future__ import annotations

import argparse
from typing import Any

from bucketboard.cli.changing import EXIT, add_change_options, change

__all__ = ["add_parser", "run"]

_EXAMPLES = f"""\
examples:
  bucketboard mv s3://bucket/exp/run1 s3://bucket/exp/baseline
  bucketboard mv s3://bucket/exp s3://bucket/2026/exp --yes        all runs below it
  bucketboard mv s3://bucket/exp/run1 s3://bucket/old/run1 --dry-run

Nothing passes through this machine. Killed, the same command goes on.

{EXIT}"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "mv",
        help="give runs another name in the same bucket",
        description="Move all runs at and below a URL, and the files there that are in none.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="s3://BUCKET/FROM", help="a run, or a prefix with runs below it")
    parser.add_argument("to", metavar="s3://BUCKET/TO", help="its new name; nothing may be there yet")
    add_change_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Move as the options say."""
    from bucketboard.runs.move import mv

    return change(options, "move", "moved", mv, options.url, options.to)
