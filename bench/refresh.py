"""How long a running viewer takes until it shows what has grown in the bucket.

    python bench/refresh.py                                  100 and 1,000 runs; with and without 100 Mbit/s
    python bench/refresh.py --runs 100 --bandwidth 12.5e6    one of these

Both viewers have opened all runs, through a proxy each on one SeaweedFS, and look once a second. In each
round, ten of the runs get another step of each tag, as new versions of their objects; the clock starts when
the bucket has them. Ours is left alone; beside TensorBoard with its Rust server, ``s5cmd sync`` is started at
that moment. A round ends when the last of the ten is served with its new step.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bucketboard.events.event import ScalarEncoder
from bucketboard.testing import FaultProxy, Server, seaweedfs
from bucketboard.testing.process import free_ports
from row import Row, add_options, faster, write_json
from view import (
    BUCKET,
    KEPT,
    TAG,
    environ_of,
    generate,
    publish,
    read,
    s5cmd,
    serve,
    started,
    tensorboard,
    wait_for,
)

TAGS = 10
GROWN = 10
INTERVAL = 1.0
OURS, PEER = "bucketboard serve, index", "s5cmd sync + TensorBoard (Rust)"
_POLL = 0.02


@dataclass
class Viewer:
    """A running one, and how it comes to what is new."""

    port: int
    prefix: str
    proxy: FaultProxy
    sync: list[str]
    environ: dict[str, str]
    seconds: list[float]
    requests: list[int]
    megabytes: list[float]

    def look(self, runs: list[str], step: int) -> None:
        """From now until the last of ``runs`` is served with ``step``."""
        before, begin = self.proxy.counts, time.monotonic()
        if self.sync:
            subprocess.run(self.sync, env=self.environ, check=True, stdout=subprocess.DEVNULL)
        for run in runs:
            asked = urllib.parse.urlencode({"run": run, "tag": TAG})
            url = f"http://127.0.0.1:{self.port}/data/plugin/scalars/scalars?{asked}"
            while json.loads(read(url))[-1][1] < step:
                if time.monotonic() > begin + 120:
                    raise SystemExit(f"{self.prefix}: step {step} of {run} is not there after 120 s")
                time.sleep(_POLL)
        total = (self.proxy.counts - before).total
        self.seconds.append(time.monotonic() - begin)
        self.requests.append(total.requests)
        self.megabytes.append(total.bytes_received / 1e6)


@contextlib.contextmanager
def viewer(name: str, server: Server, options: argparse.Namespace, scratch: Path) -> Iterator[Viewer]:
    """One that has opened all runs."""
    place = scratch / name.split()[0]
    place.mkdir()
    [port] = free_ports(1)
    with FaultProxy(server.endpoint, latency=options.latency, bandwidth=options.bandwidth) as proxy:
        there = server.through(proxy.url)
        environ = environ_of(there, place)
        sync: list[str] = []
        if name == OURS:
            [command] = serve("indexed", there, place, port)
            command += ["--reload-interval", f"{INTERVAL:g}"]
        else:
            sync = [*s5cmd(there), "sync", f"s3://{BUCKET}/plain/*", f"{place}/logs/"]
            subprocess.run(sync, env=environ, check=True, stdout=subprocess.DEVNULL)
            command = tensorboard(
                f"{place}/logs", port, "--load_fast=true", "--reload_interval", f"{INTERVAL:g}"
            )
        with started(command, environ, place) as (process, log):
            wait_for(port, options.runs, min(options.steps, KEPT), process, log)
            prefix = "indexed" if name == OURS else "plain"
            yield Viewer(port, prefix, proxy, sync, environ, [], [], [])


def grow(client: Any, prefix: str, bodies: dict[str, bytes], step: int) -> None:
    """Give the runs one step more in the bucket."""
    for path in bodies:
        encoder = ScalarEncoder()
        bodies[path] += b"".join(
            encoder.record(f"train/loss/metric{tag}", 0.5, step, time.time()) for tag in range(TAGS)
        )
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{path}", Body=bodies[path])


def look(options: argparse.Namespace) -> list[Row]:
    """One logdir, behind one kind of line."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bucketboard-bench-")))
        server = stack.enter_context(seaweedfs())
        directory = scratch / "grown"
        size = generate(directory, options.runs, TAGS, options.steps)
        publish(server, directory, ["indexed", "s5cmd"])
        client = server.client()
        stack.callback(client.close)
        viewers = {name: stack.enter_context(viewer(name, server, options, scratch)) for name in (OURS, PEER)}
        paths = sorted(path.relative_to(directory) for path in directory.rglob("*.tfevents.*"))
        some = paths[:: max(1, len(paths) // GROWN)][:GROWN]
        grown = {name: {str(path): (directory / path).read_bytes() for path in some} for name in viewers}
        for step in range(options.steps, options.steps + options.repeat):
            for name, each in viewers.items():
                grow(client, each.prefix, grown[name], step)
                each.look([str(path.parent) for path in some], step)
    line = f", {options.bandwidth / 1e6:g} MB/s" if options.bandwidth else ""
    where = f"{options.runs:,} runs, {size / 1e6:.0f} MB, {options.latency * 1000:g} ms{line}"
    row = faster(
        f"refresh of {len(some)} grown runs, {where}",
        viewers[OURS].seconds,
        {PEER: viewers[PEER].seconds},
        PEER,
        6.0 if options.bandwidth else 1.5,
        0.2,
    )
    told = [
        f"{statistics.median(each.requests):.0f} requests and {statistics.median(each.megabytes):.1f} MB"
        for each in viewers.values()
    ]
    why = f"{' beside '.join(told)}; up to {INTERVAL:g} s of both is waiting for the next look."
    print(f"{row.measure}: {row.ours:.2f} s, {row.ratio:.2f} x; {why}", flush=True)
    return [replace(row, why=why)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--runs", type=int, help="measure this alone, with what the options below say")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--latency", type=float, default=0.03, help="seconds per request (default: 0.03)")
    parser.add_argument("--bandwidth", type=float, help="bytes per second, of all requests together")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    rows: list[Row] = []
    if options.quick:
        rows += look(argparse.Namespace(**{**vars(options), "runs": 10, "steps": 200, "repeat": 2}))
    elif options.runs:
        rows += look(options)
    else:
        for runs, steps in ((100, 2000), (1000, 200)):
            for bandwidth in (None, 12.5e6):
                given = {"runs": runs, "steps": steps, "bandwidth": bandwidth}
                rows += look(argparse.Namespace(**{**vars(options), **given}))
    if options.json:
        write_json(options.json, rows)


if __name__ == "__main__":
    main()
