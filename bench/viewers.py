"""Opening 1,000 small runs, and requests and dollars of a viewer's day on them, watched and idle, beside
stock TensorBoard.

    python bench/viewers.py [--runs 1000] [--latency 0.01]

Each viewer is a process at its defaults: it opens all runs, on SeaweedFS behind the proxy that counts. What
it sends while a page asks each second is a watched viewer's rate, what it sends from the last request on is
all that an idle one does. Nothing grows meanwhile. Stock TensorBoard looks
again and again whether anybody asks or not, as fast as its requests are answered: the latency is that of a
bucket in the same region, and a shorter one would cost it more. Prices are S3's (us-east-1).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bucketboard.testing import Counts, FaultProxy, Server, seaweedfs
from bucketboard.testing.process import free_ports
from dollars import DAY, dollars
from row import Row, add_options, faster, write_json
from view import environ_of, generate, publish, read, serve, started, tensorboard, wait_for

TAGS, STEPS = 1, 20
PATIENCE = 12
"""Reload intervals without a request after which ours sends nothing more."""
LEAST = 100
STOCK = "tensorboard --logdir s3://"


def during(seconds: float, proxy: FaultProxy, port: int | None = None) -> Counts:
    """What passes meanwhile; a page at ``port`` asks each second."""
    before, end = proxy.counts, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if port is not None:
            read(f"http://127.0.0.1:{port}/data/runs")
        time.sleep(min(1.0, left))
    return proxy.counts - before


def ours(
    there: Server, proxy: FaultProxy, options: argparse.Namespace, place: Path
) -> tuple[float, Counts, Counts]:
    """Seconds until all runs are there; what passes in the window while somebody looks, and from then on."""
    [port] = free_ports(1)
    [command] = serve("indexed", there, place, port)
    # A shorter interval for the guard only: its refreshes are counted as if they were 5 seconds apart.
    command += ["--reload-interval", f"{options.interval:g}"]
    begin = time.monotonic()
    with started(command, environ_of(there, place), place) as (process, log):
        seconds = wait_for(port, options.runs, STEPS, process, log) - begin
        watched = during(options.window, proxy, port)
        rest = during((PATIENCE + 2) * options.interval, proxy)
        silent = during(options.interval * 3, proxy)
        if silent.total.requests:
            raise SystemExit(f"an idle viewer goes on sending: {silent}")
        return seconds, watched, rest


def stock(there: Server, proxy: FaultProxy, options: argparse.Namespace, place: Path) -> tuple[float, Counts]:
    """Seconds until all runs are there; what passes in the window from then on."""
    [port] = free_ports(1)
    command = tensorboard("s3://bench/plain", port)
    begin = time.monotonic()
    with started(command, environ_of(there, place), place) as (process, log):
        seconds = wait_for(port, options.runs, STEPS, process, log) - begin
        return seconds, during(options.window, proxy)


def row(
    what: str, mine: tuple[float, float], theirs: tuple[float, float], options: argparse.Namespace
) -> Row:
    """Dollars a day; ours and theirs are requests and dollars a day."""
    ratio = theirs[1] / mine[1] if mine[1] else float(theirs[1] * 1e6)
    least = 2 if options.quick else 20
    return Row(
        f"a day of a viewer on {options.runs:,} runs, {what}",
        mine[1],
        "$",
        {STOCK: theirs[1]},
        ratio,
        bar=f"≥ {LEAST} x below stock",
        met=ratio >= LEAST,
        guard=f"≥ {least} x below stock",
        held=ratio >= least,
        why=f"{mine[0]:,.0f} requests beside {theirs[0]:,.0f}; both at {options.latency * 1000:g} ms.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--latency", type=float, default=0.01, help="seconds per request (default: 0.01)")
    parser.add_argument("--window", type=float, default=60, help="seconds that are counted (default: 60)")
    options = parser.parse_args()
    options.interval = 5.0
    if options.quick:
        options.runs, options.window, options.interval = 50, 8.0, 0.5
    with tempfile.TemporaryDirectory(prefix="bucketboard-bench-") as scratch, seaweedfs() as server:
        generate(Path(scratch, "logs"), options.runs, TAGS, STEPS)
        publish(server, Path(scratch, "logs"), ["indexed", "stock"])
        with FaultProxy(server.endpoint, latency=options.latency) as proxy:
            there = server.through(proxy.url)
            places = [Path(scratch, name) for name in ("ours", "stock")]
            for place in places:
                place.mkdir()
            opened, watched, rest = ours(there, proxy, options, places[0])
            theirs_opened, theirs = stock(there, proxy, options, places[1])
    days = DAY / options.window
    slower = options.interval / 5
    peer = theirs.total.requests * days, dollars(theirs) * days
    looked = watched.total.requests * days * slower, dollars(watched) * days * slower
    rows = [
        row("somebody looks all the time", looked, peer, options),
        row("nobody looks", (rest.total.requests, dollars(rest)), peer, options),
    ]
    opening = faster(
        f"cold open, {options.runs:,} small runs, {options.latency * 1000:g} ms, beside stock TensorBoard",
        [opened],
        {STOCK: [theirs_opened]},
        STOCK,
        LEAST,
        1.0,
    )
    print(f"{opening.measure}: {opened:.2f} s beside {theirs_opened:.1f}, {opening.ratio:.0f} x")
    for each in rows:
        print(f"{each.measure}: ${each.ours:.4f}, stock ${peer[1]:.2f}, {each.ratio:.0f} x; {each.why}")
    print(f"ours: {watched.requests}; stock: {theirs.requests}", file=sys.stderr)
    if options.json:
        write_json(options.json, [opening, *rows])


if __name__ == "__main__":
    main()
