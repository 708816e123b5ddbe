"""``bucketboard info``: what is known of a run."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bucketboard.cli.ls import plain
from bucketboard.cli.progress import Bar, size
from bucketboard.cli.settings import add_settings, given_settings
from bucketboard.cli.table import ago, printable, shown, table, when

if TYPE_CHECKING:
    from bucketboard.runs.info import RunInfo

__all__ = ["add_parser", "run"]

_EXAMPLES = """\
examples:
  bucketboard info s3://bucket/exp/run1
  bucketboard info s3://bucket/exp/run1 --json | jq '.tags["train/loss"]'

The run's event files are read whole; `bucketboard ls` tells less, without reading them.

exit status: 0, 1 some files could not be read, 2 there is no such run"""
_BARS = "▁▂▃▄▅▆▇█"


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "info",
        help="show what is known of a run",
        description="Show a run's tags, files, metadata, and how far behind it is.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="s3://BUCKET/PREFIX/RUN", help="the run")
    parser.add_argument(
        "--stalled-after",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="without a write for so long, a run that was not finished is stalled (default: 600)",
    )
    parser.add_argument("--json", action="store_true", help="print it as one JSON object")
    add_settings(parser, storing=False)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show the run."""
    from bucketboard.runs.info import info

    with Bar("reading", quiet=options.json) as bar:
        found = info(
            options.target,
            stalled_after=options.stalled_after,
            on_progress=bar.show,
            **given_settings(options),
        )
    if options.json:
        print(json.dumps(plain(found.as_dict())))
    else:
        print("\n".join(_lines(found)))
    for sentence in found.summary.trouble:
        print(f"bucketboard: {sentence}", file=sys.stderr)
    return 1 if found.summary.trouble else 0


def _lines(found: RunInfo) -> Iterator[str]:
    said = found.summary
    rows = {
        "run": said.url,
        "state": f"{said.state}, last written {ago(said.age)} ago",
        "events": f"{said.events:,}, from {when(said.start)} to {when(said.last)}"
        + (f", the last one {ago(max(0.0, found.lag))} ago" if found.lag is not None else ""),
        "size": f"{size(said.size)} in {said.files:,} event files",
        "encryption": found.encryption or "not said",
        "index": "none"
        if found.index_behind is None
        else found.index + (f", {size(found.index_behind)} behind" if found.index_behind else ", up to date"),
    }
    pairs = {"label": said.labels, "metadata": {**said.gathered, **said.metadata}, "hparam": said.hparams}
    pairs["object tag"] = found.object_tags or {}
    width = max(map(len, [*rows, *pairs]))
    yield from (printable(f"{name:<{width}}  {value}") for name, value in rows.items())
    for name, known in pairs.items():
        for key, value in known.items():
            yield printable(f"{name:<{width}}  {key}={value}")
    for plugin, tags in itertools.groupby(found.tags.items(), key=lambda pair: pair[1].plugin):
        yield ""
        yield from table(
            [plugin or "no plugin", "values", "steps", "last", ""],
            [
                [
                    name,
                    f"{tag.count:,}",
                    f"{tag.first_step:,}–{tag.last_step:,}",
                    shown(tag.value),
                    _spark(tag.trend),
                ]
                for name, tag in tags
            ],
            [False, True, True, True, False],
        )
    yield ""
    yield from table(
        ["file", "size", "written", "events", "state"],
        [
            [
                file.name,
                size(file.size),
                when(file.written),
                shown(file.events),
                " ".join(part for part in (file.state, _unusual(file.storage_class)) if part),
            ]
            for file in found.files
        ],
        [False, True, False, True, False],
    )


def _unusual(storage_class: str) -> str:
    return "" if storage_class == "STANDARD" else storage_class


def _spark(values: Sequence[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "×" * len(values)
    least, span = min(finite), max(finite) - min(finite)
    last = len(_BARS) - 1
    return "".join(
        _BARS[round((value - least) / span * last) if span and math.isfinite(span) else last // 2]
        if math.isfinite(value)
        else "×"
        for value in values
    )
