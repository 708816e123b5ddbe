"""``bucketboard doctor``: what a bucket allows, and what that means for writers and readers."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from bucketboard.cli.settings import add_settings, given_settings
from bucketboard.errors import InvalidError

if TYPE_CHECKING:
    from bucketboard.store.check import Check

__all__ = ["add_parser", "run"]

_EXAMPLES = """\
examples:
  bucketboard doctor s3://bucket/exp
  bucketboard doctor s3://bucket/exp --profile research --sse aws:kms --sse-kms-key-id KEY
  bucketboard doctor s3://bucket/exp --policy writer,serve    the smallest IAM policy for these; asks nothing
  bucketboard doctor s3://bucket/exp --json | jq 'select(.ok == false)'

It writes one object of 5 MiB below s3://bucket/exp/.bucketboard/, looks at it, and removes it. What this
identity may not ask is shown with a question mark, and is no failure.

exit status: 0 writers can work here, 1 they can't"""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "doctor",
        help="check what a bucket allows",
        description="Check a bucket: network, region, clock, permissions, conditions, appending, checksums, "
        "versioning, encryption, lifecycle, and what it will cost.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="s3://BUCKET/PREFIX", help="where runs are to be written")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object per check; the last is the verdict"
    )
    parser.add_argument(
        "--policy",
        metavar="COMMANDS",
        help="print the IAM policy that these need and ask nothing: writer, write-only, serve, sync, "
        "sync-delete, or any other command, with commas between",
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check the bucket, line by line; or print a policy."""
    from bucketboard.store.bucket import Bucket
    from bucketboard.store.examination import examine
    from bucketboard.store.settings import Settings
    from bucketboard.store.url import S3Url

    url = S3Url.parse(options.target)
    settings = Settings.resolve(**given_settings(options))
    if options.policy is not None:
        print(json.dumps(_policy(url, options.policy, settings), indent=2))
        return 0
    bucket = Bucket(url.bucket, settings, attempts=3)
    checks: dict[str, Check] = {}
    for check in examine(bucket, url.prefix):
        checks[check.name] = check
        _show(check, options.json)
    if "list" in checks:
        _show(_cost(checks["list"]), options.json)
    verdict, works = _verdict({name: check.ok for name, check in checks.items()})
    if options.json:
        print(json.dumps({"name": "verdict", "ok": works, "detail": verdict, "data": {}}), flush=True)
    else:
        print(f"\n{verdict}")
    return 0 if works else 1


def _show(check: Check, as_json: bool) -> None:
    if as_json:
        print(json.dumps(dataclasses.asdict(check)), flush=True)
        return
    mark = {True: "ok", False: "no", None: "?"}[check.ok]
    print(f"{mark:>3}  {check.name:<19} {check.detail.replace(chr(10), chr(10) + ' ' * 25)}", flush=True)
    if "rule" in check.data:
        print(f"{'':25}{json.dumps(check.data['rule'])}", flush=True)


def _policy(url: Any, text: str, settings: Any) -> dict[str, Any]:
    from bucketboard.store.permissions import NEEDS, policy

    commands = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in commands if name not in NEEDS]
    if unknown or not commands:
        raise InvalidError(
            f"--policy: {unknown[0] if unknown else text!r} is no command",
            hint=f"known are: {', '.join(NEEDS)}",
        )
    return policy(url, commands, settings)


def _cost(listed: Check) -> Check:
    from bucketboard.replication.cost import monthly
    from bucketboard.store.check import Check

    known = listed.data.get("objects", 0)
    cost = monthly(known if isinstance(known, int) else 0)
    atleast = " or more" if listed.data.get("more") else ""
    detail = (
        f"a month, at most: a writer ${cost.writer:.2f}, a viewer that is always watched "
        f"${cost.watched:.2f}{atleast}, one that nobody looks at ${cost.idle:.2f}\n{cost.formula}"
    )
    return Check("cost", True, detail, dataclasses.asdict(cost))


def _verdict(ok: dict[str, bool | None]) -> tuple[str, bool]:
    """One line, and whether writers can work."""
    for name, words in (
        ("endpoint", "The endpoint can't be reached."),
        ("identity", "There are no credentials."),
        ("bucket", "The bucket can't be used."),
    ):
        if ok.get(name) is False or name not in ok:
            return f"{words} Nothing else was looked at.", False
    if not ok["write"]:
        if ok["list"]:
            return "Writers can't work here; this identity may read.", False
        return "Writers can't work here.", False
    if not ok.get("read"):
        return "Writers work here in segments: they may write and not read.", True
    if not ok["versioning"]:
        return "Writers work here in segments: replaced versions would be kept and billed.", True
    if not ok.get("append"):
        return "Writers work here in segments: objects can't grow by part copy.", True
    if not (ok["conditional writes"] and ok.get("conditional append")):
        return "Writers work here; two on one object are noticed, not excluded.", True
    return "All is well: writers work here as designed.", True
