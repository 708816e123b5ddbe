"""What one ``add_scalar`` costs the training thread: ours and each peer's, on local disk and on S3.

Each writer runs in a process of its own; the S3 server (moto) and the delaying proxy in others. Every call
is timed; a loop without pauses is the hardest case, because background threads then compete for the GIL. The
peers' queues are as long as the loop, so that they never wait for their threads, as with ten they would.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import writers
from bucketboard.testing import FaultProxy, Server, moto
from row import Row, add_options, middle, write_json
from writers import LOCAL, S3FS, WRITERS, environ

EVENTS = 100_000
SLOW_EVENTS = 20
"""For a writer that waits for S3 at each."""
S3FS_NAME = "torch through s3fs"
TORCH = "torch, local disk"
CASES = (
    TORCH,
    "tensorboardX, local disk",
    "bucketboard, local disk",
    "bucketboard",
    "bucketboard, in memory",
    "torch",
    "tensorboardX",
    S3FS_NAME,
)
LATENCIES = (0.0, 0.2)
EVERY = 0.05
"""Seconds between our uploads: as often as possible, so that they really run beside the loop."""
THEIR_EVERY = 1
"""Between the peers' flushes, each of which sends all there is."""

Case = tuple[str, float]
Found = dict[str, float]


def measure(case: str, events: int, directory: Path) -> Found:
    """Log so many scalars and give nanoseconds per call."""
    ours = case.startswith("bucketboard")
    writers.MAX_QUEUE = events
    make = {**LOCAL, **WRITERS}[case]
    writer = make(f"s3://bench/{time.time_ns()}", directory, EVERY if ours else THEIR_EVERY)
    add_scalar = writer.add_scalar
    durations = [0] * events
    clock = time.perf_counter_ns
    for step in range(events):
        value = step * 0.5
        start = clock()
        add_scalar("loss/train", value, step)
        durations[step] = clock() - start
    writer.close()
    durations.sort()
    return {
        "median": statistics.median(durations),
        "p99.9": durations[int(events * 0.999)],
        "max": durations[-1],
    }


def run(case: str, events: int, there: Server) -> Found:
    """``measure`` in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, __file__, "--one", case, str(events), directory]
        done = subprocess.run(command, env=environ(there), check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def rows(results: dict[Case, list[Found]]) -> Iterator[Row]:
    """Medians against torch on local disk; p99.9 at both latencies."""
    torch = [found["median"] for found in results[TORCH, 0.0]]
    for case, latency in results:
        if not case.startswith("bucketboard"):
            continue
        ours = [found["median"] for found in results[case, latency]]
        ratio, spread = middle([theirs / our for theirs, our in zip(torch, ours, strict=True)])
        yield Row(
            f"median of add_scalar, {where(case, latency)}",
            statistics.median(ours) / 1000,
            "µs",
            _peers(results, "median"),
            ratio,
            spread,
            bar="≥ 10 x below torch on local disk",
            met=ratio >= 10,
            guard="≥ 5 x below torch on local disk",
            held=ratio >= 5,
        )
    pairs = list(zip(*(results["bucketboard", latency] for latency in LATENCIES), strict=True))
    ratio, spread = middle([far["p99.9"] / near["p99.9"] for near, far in pairs])
    tail = statistics.median(far["p99.9"] for _, far in pairs) / 1000
    yield Row(
        f"p99.9 of add_scalar, S3 at {LATENCIES[1] * 1000:.0f} ms; ratio: to S3 at 0 ms",
        tail,
        "µs",
        _peers(results, "p99.9"),
        ratio,
        spread,
        bar="independent of S3's latency: ≤ 1.5 x",
        met=ratio <= 1.5,
        guard="≤ 4 x, or below 1 ms",
        held=ratio <= 4 or tail < 1000,
    )


def _peers(results: dict[Case, list[Found]], which: str) -> dict[str, float]:
    return {
        where(case, latency): statistics.median(each[which] for each in found) / 1000
        for (case, latency), found in results.items()
        if not case.startswith("bucketboard")
    }


def where(case: str, latency: float) -> str:
    """A case by its name, with the latency if there is a server."""
    return f"{case}, S3 at {latency * 1000:.0f} ms" if case in WRITERS else case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--one", nargs=3, metavar=("CASE", "EVENTS", "DIRECTORY"), help=argparse.SUPPRESS)
    parser.add_argument("--repeat", type=int, default=3, help="repetitions; medians are printed")
    options = parser.parse_args()
    if options.one:
        case, count, directory = options.one
        print(json.dumps(measure(case, int(count), Path(directory))))
        return
    repeat, events, cases = options.repeat, EVENTS, CASES
    if options.quick:
        repeat, events, cases = 1, EVENTS // 4, (TORCH, "bucketboard, local disk", "bucketboard")
    cases = tuple(case for case in cases if case != S3FS_NAME or S3FS.exists())
    with moto() as server, FaultProxy(server.endpoint) as proxy:
        server.client().create_bucket(Bucket="bench")
        results: dict[Case, list[Found]] = {
            (case, latency): [] for case in cases for latency in (LATENCIES if case in WRITERS else (0.0,))
        }
        for number in range(repeat):
            for (case, latency), found in results.items():
                if case == S3FS_NAME and number:
                    found.append(found[0])  # takes its time, and does not change
                    continue
                proxy.latency = latency
                count = SLOW_EVENTS if case == S3FS_NAME else events
                found.append(run(case, count, server.through(proxy.url)))
                print(
                    f"{where(case, latency)}: {found[-1]['median'] / 1000:.2f} µs",
                    file=sys.stderr,
                    flush=True,
                )
    print(f"{events:,} add_scalar calls each, microseconds, medians of {repeat} runs\n")
    print(f"{'writer':<40} {'median':>8} {'p99.9':>10} {'max':>10} {'torch ÷':>8}")
    torch = statistics.median(found["median"] for found in results[TORCH, 0.0])
    for (case, latency), found in results.items():
        middles = {name: statistics.median(each[name] for each in found) / 1000 for name in found[0]}
        print(
            f"{where(case, latency):<40} {middles['median']:>8.2f} {middles['p99.9']:>10.1f} "
            f"{middles['max']:>10.0f} {torch / 1000 / middles['median']:>8.1f}"
        )
    if options.json:
        write_json(options.json, rows(results))


if __name__ == "__main__":
    main()
