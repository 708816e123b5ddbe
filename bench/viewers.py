"""Opening 1,000 small runs, and requests and dollars of a viewer's day on them, watched and idle, beside
stock TensorBoard.

    python bench/viewers.py [--runs 1000] [--latency 0.01]

Each viewer is a process: it opens all runs, on SeaweedFS behind the proxy that counts. What it sends while a
page asks each second is a watched viewer's rate: first that of its quickest looks, which it keeps up while
something grows, then that of its slowest, where nothing does. What it sends from the last request on is all
that an idle one does. Ours looks each second, not each five, and its requests are counted as if five times
as far apart. Nothing grows meanwhile, so that reading what does is in neither's figure. Stock TensorBoard
looks again and again whether anybody asks or not, as fast as its requests are answered: the latency is that
of a bucket in the same region, and a shorter one would cost it more. Prices are S3's (us-east-1).
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
QUICK, SLOW = 20, 50
"""Reload intervals in which ours looks at its quickest, and then those until it does at its slowest."""
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
) -> tuple[float, list[Counts]]:
    """Seconds until all runs are there; what passes in a window of quick looks, of slow ones, and at last."""
    [port] = free_ports(1)
    [command] = serve("indexed", there, place, port)
    command += ["--reload-interval", f"{options.interval:g}"]
    begin = time.monotonic()
    with started(command, environ_of(there, place), place) as (process, log):
        seconds = wait_for(port, options.runs, STEPS, process, log) - begin
        quick = during(QUICK * options.interval, proxy, port)
        during(SLOW * options.interval, proxy, port)
        slow = during(options.window, proxy, port)
        rest = during((PATIENCE + 6) * options.interval, proxy)
        silent = during(options.interval * 5, proxy)
        if silent.total.requests:
            raise SystemExit(f"an idle viewer goes on sending: {silent}")
        return seconds, [quick, slow, rest]


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
        why=f"{mine[0]:,.0f} requests beside {theirs[0]:,.0f}; both at {options.latency * 1000:g} ms. "
        "A look of ours is a LIST for each thousand objects.",
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
    options.interval = 1.0
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
            opened, [quick, slow, rest] = ours(there, proxy, options, places[0])
            theirs_opened, theirs = stock(there, proxy, options, places[1])
    peer = theirs.total.requests * DAY / options.window, dollars(theirs) * DAY / options.window
    cases = {
        "somebody looks all the time and something always grows": (quick, QUICK * options.interval),
        "somebody looks all the time and nothing grows": (slow, options.window),
    }
    rows = []
    for what, (passed, seconds) in cases.items():
        days = DAY / seconds * options.interval / 5
        rows.append(row(what, (passed.total.requests * days, dollars(passed) * days), peer, options))
    rows.append(row("nobody looks", (rest.total.requests, dollars(rest)), peer, options))
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
    print(f"ours: {quick.requests}, {slow.requests}; stock: {theirs.requests}", file=sys.stderr)
    if options.json:
        write_json(options.json, [opening, *rows])


if __name__ == "__main__":
    main()
