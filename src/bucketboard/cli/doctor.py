"""``bucketboard doctor``: what a bucket allows, and what that means for writers."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from bucketboard.cli.settings import add_settings, given_settings

if TYPE_CHECKING:
    from bucketboard.store.probe import Check

__all__ = ["add_parser", "run"]

_EXAMPLES = """\
examples:
  bucketboard doctor s3://bucket/exp
  bucketboard doctor s3://bucket/exp --profile research --sse aws:kms --sse-kms-key-id KEY

It writes one object of 5 MiB below s3://bucket/exp/.bucketboard/, looks at it, and removes it.

exit status: 0 writers can work here, 1 they can't"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "doctor",
        help="check what a bucket allows",
        description="Check a bucket: permissions, conditions, checksums, appending, versioning.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="s3://BUCKET/PREFIX", help="where runs are to be written")
    parser.add_argument("--json", action="store_true", help="one JSON object per check")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check the bucket, line by line."""
    from bucketboard.store.bucket import Bucket
    from bucketboard.store.probe import probe
    from bucketboard.store.settings import Settings
    from bucketboard.store.url import S3Url

    url = S3Url.parse(options.target)
    bucket = Bucket(url.bucket, Settings.resolve(**given_settings(options)), attempts=3)
    checks: dict[str, Check] = {}
    for check in probe(bucket, url.prefix):
        checks[check.name] = check
        if options.json:
            print(json.dumps(dataclasses.asdict(check)), flush=True)
        else:
            mark = {True: "ok", False: "no", None: "?"}[check.ok]
            print(
                f"{mark:>3}  {check.name:<19} {check.detail.replace(chr(10), chr(10) + ' ' * 25)}", flush=True
            )
    verdict = _verdict({name: check.ok for name, check in checks.items()})
    if not options.json:
        print(f"\n{verdict}")
    return 0 if checks["write"].ok else 1


def _verdict(ok: dict[str, bool | None]) -> str:
    if not ok["write"]:
        return "Writers can't work here."
    if not ok.get("read"):
        return "Writers work here in segments: they may write and not read."
    if not ok["versioning"]:
        return "Writers work here in segments: replaced versions would be kept and billed."
    if not ok.get("append"):
        return "Writers work here in segments: objects can't grow by part copy."
    if not (ok["conditional writes"] and ok.get("conditional append")):
        return "Writers work here; two on one object are noticed, not excluded."
    return "All is well: writers work here as designed."
