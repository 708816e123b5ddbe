"""How opening, listing, indexing and scanning grow with runs, tags and points: seconds, requests, bytes.

    python bench/growth.py                  10 to 10,000 runs, 1 to 10,000 tags, 1,000 to 10,000,000 points
    python bench/growth.py --only points

Each is a command of its own with empty caches, on SeaweedFS through the proxy that counts: `ls` and `verify`
(which scans every record) and `index` of a prefix without an index, then `serve` with it until one tag of all
runs is there. To the last two decades of each a power law is fitted; an exponent of 1 is linear growth.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.testing import FaultProxy, Server, seaweedfs
from row import Row, Series, add_options, write_json
from view import BUCKET, look_once, s5cmd, serve

MOST, MOST_SECONDS, GUARD_SECONDS = 1.1, 1.25, 1.6
"""Exponents; those of seconds carry the noise of the machine."""
BATCH = 100_000


@dataclass(frozen=True)
class Size:
    """A logdir: so many runs, of so many tags, of so many points."""

    runs: int
    tags: int
    steps: int


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    seconds: float
    requests: float
    bytes: float


AXES = {
    "runs": {number: Size(number, 10, 20) for number in (10, 100, 1000, 10_000)},
    "tags": {number: Size(10, number, 10) for number in (1, 10, 100, 1000, 10_000)},
    "points": {number: Size(1, 1, number) for number in (1000, 10_000, 100_000, 1_000_000, 10_000_000)},
}
COMMANDS = {"ls": "ls", "scan": "verify", "index": "index"}
Found = dict[str, list[tuple[float, Cost]]]
"""By operation: each size with what it took."""


def events(size: Size, number: int) -> Iterator[bytes]:
    """The records of a run."""
    encoder, begin = ScalarEncoder(), 1.7e9 + number
    yield frame(file_version_event(begin))
    for step in range(size.steps):
        for tag in range(size.tags):
            yield encoder.record(f"train/loss/metric{tag}", 1 / (step + 1), step, begin + step)


def generate(directory: Path, size: Size) -> None:
    """Write the event files."""
    for number in range(size.runs):
        path = directory / f"run{number:05}" / f"events.out.tfevents.{1_700_000_000 + number}.host.1.0"
        path.parent.mkdir(parents=True)
        records = events(size, number)
        with path.open("wb") as file:
            while batch := b"".join(islice(records, BATCH)):
                file.write(batch)


def measure(size: Size, prefix: str, server: Server, proxy: FaultProxy) -> Iterator[tuple[str, Cost]]:
    """What each operation takes, cold."""
    there = server.through(proxy.url)
    with tempfile.TemporaryDirectory(prefix="bucketboard-bench-") as directory:
        place = Path(directory)
        generate(place / "logs", size)
        environ = {**os.environ, **server.environ()}
        upload = [*s5cmd(server), "cp", f"{place / 'logs'}/", f"s3://{BUCKET}/{prefix}/"]
        subprocess.run(upload, env=environ, check=True, stdout=subprocess.DEVNULL)
        for operation, command in COMMANDS.items():
            environ = {**os.environ, **there.environ(), "XDG_CACHE_HOME": str(place / operation)}
            before, begin = proxy.counts, time.monotonic()
            subprocess.run(
                [sys.executable, "-m", "bucketboard", command, f"s3://{BUCKET}/{prefix}"],
                env=environ,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            seconds, total = time.monotonic() - begin, (proxy.counts - before).total
            yield operation, Cost(seconds, total.requests, total.bytes_received + total.bytes_sent)
        options = argparse.Namespace(runs=size.runs, steps=size.steps)
        look = look_once(partial(serve, prefix), options, there, proxy, place)
        yield "open", Cost(look.seconds, look.requests, look.megabytes * 1e6)


def exponent(points: Iterable[tuple[float, float]]) -> float:
    """Of the power law through the last two decades."""
    xs, ys = np.log(np.array([(x, max(y, 1e-9)) for x, y in points])).T
    last = xs >= xs[-1] - np.log(101)
    return float(np.polyfit(xs[last], ys[last], 1)[0])


def rows_of(axis: str, found: Found) -> Iterator[Row]:
    """One for each operation: the larger exponent of requests and bytes, and that of seconds."""
    for operation, costs in found.items():
        slopes = {
            name: exponent([(number, getattr(cost, name)) for number, cost in costs])
            for name in ("requests", "bytes", "seconds")
        }
        counted = max(slopes["requests"], slopes["bytes"])
        (least, _), (most, last) = costs[0], costs[-1]
        yield Row(
            f"{operation}, {least:,.0f} to {most:,.0f} {axis}: exponent of growth",
            counted,
            "",
            bar=f"requests and bytes ≤ {MOST}, seconds ≤ {MOST_SECONDS}",
            met=counted <= MOST and slopes["seconds"] <= MOST_SECONDS,
            guard=f"requests and bytes ≤ {MOST}, seconds ≤ {GUARD_SECONDS}",
            held=counted <= MOST and slopes["seconds"] <= GUARD_SECONDS,
            why=f"requests {slopes['requests']:.2f}, bytes {slopes['bytes']:.2f}, seconds "
            f"{slopes['seconds']:.2f}; at {most:,.0f} {last.requests:,.0f} requests, "
            f"{last.bytes / 1e6:,.1f} MB, {last.seconds:.1f} s.",
        )


def series_of(axis: str, found: Found) -> Iterator[Series]:
    """Plots of seconds, requests and bytes."""
    for name in ("seconds", "requests", "bytes"):
        lines = {
            operation: [(number, getattr(cost, name)) for number, cost in costs]
            for operation, costs in found.items()
        }
        yield Series(f"Growth with {axis}: {name}", axis, name, lines, log_x=True, log_y=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--only", nargs="+", choices=AXES, default=list(AXES), help="these axes")
    options = parser.parse_args()
    rows, series = [], []
    with seaweedfs() as server, FaultProxy(server.endpoint) as proxy:
        server.client().create_bucket(Bucket=BUCKET)
        for axis in options.only:
            found: Found = {}
            sizes = list(AXES[axis].items())
            for number, size in sizes[:2] if options.quick else sizes:
                for operation, cost in measure(size, f"{axis}{number}", server, proxy):
                    found.setdefault(operation, []).append((number, cost))
                    print(
                        f"{number:>10,} {axis:<7} {operation:<6} {cost.seconds:7.2f} s "
                        f"{cost.requests:7,.0f} requests {cost.bytes / 1e6:9.2f} MB",
                        flush=True,
                    )
            rows += rows_of(axis, found)
            series += series_of(axis, found)
    for row in rows:
        print(f"{row.measure}: {row.why}")
    if options.json:
        write_json(options.json, rows, series)


if __name__ == "__main__":
    main()
