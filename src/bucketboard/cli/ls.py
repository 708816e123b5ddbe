"""``bucketboard ls``: the runs below a prefix."""

from __future__ import annotations

import argparse
import gc
import json
import math
import sys
from typing import TYPE_CHECKING, Any

from bucketboard.cli.progress import Bar, size
from bucketboard.cli.settings import add_settings, given_settings
from bucketboard.cli.table import ago, shown, table, when

if TYPE_CHECKING:
    from bucketboard.runs.summary import RunSummary

__all__ = ["add_parser", "plain", "run"]

_EXAMPLES = """\
examples:
  bucketboard ls s3://bucket/exp
  bucketboard ls s3://bucket/exp --where 'lr < 0.01 and team == "vision" and state == "finished"'
  bucketboard ls s3://bucket/exp --where 'tag("train/loss") < 0.1' --sort=-step --limit 10
  bucketboard ls s3://bucket/exp --columns run,lr,train/loss,git_commit
  bucketboard ls s3://bucket/exp --where 'state == "stalled"' --json | jq -r '.[].url'

A name in --where, --sort and --columns is one of run, url, state, start, last, written, age, events, step,
files, size, else a label, a key of the metadata, a hyperparameter, or a tag, which stands for its last value.
In --where names such as train/loss stand in backticks or in tag("…"). What a run does not have fits nothing
but == None.

From a published index (`bucketboard index`) it answers in few requests; without one it reads the event files.

exit status: 0, also when no run fits; 1 some files could not be read; 2 not possible as asked"""
_COLUMNS = "run,state,start,last,step,tags,size,metadata"


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "ls",
        help="list runs, and find some",
        description="List the runs below a prefix, with what is known of them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="s3://BUCKET/PREFIX", help="where to look")
    parser.add_argument("--where", metavar="CONDITION", help="only runs that fit")
    parser.add_argument(
        "--sort", default="run", metavar="NAMES", help="comma-separated; -NAME: from the greatest down"
    )
    parser.add_argument("--columns", default=_COLUMNS, metavar="NAMES", help=f"default: {_COLUMNS}")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N runs")
    parser.add_argument(
        "--stalled-after",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="without a write for so long, a run that was not finished is stalled (default: 600)",
    )
    parser.add_argument("--json", action="store_true", help="print the runs as a JSON array")
    add_settings(parser, storing=False)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List the runs."""
    gc.disable()  # what is made here stays until the end
    from bucketboard.runs.ls import ls, unknown_names
    from bucketboard.runs.where import Condition

    condition = Condition(options.where) if options.where is not None else None
    with Bar("reading", quiet=options.json) as bar:
        found = ls(
            options.target,
            sort=options.sort.split(","),
            stalled_after=options.stalled_after,
            on_progress=bar.show,
            **given_settings(options),
        )
    runs = [each for each in found if condition is None or condition(each)]
    if condition is not None and not runs and found:
        for sentence in unknown_names(condition, found):
            print(f"bucketboard: {sentence}", file=sys.stderr)
    runs = runs[: options.limit]
    if options.json:
        print(json.dumps([plain(each.as_dict()) for each in runs]))
    elif runs:
        columns = options.columns.split(",")
        rows = [[_cell(each, name) for name in columns] for each in runs]
        right = [_is_number(runs, name) for name in columns]
        print("\n".join(table(columns, rows, right)))
    else:
        print(f"bucketboard: no run below {options.target}" + (" fits" if found else ""), file=sys.stderr)
    trouble = [sentence for each in runs for sentence in each.trouble]
    for sentence in trouble:
        print(f"bucketboard: {sentence}", file=sys.stderr)
    return 1 if trouble else 0


def plain(value: Any) -> Any:
    """As strict JSON has it: it knows no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(run: RunSummary, name: str) -> str:
    match name:
        case "start" | "last" | "written":
            return when(run.value(name))
        case "age":
            return ago(run.age)
        case "size":
            return size(run.size)
        case "tags":
            return f"{len(run.tags):,}"
        case "labels" | "metadata" | "gathered" | "hparams":
            return " ".join(f"{key}={value}" for key, value in _pairs(run, name).items())
    return shown(run.value(name))


def _pairs(run: RunSummary, name: str) -> dict[str, Any]:
    if name == "metadata":
        return {**run.labels, **{k: v for k, v in run.metadata.items() if k not in run.labels}}
    found: dict[str, Any] = dict(getattr(run, name))
    return found


def _is_number(runs: list[RunSummary], name: str) -> bool:
    return name in ("size", "tags", "age") or any(
        isinstance(run.value(name), int | float) for run in runs if name not in ("start", "last", "written")
    )
