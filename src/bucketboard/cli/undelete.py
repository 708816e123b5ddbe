"""``bucketboard undelete``: what is in the trash, and bringing it back."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
from typing import Any

from bucketboard.cli.changing import EXIT, add_change_options, change
from bucketboard.cli.progress import size
from bucketboard.cli.settings import given_settings

__all__ = ["add_parser", "run"]

_EXAMPLES = f"""\
examples:
  bucketboard undelete s3://bucket/exp                                what was removed there
  bucketboard undelete s3://bucket/exp 20260301T101500Z-9f86d081      bring that back

Runs come back to the names they had, with their metadata and tags. The trash of a run is its parent's.

{EXIT}"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "undelete",
        help="list removed runs, and bring them back",
        description="List what rm and prune have removed, or bring it back.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="s3://BUCKET/PREFIX", help="where something was removed")
    parser.add_argument("id", nargs="?", metavar="ID", help="what to bring back; without it: list")
    add_change_options(parser, force=False)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List, or bring back."""
    from bucketboard.runs.undelete import trash, undelete

    if options.id is not None:
        return change(options, "bring back", "brought back", undelete, options.url, options.id)
    entries = trash(options.url, **given_settings(options))
    if options.json:
        listed = [
            {
                **{name: value for name, value in dataclasses.asdict(entry).items() if name != "objects"},
                "objects": len(entry.objects),
            }
            for entry in entries
        ]
        print(json.dumps(listed))
        return 0
    if not entries:
        print(f"bucketboard: there is nothing in the trash of {options.url}", file=sys.stderr)
    for entry in entries:
        when = datetime.datetime.fromtimestamp(entry.removed).strftime("%Y-%m-%d %H:%M")
        names = ", ".join(entry.runs[:3]) + (
            f" and {len(entry.runs) - 3} more" if len(entry.runs) > 3 else ""
        )
        shown = names if names.isprintable() else ascii(names)
        count = f"{len(entry.objects):,} objects"
        print(f"{entry.id}  {when}  {size(entry.size):>10}  {count:>13}  {entry.place}: {shown}")
    return 0
