"""What the commands that change runs have in common: asking first, only saying, and the report."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bucketboard.cli.progress import Bar, size
from bucketboard.cli.settings import add_settings, given_settings
from bucketboard.errors import InvalidError

if TYPE_CHECKING:
    from bucketboard.runs.report import ChangeReport

__all__ = ["EXIT", "add_change_options", "age", "change"]

EXIT = """\
exit status: 0 done, 1 failed, or some runs were left as they were (see the output), 2 not possible as asked
and nothing was changed, 130 interrupted"""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_NAMED = 10


def add_change_options(parser: argparse.ArgumentParser, *, force: bool = True) -> None:
    """Add the options of every command that changes runs."""
    parser.add_argument("--dry-run", "--dryrun", action="store_true", help="only say what would be done")
    parser.add_argument(
        "-y", "--yes", action="store_true", help="do not ask; needed where there is no terminal"
    )
    if force:
        parser.add_argument("--force", action="store_true", help="also runs that are being written")
    parser.add_argument("--json", action="store_true", help="the result as a JSON object")
    add_settings(parser)


def age(text: str) -> float:
    """Seconds, of a time such as 30d, 12h or 2w."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30d, 12h or 2w")
    return float(match.group(1)) * _UNITS[match.group(2)]


def change(
    options: argparse.Namespace,
    doing: str,
    done: str,
    act: Callable[..., ChangeReport],
    *arguments: Any,
    **more: Any,
) -> int:
    """Call ``act`` as the options say and print what came of it; gives the exit status.

    ``doing`` and ``done`` are the verb: "remove", "removed".
    """
    asking = not (options.yes or options.dry_run)
    if asking and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidError(
            f"there is no terminal to ask on whether to {doing} them, and nothing was changed",
            hint="--yes does it without asking, --dry-run says what would be done",
        )
    if hasattr(options, "force"):
        more["force"] = options.force
    with Bar(doing, quiet=options.json) as bar:
        report = act(
            *arguments,
            dry_run=options.dry_run,
            confirm=(lambda planned: _confirm(planned, doing)) if asking else None,
            on_progress=bar.show,
            **more,
            **given_settings(options),
        )
    if options.json:
        print(json.dumps({"complete": report.complete, **dataclasses.asdict(report)}), flush=True)
    else:
        _print(report, doing, done)
    return 0 if report.complete else 1


def _confirm(planned: ChangeReport, doing: str) -> bool:
    for name in planned.runs[:_NAMED]:
        print(f"  {_address(planned, name)}", file=sys.stderr)
    if len(planned.runs) > _NAMED:
        print(f"  and {len(planned.runs) - _NAMED:,} more", file=sys.stderr)
    for command in planned.resumed:
        print(f"bucketboard: {_shown(command)} was interrupted and is finished first", file=sys.stderr)
    where = f", to {planned.target}" if planned.target else ""
    print(f"{doing} {_count(planned)}{where}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _print(report: ChangeReport, doing: str, done: str) -> None:
    if report.declined:
        print("bucketboard: nothing was changed", file=sys.stderr)
        return
    for command in report.resumed:
        verb = "would be finished" if report.dry_run else "was finished"
        print(f"bucketboard: {_shown(command)} had been interrupted and {verb} first", file=sys.stderr)
    for name in report.runs:
        print(f"{f'would {doing}' if report.dry_run else done}  {_address(report, name)}")
    for left in report.left:
        print(f"bucketboard: left {_shown(left.run)}: {left.reason}", file=sys.stderr)
    where = f", to {report.target}" if report.target else ""
    print(f"{f'would {doing}' if report.dry_run else done} {_count(report)}{where}", flush=True)
    if report.command in ("rm", "prune") and report.id and report.target:
        print(f"bring back: bucketboard undelete {_shown(report.url)} {report.id}", file=sys.stderr)


def _count(report: ChangeReport) -> str:
    runs, objects = len(report.runs), report.objects
    return f"{runs:,} run{'s' * (runs != 1)} ({objects:,} object{'s' * (objects != 1)}, {size(report.bytes)})"


def _address(report: ChangeReport, name: str) -> str:
    return _shown(report.url if name == "." else f"{report.url}/{name}")


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)
