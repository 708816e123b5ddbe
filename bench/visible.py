"""How long it takes from ``add_scalar`` to the answer of a served TensorBoard that has the point.

    python bench/visible.py [--points 8]

A writer in a process of its own logs a point at a random moment, while ``bucketboard serve`` watches the
prefix and is asked over HTTP every 50 ms, as often as no browser does. Both have their defaults, and both go
through the proxy to a SeaweedFS: the writer uploads each 10 s in a run's first minutes, the viewer looks
each 5 s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bucketboard.replication.cadence import EVERY_YOUNG
from bucketboard.testing import FaultProxy, Server, seaweedfs
from bucketboard.testing.process import free_ports
from row import Row, add_options, write_json
from writers import OURS, WRITERS, environ

RELOAD = 5.0
URL = "s3://bench/run"
POLL = 0.05
SLACK = 1.0


def write() -> None:
    """In a process of its own: log a point for each line read, and tell when."""
    with tempfile.TemporaryDirectory() as directory:
        writer = WRITERS[OURS](f"{URL}/one", Path(directory), None)
        for step, _ in enumerate(sys.stdin):
            now = time.time()
            writer.add_scalar("loss", 0.5, step)
            print(now, flush=True)
        writer.close()


class Board:
    """A running ``bucketboard serve``."""

    def __init__(self, there: Server, directory: str) -> None:
        [port] = free_ports(1)
        self._url = f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?" + urllib.parse.urlencode(
            {"run": "one", "tag": "loss"}
        )
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        command = [sys.executable, "-m", "bucketboard", "serve", URL, "--port", str(port)]
        self._log = Path(directory, "serve.log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env={**environ(there), "XDG_CACHE_HOME": directory}, stdout=log, stderr=log
            )

    def steps(self) -> int:
        """The points that it shows."""
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            return len(json.loads(self._opener.open(self._url, timeout=30).read()))
        if self.process.poll() is not None:
            raise SystemExit(f"serve ended:\n{self._log.read_text()}")
        return 0

    def wait(self, points: int) -> float:
        """When it has so many."""
        deadline = time.monotonic() + 180
        while self.steps() < points:
            if time.monotonic() > deadline:
                raise SystemExit(f"{points} points are not there after 180 s")
            time.sleep(POLL)
        return time.time()


def measure(there: Server, points: int) -> Iterator[float]:
    """Seconds of each point, the first one, which opens everything, left out."""
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as directory:
        board = Board(there, directory)
        trainer = subprocess.Popen(
            [sys.executable, __file__, "--write"],
            env=environ(there),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert trainer.stdin is not None
        assert trainer.stdout is not None
        try:
            for number in range(points + 1):
                trainer.stdin.write("\n")
                trainer.stdin.flush()
                logged = float(trainer.stdout.readline())
                seconds = board.wait(number + 1) - logged
                if number:
                    yield seconds
                time.sleep(chance.random() * RELOAD)
        finally:
            trainer.stdin.close()
            trainer.wait(60)
            board.process.terminate()
            board.process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        return write()
    with seaweedfs() as server, FaultProxy(server.endpoint) as proxy:
        server.client().create_bucket(Bucket="bench")
        taken = []
        for seconds in measure(server.through(proxy.url), 2 if options.quick else options.points):
            taken.append(seconds)
            print(f"{seconds:6.2f} s", flush=True)
    most = EVERY_YOUNG + RELOAD + SLACK
    print(f"median {statistics.median(taken):.2f} s, longest {max(taken):.2f} s; the bar is {most:g} s")
    if options.json:
        row = Row(
            "from add_scalar to the served page, the longest",
            max(taken),
            "s",
            spread=(min(taken), max(taken)),
            bar=f"≤ {EVERY_YOUNG:g} s upload + {RELOAD:g} s reload + {SLACK:g} s",
            met=max(taken) <= most,
            guard=f"≤ {2 * most:g} s",
            held=max(taken) <= 2 * most,
            why=f"median {statistics.median(taken):.1f} s of {len(taken)} points, all at defaults.",
        )
        write_json(options.json, [row])


if __name__ == "__main__":
    main()
