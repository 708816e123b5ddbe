"""``bucketboard label``: say something of a run."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import Any

from bucketboard.cli.settings import add_settings, given_settings
from bucketboard.cli.table import printable
from bucketboard.errors import InvalidError

__all__ = ["add_parser", "run"]

_EXAMPLES = """\
examples:
  bucketboard label s3://bucket/exp/run1 status=good reviewed-by=ada
  bucketboard label s3://bucket/exp/run1 --remove status
  bucketboard label s3://bucket/exp/run1                        what labels has it?
  bucketboard ls s3://bucket/exp --where 'status == "good"'

Labels are kept in the run's bucketboard.json, beside what its writer says, and as tags of its event objects
where the server has such. Event objects are not rewritten.

exit status: 0 done, 1 not possible now, 2 not possible as asked"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "label",
        help="set labels of a run",
        description="Set and remove labels of a run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="s3://BUCKET/PREFIX/RUN", help="the run")
    parser.add_argument("labels", nargs="*", metavar="KEY=VALUE", help="labels to set")
    parser.add_argument("--remove", action="append", default=[], metavar="KEY", help="repeatable")
    parser.add_argument("--no-object-tags", action="store_true", help="leave the tags of the objects alone")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    add_settings(parser, storing=False)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Set the labels."""
    from bucketboard.runs.label import label

    pairs = [text.partition("=") for text in options.labels]
    for text, (key, separator, _) in zip(options.labels, pairs, strict=True):
        if not separator or not key:
            raise InvalidError(f"{text!r} is no label", hint="labels are written KEY=VALUE")
    labels = {key: value for key, _, value in pairs}
    tags = bool(labels or options.remove) and not options.no_object_tags
    done = label(options.target, labels, remove=options.remove, object_tags=tags, **given_settings(options))
    if options.json:
        print(json.dumps(dataclasses.asdict(done)))
        return 0
    for key, value in done.labels.items():
        print(printable(f"{key}={value}"))
    for note in done.notes:
        print(f"bucketboard: {note}", file=sys.stderr)
    return 0
