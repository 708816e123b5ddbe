"""What one ``add_scalar`` costs the training thread: ours on S3 at two latencies, torch on local disk.

Each writer runs in a process of its own; the S3 server (moto) and the delaying proxy in others. Every call
is timed; a loop without pauses is the hardest case, because background threads then compete for the GIL.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from bucketboard.testing import FaultProxy, moto

EVENTS = 200_000
CASES = ("torch, local disk", "bucketboard, local disk", "bucketboard, S3", "bucketboard, S3, in memory")


def measure(case: str, directory: str) -> dict[str, float]:
    """Log ``EVENTS`` scalars and give nanoseconds per call."""
    writer = _writer(case, directory)
    durations = [0] * EVENTS
    clock = time.perf_counter_ns
    for step in range(EVENTS):
        value = step * 0.5
        start = clock()
        writer.add_scalar("loss/train", value, step)
        durations[step] = clock() - start
    writer.close()
    durations.sort()
    return {
        "median": statistics.median(durations),
        "p99.9": durations[int(EVENTS * 0.999)],
        "max": durations[-1],
    }


def _writer(case: str, directory: str) -> Any:
    if case.startswith("torch"):
        from torch.utils.tensorboard import SummaryWriter as TorchWriter

        return TorchWriter(directory)
    from bucketboard import SummaryWriter

    if "local" in case:
        return SummaryWriter(directory)
    # Uploads as often as possible, so that they really run beside the loop.
    url = f"s3://bench/{time.time_ns()}"
    if "memory" in case:
        return SummaryWriter(url, spool=None, upload_every=0.05)
    return SummaryWriter(url, spool=directory, upload_every=0.05)


def run(case: str, environ: dict[str, str]) -> dict[str, float]:
    """``measure`` in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, __file__, "--one", case, directory]
        done = subprocess.run(
            command, env={**os.environ, **environ}, check=True, capture_output=True, text=True
        )
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("CASE", "DIRECTORY"), help=argparse.SUPPRESS)
    parser.add_argument("--repeat", type=int, default=3, help="repetitions; medians are printed")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    with moto() as server, FaultProxy(server.endpoint) as proxy:
        server.client().create_bucket(Bucket="bench")
        environ = {**server.environ(), "AWS_ENDPOINT_URL_S3": proxy.url}
        rows = [(case, latency) for case in CASES for latency in ((0.0, 0.2) if "S3" in case else (0.0,))]
        results: dict[tuple[str, float], list[dict[str, float]]] = {row: [] for row in rows}
        for _ in range(options.repeat):
            for case, latency in rows:
                proxy.latency = latency
                results[case, latency].append(run(case, environ))
    print(f"{EVENTS:,} add_scalar calls each, microseconds, medians of {options.repeat} runs\n")
    print(f"{'writer':<28} {'latency':>8} {'median':>8} {'p99.9':>8} {'max':>9} {'torch ÷':>8}")
    torch = statistics.median(result["median"] for result in results[rows[0]])
    for (case, latency), found in results.items():
        middle = {name: statistics.median(result[name] for result in found) / 1000 for name in found[0]}
        print(
            f"{case:<28} {latency * 1000:>5.0f} ms {middle['median']:>8.2f} {middle['p99.9']:>8.1f} "
            f"{middle['max']:>9.0f} {torch / 1000 / middle['median']:>8.1f}"
        )


if __name__ == "__main__":
    main()
