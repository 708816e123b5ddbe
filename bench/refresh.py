"""How long it takes until what has grown in the bucket is shown.

    python bench/refresh.py                                  100 and 1,000 runs; with and without 100 Mbit/s
    python bench/refresh.py --runs 100 --bandwidth 12.5e6    one of these

Ours has opened all runs and looks once a second. In each round, ten of the runs get another step of each tag,
as new versions of their objects; the clock starts when the bucket has them, and ends when the last of the ten
is served with its new step. Beside it ``s5cmd sync`` brings them to a directory that has all others, and
TensorBoard is started there: its data server goes on reading the files that s5cmd has replaced, so that one
that runs never shows what is new. Each has a proxy of its own, on one SeaweedFS.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from bucketboard.events.event import ScalarEncoder
from bucketboard.testing import FaultProxy, Server, seaweedfs
from bucketboard.testing.process import free_ports
from row import Row, add_options, faster, write_json
from view import (
    BUCKET,
    KEPT,
    TAG,
    add_case,
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
OURS, PEER = "bucketboard serve, index", "s5cmd sync, TensorBoard (Rust) started again"
_POLL = 0.02


@dataclass
class Rounds:
    """What one way took in each."""

    seconds: list[float] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


class Viewer(Protocol):
    """A way to look at what is below ``prefix``."""

    prefix: str
    proxy: FaultProxy

    def refresh(self, runs: list[str], step: int) -> None:
        """Until all of ``runs`` are served with ``step``."""


class Ours:
    """Runs, and looks by itself."""

    prefix = "indexed"

    def __init__(self, server: Server, proxy: FaultProxy, place: Path, stack: contextlib.ExitStack) -> None:
        self.proxy = proxy
        there = server.through(proxy.url)
        [self.port] = free_ports(1)
        [command] = serve(self.prefix, there, place, self.port)
        command += ["--reload-interval", f"{INTERVAL:g}"]
        self.process, self.log = stack.enter_context(started(command, environ_of(there, place), place))

    def refresh(self, runs: list[str], step: int) -> None:
        wait_for_step(self.port, runs, step, self.process)


class Copied:
    """Brings what is new, and starts TensorBoard with its data server."""

    prefix = "plain"

    def __init__(self, server: Server, proxy: FaultProxy, place: Path) -> None:
        self.proxy = proxy
        self._place = place
        there = server.through(proxy.url)
        self._environ = environ_of(there, place)
        self._sync = [*s5cmd(there), "sync", f"s3://{BUCKET}/{self.prefix}/*", f"{place}/logs/"]
        self.sync()

    def sync(self) -> None:
        subprocess.run(self._sync, env=self._environ, check=True, stdout=subprocess.DEVNULL)

    def refresh(self, runs: list[str], step: int) -> None:
        self.sync()
        [port] = free_ports(1)
        command = tensorboard(f"{self._place}/logs", port, "--load_fast=true")
        with started(command, self._environ, self._place) as (process, _):
            wait_for_step(port, runs, step, process)


def wait_for_step(port: int, runs: list[str], step: int, process: subprocess.Popen[bytes]) -> None:
    """Until the server gives ``step`` of each run."""
    deadline = time.monotonic() + 120
    for run in runs:
        asked = urllib.parse.urlencode({"run": run, "tag": TAG})
        url = f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?{asked}"
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):  # it starts, or has not read it
                if json.loads(read(url))[-1][1] >= step:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{process.args!r}: step {step} of {run} does not come")
            time.sleep(_POLL)


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
        proxies = [
            stack.enter_context(
                FaultProxy(server.endpoint, latency=options.latency, bandwidth=options.bandwidth)
            )
            for _ in range(2)
        ]
        places = [scratch / name for name in ("ours", "copied")]
        for place in places:
            place.mkdir()
        ours = Ours(server, proxies[0], places[0], stack)
        wait_for(ours.port, options.runs, min(options.steps, KEPT), ours.process, ours.log)
        viewers: dict[str, Viewer] = {OURS: ours, PEER: Copied(server, proxies[1], places[1])}
        rounds = {name: Rounds() for name in viewers}
        paths = sorted(path.relative_to(directory) for path in directory.rglob("*.tfevents.*"))
        some = paths[:: max(1, len(paths) // GROWN)][:GROWN]
        grown = {name: {str(path): (directory / path).read_bytes() for path in some} for name in viewers}
        for step in range(options.steps, options.steps + options.repeat):
            for name, each in viewers.items():
                grow(client, each.prefix, grown[name], step)
                before, begin = each.proxy.counts, time.monotonic()
                each.refresh([str(path.parent) for path in some], step)
                total = (each.proxy.counts - before).total
                rounds[name].seconds.append(time.monotonic() - begin)
                rounds[name].requests.append(total.requests)
                rounds[name].megabytes.append(total.bytes_received / 1e6)
    line = f", {options.bandwidth / 1e6:g} MB/s" if options.bandwidth else ""
    where = f"{options.runs:,} runs, {size / 1e6:.0f} MB, {options.latency * 1000:g} ms{line}"
    row = faster(
        f"refresh of {len(some)} grown runs, {where}",
        rounds[OURS].seconds,
        {PEER: rounds[PEER].seconds},
        PEER,
        6.0 if options.bandwidth else 1.5,
        0.2,
    )
    told = [
        f"{statistics.median(each.requests):.0f} requests and {statistics.median(each.megabytes):.1f} MB"
        for each in rounds.values()
    ]
    why = f"{' beside '.join(told)}; up to {INTERVAL:g} s of ours is the wait for its next look."
    print(f"{row.measure}: {row.ours:.2f} s, {row.ratio:.2f} x; {why}", flush=True)
    return [replace(row, why=why)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    add_case(parser)
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
