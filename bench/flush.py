"""What flushing at each of 1,000 steps costs: frameworks logging to S3, beside the same to local disk.

The time of the steps, and the CPU time that the training's own process needed for them, which tells more on
a busy machine. Needs the frameworks: ``.venv-frameworks/bin/python bench/flush.py``.
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


def spent(framework: str, target: str, environ: dict[str, str], bare: bool) -> tuple[float, float]:
    """One training in a process of its own: the seconds of its steps, and its seconds of CPU for them."""
    command = [sys.executable, str(SCRIPT), framework, target, *(["--bare"] if bare else [])]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    took, cpu = done.stdout.split()[-2:]
    return float(took), float(cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="repetitions; medians are printed")
    parser.add_argument("--only", choices=FRAMEWORKS, action="append", help="this framework; may be repeated")
    parser.add_argument("--bare", action="store_true", help="steps in which nothing but the framework works")
    options = parser.parse_args()
    with moto() as server, FaultProxy(server.endpoint, latency=0.03) as proxy:
        server.client().create_bucket(Bucket="bench")
        environ = server.through(proxy.url).environ()
        print(f"{'':<14} {'local ms':>9} {'S3 ms':>9} {'ratio':>6} {'of CPU':>7} {'bytes sent':>11}")
        for framework in options.only or FRAMEWORKS:
            local, remote = [], []
            before = proxy.counts.total.bytes_sent
            for _ in range(options.repeat):
                with tempfile.TemporaryDirectory() as directory:
                    there = {**environ, "BUCKETBOARD_SPOOL": f"{directory}/spool"}
                    local.append(spent(framework, f"{directory}/run", there, options.bare))
                    remote.append(spent(framework, f"s3://bench/{time.time_ns()}", there, options.bare))
            sent = (proxy.counts.total.bytes_sent - before) / options.repeat
            took, cpu = map(statistics.median, zip(*local, strict=True))
            took_s3, cpu_s3 = map(statistics.median, zip(*remote, strict=True))
            ratios = f"{took_s3 / took:>6.2f} {cpu_s3 / cpu:>7.2f}"
            print(
                f"{framework:<14} {took * 1000:>9.0f} {took_s3 * 1000:>9.0f} {ratios} {sent:>11,.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
