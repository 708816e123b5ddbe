"""``bucketboard demo``: see it work."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bucketboard.cli.serve import exit_on_sigterm
from bucketboard.cli.settings import add_settings, given_settings

if TYPE_CHECKING:
    from bucketboard.demo import Outcome
    from bucketboard.testing import Counts

__all__ = ["add_parser", "run"]

_EXAMPLES = """\
examples:
  bucketboard demo                                  all on this machine; TensorBoard stays up until Ctrl-C
  bucketboard demo --no-serve                       ends after the comparison
  bucketboard demo --no-serve --json                the figures for a program
  bucketboard demo --target s3://bucket/try         the same in a bucket of yours, in a new prefix below try

exit status: 0 what TensorBoard shows is what was logged, 1 it is not, 2 not possible as asked"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "demo",
        help="train, write to S3, view and compare, on this machine",
        description="Train a small classifier as several runs that write straight to S3, ask TensorBoard for "
        "all scalars and images, compare them with what was logged, then serve.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--target", metavar="s3://BUCKET/PREFIX", help="a bucket of yours (default: an own server)"
    )
    parser.add_argument("--no-serve", action="store_true", help="end after the comparison")
    parser.add_argument(
        "--port", type=int, help="of TensorBoard; 0 for any (default: 6006, or the next free one)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo."""
    from bucketboard.demo import demonstrate

    exit_on_sigterm()
    port = 0 if options.no_serve else options.port
    progress = sys.stderr if options.json else sys.stdout
    with demonstrate(
        options.target,
        port=port,
        progress=lambda line: print(line, file=progress, flush=True),
        **given_settings(options),
    ) as outcome:
        if options.json:
            print(json.dumps(_figures(outcome)), flush=True)
        else:
            print("\n".join(_table(outcome)), flush=True)
        for difference in outcome.comparison.differences:
            print(f"bucketboard: different: {difference}", file=sys.stderr)
        if outcome.comparison.differences:
            return 1
        if not options.no_serve:
            if not options.json:
                print(f"TensorBoard runs until Ctrl-C:\n{outcome.server.url}", flush=True)
            outcome.server.wait()
    return 0


def _figures(outcome: Outcome) -> dict[str, Any]:
    return {
        "url": outcome.url,
        "tensorboard": outcome.server.url,
        "runs": outcome.runs,
        "objects": outcome.objects,
        "events": outcome.events,
        "bytes_logged": outcome.bytes_logged,
        "bytes_stored": outcome.bytes_stored,
        "bytes_sent": outcome.writing.total.bytes_sent if outcome.writing else None,
        "requests_writing": outcome.writing.requests if outcome.writing else None,
        "requests_viewing": outcome.viewing.requests if outcome.viewing else None,
        "scalars_compared": outcome.comparison.scalars,
        "images_compared": outcome.comparison.images,
        "differences": outcome.comparison.differences,
        "seconds": round(outcome.seconds, 1),
    }


def _table(outcome: Outcome) -> Iterator[str]:
    compared, wrong = outcome.comparison, len(outcome.comparison.differences)
    rows = {
        "written to": outcome.url,
        "runs": f"{outcome.runs}",
        "objects": f"{outcome.objects}, {outcome.bytes_stored:,} bytes",
        "bytes logged": f"{outcome.bytes_logged:,} in {outcome.events:,} events",
    }
    if outcome.writing and outcome.viewing:
        sent = outcome.writing.total.bytes_sent
        rows["bytes sent"] = f"{sent:,}, {sent / max(1, outcome.bytes_logged):.2f} x what was logged"
        rows["requests, writing"] = _requests(outcome.writing)
        rows["requests, viewing"] = _requests(outcome.viewing)
    rows["compared"] = f"{compared.scalars:,} scalars, {compared.images} images: " + (
        f"{wrong} differences" if wrong else "all equal"
    )
    rows["time"] = f"{outcome.seconds:.1f} s"
    width = max(map(len, rows))
    yield ""
    for name, value in rows.items():
        yield f"  {name:<{width}}  {value}"
    yield ""


def _requests(counts: Counts) -> str:
    return ", ".join(f"{number} {operation}" for operation, number in counts.requests.items()) or "none"
