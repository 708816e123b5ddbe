"""``bucketboard ls`` of many runs, with and without a published index: seconds, requests and bytes.

    make bench-ls ARGS="--runs 10000 --tags 10"

A SeaweedFS on this machine. The time is that of the command, in a process of its own; requests are counted in
another pass, through a proxy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import bucketboard
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.index import BucketObjects, update
from bucketboard.source import BucketSource
from bucketboard.store.bucket import Content
from bucketboard.store.fast import fast_bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import FaultProxy, seaweedfs

_CONDITION = 'team == "vision" and tag("metric/1") > 30 and state == "finished"'


def _body(run: int, tags: int, steps: int) -> bytes:
    encoder = ScalarEncoder()
    records = [
        encoder.record(f"metric/{tag}", run * 0.01 + step, step, 1.7e9 + run + step)
        for step in range(steps)
        for tag in range(tags)
    ]
    return frame(file_version_event(1.7e9 + run)) + b"".join(records)


def _command(url: str) -> tuple[float, float]:
    """Seconds of ``bucketboard ls``, from its start to its end, and those of CPU."""
    began, before = time.perf_counter(), os.times()
    command = [sys.executable, "-m", "bucketboard", "ls", url, "--where", _CONDITION]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    taken, after = time.perf_counter() - began, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return taken, spent


def main() -> None:
    """Print one line for each way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--tags", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with seaweedfs() as server, FaultProxy(server.endpoint) as proxy:
        os.environ.update(server.environ())
        server.client().create_bucket(Bucket="bench")
        url = S3Url.parse("s3://bench/exp")
        bucket = fast_bucket(url.bucket, Settings.resolve(), attempts=3)

        def put(run: int) -> None:
            headers = {
                "bucketboard-format": "1",
                "bucketboard-log": f"log{run}",
                "bucketboard-state": "closed" if run % 2 else "live",
                "bucketboard-user": f"team={'vision' if run % 3 else 'nlp'}&n={run}",
            }
            key = f"exp/sweep{run // 100:03}/run{run:05}/events.out.tfevents.1700000000.host.1.{run}"
            bucket.put(
                key, _body(run, options.tags, options.steps), Content("application/octet-stream", headers)
            )

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(put, range(options.runs)))

        def measure(what: str) -> None:
            taken, spent = zip(*(_command(str(url)) for _ in range(options.repeat)), strict=True)
            seconds, cpu = statistics.median(taken), statistics.median(spent)
            before = proxy.counts
            found = bucketboard.ls(str(url), where=_CONDITION, endpoint_url=proxy.url)
            counted = proxy.counts - before
            requests = ", ".join(f"{number} {operation}" for operation, number in counted.requests.items())
            received = counted.total.bytes_received
            told = (
                f"{len(found):,} of {options.runs:,} runs: {seconds:.2f} s ({cpu:.2f} s of CPU), {requests}"
            )
            print(f"{what:<14} {told}, {received:,} bytes", flush=True)

        measure("without index")
        update(BucketSource(url, bucket), BucketObjects(bucket, url.prefix))
        measure("with index")


if __name__ == "__main__":
    main()
