"""What flushing at each of 1,000 steps costs: frameworks logging to S3, beside the same to local disk.

Needs the frameworks: run it by a Python that has them, with ``.venv-frameworks/bin/python bench/flush.py``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bucketboard.testing import FaultProxy, moto

SCRIPT = Path(__file__).parents[1] / "tests" / "frameworks" / "flushing.py"
FRAMEWORKS = ("torch", "tensorboardx", "tensorboard", "lightning", "tensorflow", "tensorflow1", "keras")


def seconds(framework: str, target: str, environ: dict[str, str], bare: bool) -> float:
    """One training in a process of its own; the seconds of its steps."""
    command = [sys.executable, str(SCRIPT), framework, target, *(["--bare"] if bare else [])]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="repetitions; medians are printed")
    parser.add_argument("--only", choices=FRAMEWORKS, action="append", help="this framework; may be repeated")
    parser.add_argument("--bare", action="store_true", help="steps in which nothing but the framework works")
    options = parser.parse_args()
    with moto() as server, FaultProxy(server.endpoint, latency=0.03) as proxy:
        server.client().create_bucket(Bucket="bench")
        environ = server.through(proxy.url).environ()
        print(f"{'framework':<14} {'local ms':>9} {'S3 ms':>9} {'S3 ÷ local':>11} {'bytes sent':>11}")
        for framework in options.only or FRAMEWORKS:
            local, remote = [], []
            before = proxy.counts.total.bytes_sent
            for _ in range(options.repeat):
                with tempfile.TemporaryDirectory() as directory:
                    spool = {"BUCKETBOARD_SPOOL": f"{directory}/spool"}
                    local.append(seconds(framework, f"{directory}/run", {**environ, **spool}, options.bare))
                    remote.append(
                        seconds(framework, f"s3://bench/{time.time_ns()}", {**environ, **spool}, options.bare)
                    )
            sent = (proxy.counts.total.bytes_sent - before) / options.repeat
            here, there = statistics.median(local) * 1000, statistics.median(remote) * 1000
            figures = f"{here:>9.0f} {there:>9.0f} {there / here:>11.2f} {sent:>11,.0f}"
            print(f"{framework:<14} {figures}", flush=True)


if __name__ == "__main__":
    main()
