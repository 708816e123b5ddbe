"""What logging steals from a training loop's thread while it uploads: ours, and each peer's.

    python bench/stolen.py [--seconds 6] [--repeat 3] [--only bucketboard torch]

The loop is a fixed piece of Python and numpy, over and over; between two pieces it logs what is due: 1,000
scalars a second, or 1 MB of images a second. Every writer stores every 2 seconds (ours by default waits 10
to 60), on a SeaweedFS behind the proxy. Compared is how long a piece takes, of the time in which the thread
ran or waited for anything but a processor: so calls, the GIL and locks count, and other processes do not.
That holds while a processor is free for the thread that has the GIL: on a busy machine the figures are too
high. What is imported at the first upload has been before the clock starts; "once" tells what that cost.
torch through s3fs is left out: it waits for S3 at each event, and can't keep up.
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
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bucketboard.testing import FaultProxy, Server, seaweedfs
from row import Row, add_options, middle, write_json
from writers import OURS, WRITERS, Writer, environ

EVERY = 2.0
WARM = 2.5
"""Seconds until the first upload, and what it imports, is done."""
IMAGE = 100_000
RATES = {"1,000 scalars/s": 1000, "1 MB/s of images": 10}
MOST = 2.0
"""Percent that ours may steal."""
GUARD = 12.0
NOTHING = "nothing"
S3FS_NAME = "torch through s3fs"
MEMORY_NAME = "bucketboard, in memory"
Found = dict[str, float]


def work() -> Callable[[], None]:
    """A piece of some milliseconds, half Python that needs the GIL, half numpy that does not.

    It allocates no arrays: what that costs depends on what else a process has allocated before.
    """
    draw = np.random.default_rng(0)
    inputs, weights = draw.normal(size=(256, 256)), draw.normal(size=(256, 128))
    outputs, change = np.empty_like(weights), np.empty_like(weights)

    def piece() -> None:
        total = 0
        for number in range(20_000):
            total += number & 7
        np.matmul(inputs, weights, out=outputs)
        np.matmul(inputs.T, outputs, out=change)
        np.multiply(change, 1e-6, out=change)
        np.subtract(weights, change, out=weights)

    return piece


def waited() -> float:
    """Seconds that this thread was ready and no processor was free.

    Linux: Documentation/scheduler/sched-stats.rst.
    """
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def measure(name: str, load: str, seconds: float, url: str, directory: Path) -> Found:
    """Milliseconds per piece, and of calls; beside them what the start has cost more."""
    piece = work()
    piece()
    writer = None if name == NOTHING else WRITERS[name](url, directory, EVERY)
    images = [os.urandom(IMAGE) for _ in range(8)]
    step = 0

    def run(duration: float) -> float:
        nonlocal step
        began, delayed, pieces, first = time.perf_counter(), waited(), 0, step
        while (elapsed := time.perf_counter() - began) < duration:
            piece()
            pieces += 1
            step = _log(writer, load, images, step, first + int(elapsed * RATES[load]))
        return (time.perf_counter() - began - (waited() - delayed)) / pieces * 1000

    first = run(WARM)
    steady = run(seconds)
    if writer is not None:
        writer.close()
    return {"piece": steady, "once": (first / steady - 1) * WARM * 1000}


def _log(writer: Writer | None, load: str, images: list[bytes], step: int, due: int) -> int:
    while step < due:
        if writer is None:
            pass
        elif "scalars" in load:
            writer.add_scalar("loss", 0.5, step)
        else:
            writer.add_image(images[step % len(images)], step)
        step += 1
    return step


def run(name: str, load: str, seconds: float, there: Server) -> Found:
    """``measure`` in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        url = f"s3://bench/{time.time_ns()}"
        command = [sys.executable, __file__, "--one", name, load, str(seconds), url, directory]
        alone = {**environ(there), "OPENBLAS_NUM_THREADS": "1"}  # no thread of numpy's to wait for
        done = subprocess.run(command, env=alone, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def rows(found: dict[tuple[str, str], list[Found]]) -> Iterator[Row]:
    """Percent of a piece's time, by the median of the pieces with nothing logged."""
    for load in RATES:
        bare = statistics.median(each["piece"] for each in found[NOTHING, load])
        least = min(each["piece"] for each in found[NOTHING, load])
        stolen = {
            name: middle([(each["piece"] / bare - 1) * 100 for each in several])
            for (name, loaded), several in found.items()
            if loaded == load and name != NOTHING
        }
        if OURS not in stolen:
            continue
        ours, spread = stolen.pop(OURS)
        _, noise = middle([(each["piece"] / bare - 1) * 100 for each in found[NOTHING, load]])
        once = statistics.median(each["once"] for each in found[OURS, load])
        yield Row(
            f"time stolen from the training thread, {load}",
            ours,
            "%",
            {name: value for name, (value, _) in stolen.items()},
            spread=spread,
            bar=f"≤ {MOST:g} %",
            met=ours <= MOST,
            guard=f"≤ {GUARD:g} % between the quickest of both",
            held=min(each["piece"] for each in found[OURS, load]) <= (1 + GUARD / 100) * least,
            why=f"with nothing logged {noise[0]:+.1f} … {noise[1]:+.1f} %, which is the noise; "
            f"the first upload costs {once:.0f} ms once.",
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    names = [name for name in WRITERS if name not in (S3FS_NAME, MEMORY_NAME)]
    parser.add_argument("--one", nargs=5, metavar="ARGUMENT", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=6, help="of each loop (default: 6)")
    parser.add_argument("--repeat", type=int, default=3, help="of ours; the peers' loops run once")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="WRITER")
    options = parser.parse_args()
    if options.one:
        name, load, seconds, url, directory = options.one
        print(json.dumps(measure(name, load, float(seconds), url, Path(directory))))
        return
    seconds, repeat, names = options.seconds, options.repeat, options.only
    if options.quick:
        seconds, repeat, names = 2.5, 2, [OURS]
    print(f"{'writer':<24} {'load':<18} {'ms a piece':>11} {'once, ms':>9}")
    found: dict[tuple[str, str], list[Found]] = {}
    with seaweedfs() as server, FaultProxy(server.endpoint, latency=0.03) as proxy:
        server.client().create_bucket(Bucket="bench")
        for load in RATES:
            for number in range(repeat):
                for name in (NOTHING, *names):
                    if number and name not in (NOTHING, OURS):
                        continue
                    result = run(name, load, seconds, server.through(proxy.url))
                    found.setdefault((name, load), []).append(result)
                    print(
                        f"{name:<24} {load:<18} {result['piece']:>11.3f} {result['once']:>9.0f}", flush=True
                    )
    measured = list(rows(found))
    print()
    for row in measured:
        told = ", ".join(f"{name} {value:.1f} %" for name, value in row.peers.items())
        print(f"{row.measure}: {row.ours:.1f} % {row.spread}; {told}; {row.why}")
    if options.json:
        write_json(options.json, measured)


if __name__ == "__main__":
    main()
