"""``bucketboard export``: what is logged, as tables."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from bucketboard.cli.bulk import add_bulk_options
from bucketboard.cli.progress import Bar, size
from bucketboard.cli.settings import add_settings, given_settings

if TYPE_CHECKING:
    from bucketboard.bulk.export import ExportProgress, ExportReport

__all__ = ["add_parser", "run"]

_EXAMPLES = """\
examples:
  bucketboard export s3://bucket/exp tables                         everything, as Parquet
  bucketboard export s3://bucket/exp tables --format csv --kinds scalars --tags 'loss*'
  bucketboard export s3://bucket/exp tables --runs 'resnet/*' --runs 'vit/*'
  bucketboard export s3://bucket/exp tables --dry-run               only say what would be done
  bucketboard export s3://bucket/exp /shared/tables --cluster tcp://scheduler:8786
  duckdb -c "select run, max(value) from 'tables/scalars/*/*.parquet' where tag = 'acc' group by run"

Tables lie in OUT/KIND/run=RUN/data.FORMAT. Running it again does what is missing or has changed. Images and
sounds are bytes in Parquet, base64 elsewhere.

exit status: 0 all is there, 1 some runs could not be exported, 2 not possible as asked, 130 interrupted"""
_TOLD = 20
"""Failures and damaged places that are named on a terminal."""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "export",
        help="write what is logged as Parquet, CSV or JSON lines",
        description="Write all records of runs as tables, one for each kind of summary and run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="s3://BUCKET/PREFIX|DIR", help="what to export")
    parser.add_argument("out", metavar="OUT", help="directory for the tables; it is made if need be")
    parser.add_argument(
        "--format", choices=("parquet", "csv", "jsonl"), default="parquet", help="default: parquet"
    )
    parser.add_argument("--runs", action="append", metavar="GLOB", help="only such runs; repeatable")
    parser.add_argument("--tags", action="append", metavar="GLOB", help="only such tags; repeatable")
    parser.add_argument(
        "--kinds",
        type=lambda text: text.split(","),
        metavar="KIND,...",
        help="only such kinds: scalars, histograms, images, audio, text, hparams, pr_curves, tensors, graphs",
    )
    parser.add_argument("--dry-run", "--dryrun", action="store_true", help="say what would be done")
    parser.add_argument("--json", action="store_true", help="the result as a JSON object")
    add_bulk_options(parser)
    add_settings(parser, storing=False)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Export as the options say."""
    from bucketboard.bulk.export import export

    with Bar("exporting", quiet=options.json) as bar:

        def show(progress: ExportProgress) -> None:
            note = f"{progress.runs:,} of {progress.runs_total:,} runs"
            bar.show(progress.bytes, progress.bytes_total, note)

        report = export(
            options.source,
            options.out,
            format=options.format,
            runs=options.runs,
            tags=options.tags,
            kinds=options.kinds,
            workers=options.workers,
            cluster=options.cluster,
            dry_run=options.dry_run,
            on_progress=show,
            **given_settings(options),
        )
    _say(options, report)
    return 0 if report.complete else 1


def _say(options: argparse.Namespace, report: ExportReport) -> None:
    if options.json:
        print(json.dumps({"complete": report.complete, **dataclasses.asdict(report)}), flush=True)
        return
    lines = [f"{run}: {place}" for run, places in report.damaged.items() for place in places]
    _tell([f"left out of {line}" for line in lines])
    if options.dry_run:
        for run_name in report.exported:
            print(run_name if run_name.isprintable() else ascii(run_name))
        told = f"would export {len(report.exported):,} runs, {size(report.bytes_read)}"
        print(f"{told}; {len(report.unchanged):,} unchanged")
        return
    rows = ", ".join(f"{count:,} {kind}" for kind, count in report.rows.items())
    told = f"exported {len(report.exported):,} runs{f' ({rows})' if rows else ''}"
    print(f"{told}, {len(report.unchanged):,} unchanged, {len(report.failures):,} failed", flush=True)
    _tell([f"{name}: {failure}" for name, failure in report.failures.items()])


def _tell(lines: list[str]) -> None:
    for line in lines[:_TOLD]:
        print(f"bucketboard: {line}", file=sys.stderr)
    if len(lines) > _TOLD:
        print(f"bucketboard: and {len(lines) - _TOLD:,} more; --json names them all", file=sys.stderr)
