"""``bucketboard export`` from a bucket to Parquet, beside tbparse on the pulled copy, alternating in one run.

tbparse only makes its tables in memory, and leaves out images and audio where TensorFlow is not installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tbparse
from torch.utils.tensorboard import SummaryWriter

import bucketboard
from bucketboard.testing import seaweedfs
from row import add_options, faster, write_json

KINDS = {"scalars", "tensors", "histograms", "text", "hparams"}


def write(directory: Path, runs: int, steps: int) -> None:
    """Runs with ten series of scalars, and one each of histograms, images, texts and curves."""
    draw = np.random.default_rng(1)
    for run in range(runs):
        with SummaryWriter(str(directory / f"run{run}")) as writer:
            for step in range(steps):
                for tag in range(10):
                    writer.add_scalar(f"metric/{tag}", tag + 1 / (step + 1), step)
                if step % 20 == 0:
                    writer.add_histogram("weights", draw.normal(size=1000), step)
                    writer.add_text("note", f"step {step}", step)
                    writer.add_pr_curve("curve", draw.integers(0, 2, 100), draw.random(100), step)
                if step % 100 == 0:
                    writer.add_image("picture", draw.random((3, 32, 32)), step)


def parse(directory: Path) -> int:
    """Everything that tbparse gives; how many rows that is."""
    reader = tbparse.SummaryReader(str(directory), extra_columns={"dir_name", "wall_time"}, event_types=KINDS)
    return sum(len(getattr(reader, kind)) for kind in KINDS)


def timed(function: Any, *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    if options.quick:
        options.runs, options.steps, options.repeat = 2, 500, 1
    warnings.simplefilter("ignore")
    with seaweedfs() as server, tempfile.TemporaryDirectory() as scratch, np.errstate(all="ignore"):
        access = {"endpoint_url": server.endpoint, "region": server.region}
        os.environ.update(server.environ())
        server.client().create_bucket(Bucket="bench")
        logs, copy, out = (Path(scratch) / name for name in ("logs", "copy", "out"))
        write(logs, options.runs, options.steps)
        bucketboard.sync(logs, "s3://bench/exp", **access)
        bucketboard.pull("s3://bench/exp", copy, **access)
        rows: dict[str, int] = {}

        def export() -> None:
            shutil.rmtree(out, ignore_errors=True)
            rows.update(bucketboard.export("s3://bench/exp", out, **access).rows)

        export()  # imports
        seconds: dict[str, list[float]] = {"tbparse": [], "export": []}
        for _ in range(options.repeat):
            seconds["tbparse"].append(timed(parse, copy))
            seconds["export"].append(timed(export))
        print(f"{options.runs} runs, " + ", ".join(f"{count:,} {kind}" for kind, count in rows.items()))
        for name, taken in seconds.items():
            print(f"{name:<8} {statistics.median(taken):7.2f} s")
        ratios = [theirs / ours for theirs, ours in zip(seconds["tbparse"], seconds["export"], strict=True)]
        print(f"export in one process is {statistics.median(ratios):.1f} x as fast as tbparse")
    if options.json:
        measure = f"tables of {options.runs} runs, {sum(rows.values()):,} rows"
        peers = {"tbparse": seconds["tbparse"]}
        row = faster(measure, seconds["export"], peers, "tbparse", 10, 2)
        write_json(options.json, [row])


if __name__ == "__main__":
    main()
