"""Requests and dollars of writers in a day, at the defaults: one writer, 100 writers, and an idle one.

    python bench/dollars.py [--writers 100]

Our uploader is driven by a clock of its own, so that a day passes in a minute; every request it makes
reaches a SeaweedFS through the proxy that counts. From the second hour on an hour is like the next: some are
driven, and the last of them counts for the rest of the day. The log grows past 5 MiB in the first hour, after
which an upload is four requests: the dearest there is. torch flushes every 120 seconds, as it does by
default, and so does whoever copies its directory then. Prices are S3's (us-east-1); bytes sent cost nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from bucketboard.replication.cost import PRICES
from bucketboard.replication.log import EventLog, LogFile
from bucketboard.replication.options import Options
from bucketboard.replication.storage import MemoryStorage
from bucketboard.replication.uploader import Target, Uploader
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.testing import Counts, FaultProxy, Server, seaweedfs
from row import Row, add_options, write_json
from writers import WRITERS, environ

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
EVENT_EVERY = 5.0
FAST, SLOW = 8000, 200
"""Bytes of an event in the first hour, 5.8 MB of them, and later."""
FLUSH_SECONDS = 120
"""torch's default."""
PEERS = ("torch", "aws s3 sync", "s5cmd sync", "rclone sync", "object per flush")
FREE = ("DeleteObject", "DeleteObjects", "AbortMultipartUpload")
MOST = 0.05


class Simulated:
    """A writer whose day passes as fast as its requests do."""

    def __init__(self, server: Server, run: str) -> None:
        self._now = 0.0
        self._errors: list[Exception] = []
        self._log = EventLog(
            lambda _: LogFile.new(uuid.uuid4().hex, MemoryStorage()),
            roll_size=Options().roll_size,
            limit=Options().limit(in_memory=False),
            report=self._errors.append,
        )
        settings = Settings(endpoint_url=server.endpoint)
        target = Target(Bucket("bench", settings), f"{run}/")
        self._uploader = Uploader(self._log, target, Options(), self._errors.append, clock=lambda: self._now)

    def live(self, until: float, logging_until: float = DAY) -> None:
        """Log an event now and then, and upload when it is due, until that time."""
        while self._now < until:
            event = self._now + EVENT_EVERY
            self._upload(event)
            self._now = event
            if event <= logging_until:
                self._log.write([os.urandom(FAST if event < HOUR else SLOW)])

    def _upload(self, until: float) -> None:
        while self._uploader.due() <= until:
            self._now = max(self._now, self._uploader.due())
            self._uploader.advance()
            if self._errors:
                raise SystemExit(f"{self._errors}")


def dollars(counts: Counts) -> float:
    """What these requests cost."""
    return sum(
        tally.requests * (PRICES.get if name.startswith(("Get", "Head")) else PRICES.put) / 1000
        for name, tally in counts.operations.items()
        if name not in FREE
    )


def flushes(name: str, number: int, directory: Path) -> None:
    """In a process of its own: a peer that logs a scalar and flushes, so many times."""
    writer = WRITERS[name](f"s3://bench/{uuid.uuid4().hex}", directory, None)
    for step in range(number):
        writer.add_scalar("loss", 0.5, step)
        writer.store()
    writer.close()


def peer(name: str, number: int, there: Server, proxy: FaultProxy) -> Counts:
    """The requests of ``flushes``."""
    before = proxy.counts
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, __file__, "--child", json.dumps([name, number, directory])]
        subprocess.run(command, env=environ(there), check=True)
    return proxy.counts - before


def rows(there: Server, proxy: FaultProxy, options: argparse.Namespace) -> Iterator[Row]:
    """One writer's day, an idle one's, and that many cost each what one costs."""

    def counted(writers: list[Simulated], until: float, logging_until: float = DAY) -> Counts:
        before = proxy.counts
        for writer in writers:
            writer.live(until, logging_until)
        return proxy.counts - before

    part = HOUR / 6 if options.quick else HOUR / 2
    one = Simulated(there, "one")
    hours = 3 if options.quick else options.hours
    parts = [begin := counted([one], part), counted([one], hours * HOUR - HOUR)]
    last = counted([one], hours * HOUR)
    day = sum(map(dollars, parts)) + dollars(last) * (25 - hours)
    requests = sum(each.total.requests for each in parts) + last.total.requests * (25 - hours)
    theirs = {}
    for name in () if options.quick else PEERS:
        each = peer(name, options.flushes, there, proxy)
        theirs[f"{name}, each {FLUSH_SECONDS} s"] = dollars(each) / options.flushes * DAY / FLUSH_SECONDS
    yield Row(
        "a day of one writer that logs without a pause",
        day,
        "$",
        theirs,
        bar=f"≤ ${MOST} a day at defaults",
        met=day <= MOST,
        guard=f"≤ ${MOST}",
        held=day <= MOST,
        why=f"{requests:,} requests; an upload each 10 s for ten minutes, each 60 s from the second hour on.",
    )
    idle = Simulated(there, "idle")
    counted([idle], HOUR / 6)
    rest = counted([idle], DAY, logging_until=HOUR / 6)
    yield Row(
        "requests of a writer in the day after its last event",
        rest.total.requests,
        "",
        bar="nothing new, nothing sent",
        met=rest.total.requests <= 1,
        guard="≤ 1, of what was logged last",
        held=rest.total.requests <= 1,
    )
    many = counted([Simulated(there, f"many{number}") for number in range(options.writers)], part)
    ratio = many.total.requests / begin.total.requests / options.writers
    yield Row(
        f"a day of {options.writers} writers",
        day * ratio * options.writers,
        "$",
        {name: cost * options.writers for name, cost in theirs.items()},
        ratio,
        bar=f"≤ ${MOST} a day each",
        met=day * ratio <= MOST,
        guard="requests ≤ 1.05 x those of one, for each",
        held=ratio <= 1.05,
        why=f"the first {part / MINUTE:.0f} minutes are measured, the rest is one writer's; the ratio is "
        "requests ÷ as many times those of one.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--writers", type=int, default=100, help="the many, in their first half hour")
    parser.add_argument("--flushes", type=int, default=20, help="of a peer; the day's are told")
    parser.add_argument("--hours", type=int, default=6, choices=range(3, 25), metavar="3…24", help="driven")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, number, directory = options.child
        return flushes(name, number, Path(directory))
    if options.quick:
        options.writers = 5
    with seaweedfs() as server, FaultProxy(server.endpoint) as proxy:
        server.client().create_bucket(Bucket="bench")
        there = server.through(proxy.url)
        os.environ.update(there.environ())
        measured = []
        for row in rows(there, proxy, options):
            peers = ", ".join(f"{name} {value:.4f}" for name, value in row.peers.items())
            print(f"{row.measure}: {row.ours:.4f} {row.unit}; {peers}; {row.why}", flush=True)
            measured.append(row)
    if options.json:
        write_json(options.json, measured)


if __name__ == "__main__":
    main()
