"""``bucketboard recover``: send what the spools of dead writers hold."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from bucketboard.cli.settings import add_settings, given_settings

if TYPE_CHECKING:
    from bucketboard.replication.recover import Recovered

__all__ = ["add_parser", "run"]

_EXAMPLES = """\
examples:
  bucketboard recover                    send what killed trainings of this user left on this machine
  bucketboard recover --dry-run          only say what is there
  bucketboard recover --spool /mnt/spool --profile research
  bucketboard recover --json | jq .      one object per spooled file

What a living writer holds is left to it; running this twice changes nothing.

exit status: 0 nothing is left but what living writers hold, 1 something could not be sent"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "recover",
        help="send what killed writers left in the spool",
        description="Send the events that killed writers left in the local spool to where they belong in S3.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--spool", metavar="DIR", help="the spool's directory (default: the user's)")
    parser.add_argument("--dry-run", "--dryrun", action="store_true", help="say what would be sent")
    parser.add_argument(
        "--wait",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long to try each writer's log (default: 60)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per spooled file")
    add_settings(parser, storing=False)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Recover, saying what becomes of each file."""
    from bucketboard.supervise.recover import recover

    results = recover(
        options.spool,
        dry_run=options.dry_run,
        wait=options.wait,
        on_result=_print_json if options.json else _print,
        **given_settings(options),
    )
    if not options.json and not results:
        print("nothing to recover")
    return 1 if any(result.state == "failed" for result in results) else 0


def _print_json(result: Recovered) -> None:
    print(json.dumps(dataclasses.asdict(result)), flush=True)


def _print(result: Recovered) -> None:
    what = f"{result.events:,} events, {result.bytes:,} bytes" if result.bytes else result.name or result.path
    if result.bytes and not result.events:
        what = f"{result.bytes:,} bytes of a log directory"
    said = {
        "sent": f"sent     {what} → {result.target}",
        "pending": f"pending  {what} → {result.target}",
        "held": f"held     {result.target}: its writer lives and will send it",
        "failed": f"failed   {result.path}: {result.error}",
    }[result.state]
    print(said, file=sys.stderr if result.state == "failed" else sys.stdout, flush=True)
