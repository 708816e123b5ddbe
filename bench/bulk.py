"""How bulk work scales: an export by one process, by N processes, and by Dask clusters of 1 and N workers.

Also counts what each run costs, which docs/SCALE.md extrapolates from.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from distributed import LocalCluster

import bucketboard
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.runs.export import RunExport
from bucketboard.runs.location import Location
from bucketboard.runs.scan import KINDS, event_files
from bucketboard.store.bucket import ObjectInfo
from bucketboard.store.settings import Settings
from bucketboard.testing import FaultProxy, seaweedfs

NAME = "events.out.tfevents.1.host.1.0"


def event_file(tags: int, steps: int) -> bytes:
    """One event file of scalars."""
    encoder = ScalarEncoder()
    records = [
        encoder.record(f"metric/{tag}", tag + 1 / (step + 1), step, 1e9 + step)
        for step in range(steps)
        for tag in range(tags)
    ]
    return frame(file_version_event(1e9)) + b"".join(records)


def memory(runs: int) -> float:
    """Bytes for each run that whoever hands the work out needs: the listing and the tasks."""
    location = Location("s3://bench/exp", Settings())
    tracemalloc.start()
    paths = (f"sweep/run{run:07}/{NAME}" for run in range(runs))
    listed = {path: ObjectInfo(path, 1_000_000, f'"{number:032x}"') for number, path in enumerate(paths)}
    tasks = [
        RunExport(
            location, run, ((path, listed[path].size, listed[path].etag),), "out", "parquet", KINDS, None
        )
        for run, [path] in event_files(listed).items()
    ]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / len(tasks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--format", default="parquet")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with seaweedfs() as server, tempfile.TemporaryDirectory() as scratch:
        os.environ.update(server.environ())
        client = server.client()
        client.create_bucket(Bucket="bench")
        body = event_file(10, options.steps)

        def put(run: int) -> None:
            client.put_object(Bucket="bench", Key=f"exp/run{run:06}/{NAME}", Body=body)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, range(options.runs)))
        out = Path(scratch) / "out"

        def export(**how: object) -> float:
            shutil.rmtree(out, ignore_errors=True)
            start = time.perf_counter()
            report = bucketboard.export("s3://bench/exp", out, format=options.format, **how)
            if len(report.exported) != options.runs:
                sys.exit(f"{report.failures}")
            return time.perf_counter() - start

        with FaultProxy(server.endpoint) as proxy:
            export(endpoint_url=proxy.url)
            counts = proxy.counts
            told = ", ".join(f"{count / options.runs:.3f} {name}" for name, count in counts.requests.items())
            print(f"each of {options.runs} runs of {len(body):,} bytes: {told}")
            print(f"{counts.total.bytes_received / options.runs:,.0f} bytes received for each")
        print(f"{memory(20_000):,.0f} bytes of memory for each, where the work is handed out")
        with cluster(1) as one, cluster(options.workers) as many:
            ways = {
                "one process, threads": {"workers": 1},
                f"{options.workers} new processes": {"workers": options.workers},
                "Dask, 1 worker": {"cluster": one.scheduler_address},
                f"Dask, {options.workers} workers": {"cluster": many.scheduler_address},
            }
            for how in list(ways.values())[2:]:
                export(**how)  # workers import what they need
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(options.repeat):
                for name, how in ways.items():
                    seconds[name].append(export(**how))
        for name, taken in seconds.items():
            rate = options.runs / statistics.median(taken)
            print(f"{name:<21} {statistics.median(taken):7.2f} s  {rate:7.1f} runs/s")
        *_, first, last = seconds.values()
        ratio = statistics.median(one / many for one, many in zip(first, last, strict=True))
        print(f"{options.workers} workers are {ratio:.2f} x as fast as 1 on {os.cpu_count()} cores")


def cluster(workers: int) -> LocalCluster:
    """Workers in processes of their own, of one thread each."""
    return LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0", processes=True)


if __name__ == "__main__":
    main()
