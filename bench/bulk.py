"""How bulk work scales: an export by one process, by N processes, and by Dask clusters of 1 and N workers.

Also says whose cores the time went to, and counts what each run costs, which docs/SCALE.md extrapolates from.
With --directory the event files are read from the disk: then no server shares the cores with the workers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from distributed import LocalCluster

import bucketboard
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.runs.export import RunExport
from bucketboard.runs.location import Location
from bucketboard.runs.scan import KINDS, event_files
from bucketboard.store.bucket import ObjectInfo
from bucketboard.store.settings import Settings
from bucketboard.testing import FaultProxy, Server, seaweedfs

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
    parser.add_argument("--directory", action="store_true", help="no bucket: event files in a directory")
    options = parser.parse_args()
    body = event_file(10, options.steps)
    print(f"{options.runs} runs of {len(body):,} bytes each, to {options.format}")
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.directory:
            target = str(scratch / "exp")
            for run in range(options.runs):
                directory = scratch / "exp" / f"run{run:06}"
                directory.mkdir(parents=True)
                (directory / NAME).write_bytes(body)
        else:
            target = "s3://bench/exp"
            server = stack.enter_context(seaweedfs())
            fill(server, options.runs, body)
            count(server, options.runs, scratch / "out", options.format)
        compare(options, target, scratch / "out")


def fill(server: Server, runs: int, body: bytes) -> None:
    """Runs in a bucket, all alike."""
    os.environ.update(server.environ())
    client = server.client()
    client.create_bucket(Bucket="bench")

    def put(run: int) -> None:
        client.put_object(Bucket="bench", Key=f"exp/run{run:06}/{NAME}", Body=body)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(runs)))


def count(server: Server, runs: int, out: Path, format: str) -> None:
    """Print what each run costs."""
    with FaultProxy(server.endpoint) as proxy:
        bucketboard.export("s3://bench/exp", out, format=format, endpoint_url=proxy.url)
        counts = proxy.counts
    told = ", ".join(f"{number / runs:.3f} {name}" for name, number in counts.requests.items())
    print(f"for each {told}, {counts.total.bytes_received / runs:,.0f} bytes received")
    print(f"{memory(20_000):,.0f} bytes of memory for each, where the work is handed out")


def compare(options: argparse.Namespace, target: str, out: Path) -> None:
    """Print what each way of doing it takes, one after the other and again."""
    with cluster(1) as one, cluster(options.workers) as many:
        ways = {
            "one process, threads": {"workers": 1},
            f"{options.workers} new processes": {"workers": options.workers},
            "Dask, 1 worker": {"cluster": one.scheduler_address},
            f"Dask, {options.workers} workers": {"cluster": many.scheduler_address},
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        spent: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for number in range(options.repeat + 1):
            for name, how in ways.items():
                shutil.rmtree(out, ignore_errors=True)
                before, start = cpu(), time.perf_counter()
                report = bucketboard.export(target, out, format=options.format, **how)
                taken, after = time.perf_counter() - start, cpu()
                if len(report.exported) != options.runs:
                    sys.exit(f"{report.failures}")
                if number:  # the first time workers import what they need
                    seconds[name].append(taken)
                    spent[name].append({who: after[who] - before[who] for who in after})
    for name, taken in seconds.items():
        rate = options.runs / statistics.median(taken)
        whose = ", ".join(
            f"{who} {statistics.median(each[who] for each in spent[name]):.1f}" for who in spent[name][0]
        )
        print(
            f"{name:<21} {statistics.median(taken):7.2f} s  {rate:7.1f} runs/s   seconds of a core: {whose}"
        )
    *_, first, last = seconds.values()
    ratio = statistics.median(one / many for one, many in zip(first, last, strict=True))
    print(f"{options.workers} workers are {ratio:.2f} x as fast as 1 on {os.cpu_count()} cores")


def cpu() -> dict[str, float]:
    """Seconds of a core that were spent until now, by whom."""
    own = psutil.Process()
    times = own.cpu_times()
    spent = {
        "here": times.user + times.system,
        "workers": times.children_user + times.children_system,
        "server": 0.0,
    }
    for process in own.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            who = "server" if "weed" in process.name() else "workers"
            spent[who] += used.user + used.system
    return spent


def cluster(workers: int) -> LocalCluster:
    """Workers in processes of their own, of one thread each."""
    return LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0", processes=True)


if __name__ == "__main__":
    main()
