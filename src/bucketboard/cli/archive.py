"""``bucketboard archive`` and ``bucketboard thaw``: runs to a colder storage class, and back."""

from __future__ import annotations

import argparse
from typing import Any

from bucketboard.cli.changing import EXIT, add_change_options, change

__all__ = ["add_parser", "run_archive", "run_thaw"]

_ARCHIVE_EXAMPLES = f"""\
examples:
  bucketboard archive s3://bucket/exp/2024                         to GLACIER_IR, which can be read at once
  bucketboard archive s3://bucket/exp/2024 --to DEEP_ARCHIVE       can't be read before a thaw
  bucketboard archive s3://bucket/exp/2024 --dry-run

Every object is replaced by itself, with its metadata and tags. Colder classes bill a least time and size.

{EXIT}"""
_THAW_EXAMPLES = f"""\
examples:
  bucketboard thaw s3://bucket/exp/2024                 back to STANDARD
  bucketboard thaw s3://bucket/exp/2024 --tier Bulk     of GLACIER and DEEP_ARCHIVE: slower and cheaper

What is in GLACIER or DEEP_ARCHIVE is asked for first, which takes S3 minutes to two days; the same command
later goes on, and has exit status 1 until all is back.

{EXIT}"""


def add_parser(commands: Any) -> None:
    """Add both commands to the command line."""
    parser = commands.add_parser(
        "archive",
        help="give runs a colder storage class",
        description="Give all objects at and below a URL another storage class.",
        epilog=_ARCHIVE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="s3://BUCKET/PREFIX", help="a run, or a prefix with runs below it")
    parser.add_argument("--to", default="GLACIER_IR", metavar="CLASS", help="default: GLACIER_IR")
    add_change_options(parser)
    parser.set_defaults(run=run_archive)

    parser = commands.add_parser(
        "thaw",
        help="bring archived runs back",
        description="Bring all objects at and below a URL back to the storage class STANDARD.",
        epilog=_THAW_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="s3://BUCKET/PREFIX", help="a run, or a prefix with runs below it")
    parser.add_argument(
        "--days", type=int, default=7, metavar="N", help="how long S3 keeps what it restored (default: 7)"
    )
    parser.add_argument(
        "--tier", default="Standard", choices=("Expedited", "Standard", "Bulk"), help="default: Standard"
    )
    add_change_options(parser)
    parser.set_defaults(run=run_thaw)


def run_archive(options: argparse.Namespace) -> int:
    """Archive as the options say."""
    from bucketboard.runs.storage_class import archive

    return change(options, "archive", "archived", archive, options.url, options.to)


def run_thaw(options: argparse.Namespace) -> int:
    """Thaw as the options say."""
    from bucketboard.runs.storage_class import thaw

    return change(options, "thaw", "thawed", thaw, options.url, days=options.days, tier=options.tier)
