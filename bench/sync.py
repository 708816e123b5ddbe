"""Bringing a directory over: ours beside s5cmd and the AWS CLI, in alternation on one SeaweedFS.

Prints median seconds and ratios (above 1: ours is faster), requests and bytes. Commands are timed from
their start to their end, interpreters included.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.testing import FaultProxy, Server, seaweedfs
from row import Row, add_options, faster, write_json

SCRIPTS = Path(sysconfig.get_path("scripts"))
NAME = "events.out.tfevents.1700000000.host.1.0"
MB = 1_000_000


def event_file(size: int) -> bytes:
    """Half scalars, half incompressible records, as a run with pictures has them."""
    encode = ScalarEncoder().record
    parts = [frame(file_version_event(1e9))]
    parts += [encode("loss", 1 / (step + 1), step, 1e9 + step) for step in range(size // 2 // 51)]
    parts += [frame(random.randbytes(50_000)) for _ in range(size // 2 // 50_016)]
    return b"".join(parts)


def fill(root: Path, megabytes: int) -> None:
    """Event files of 20 MB (60 %), checkpoints of 100 MB (30 %), many small files (10 %)."""
    runs = max(1, megabytes * 6 // 10 // 20)
    body = event_file(20 * MB)
    for number in range(runs):
        (root / f"run{number}").mkdir(parents=True)
        (root / f"run{number}" / NAME).write_bytes(body)
    for number in range(max(1, megabytes * 3 // 10 // 100)):
        (root / f"run{number}" / "model.ckpt").write_bytes(random.randbytes(100 * MB))
    for number in range(megabytes):
        (root / f"run{number % runs}" / f"{number}.json").write_bytes(random.randbytes(MB // 10))


def small(root: Path, count: int) -> None:
    """Short runs: one event file of 5 KB each."""
    body = event_file(10_000)[:5000]
    for number in range(count):
        (root / f"run{number}").mkdir(parents=True)
        (root / f"run{number}" / NAME).write_bytes(body)


Command = Callable[[Path, str, str], list[str]]


def ours(root: Path, bucket: str, endpoint: str) -> list[str]:
    return [
        *(sys.executable, "-m", "bucketboard", "sync", str(root), f"s3://{bucket}/exp"),
        *("--endpoint-url", endpoint),
    ]


def s5cmd(root: Path, bucket: str, endpoint: str) -> list[str]:
    return [str(SCRIPTS / "s5cmd"), "--endpoint-url", endpoint, "sync", f"{root}/", f"s3://{bucket}/exp/"]


def aws(root: Path, bucket: str, endpoint: str) -> list[str]:
    return [
        str(SCRIPTS / "aws"),
        *("--endpoint-url", endpoint, "s3", "sync", str(root), f"s3://{bucket}/exp", "--only-show-errors"),
    ]


COMMANDS: dict[str, Command] = {"bucketboard": ours, "s5cmd": s5cmd, "aws": aws}


class Bench:
    """One server, a scratch directory, and what each command needs."""

    def __init__(self, server: Server, scratch: Path) -> None:
        self._server = server
        self._client = server.client()
        self._cache = scratch / "cache"
        self._environ = {**os.environ, **server.environ(), "XDG_CACHE_HOME": str(self._cache)}
        self._buckets = 0
        self.rows: list[Row] = []

    @contextmanager
    def bucket(self) -> Iterator[str]:
        """An empty bucket, emptied behind."""
        self._buckets += 1
        name = f"bench-{self._buckets}"
        self._client.create_bucket(Bucket=name)
        yield name
        while objects := self._client.list_objects_v2(Bucket=name).get("Contents"):
            keys = [{"Key": entry["Key"]} for entry in objects]
            self._client.delete_objects(Bucket=name, Delete={"Objects": keys})
        self._client.delete_bucket(Bucket=name)

    def seconds(self, name: str, root: Path, bucket: str, endpoint: str | None = None) -> float:
        command = COMMANDS[name](root, bucket, endpoint or self._server.endpoint)
        began = time.perf_counter()
        subprocess.run(command, env=self._environ, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    def first_uploads(self, title: str, root: Path, repeats: int) -> None:
        """Into an empty bucket, in alternation."""
        taken: dict[str, list[float]] = {name: [] for name in ("s5cmd", "bucketboard")}
        for _ in range(repeats):
            for name, seconds in taken.items():
                with self.bucket() as bucket:
                    seconds.append(self.seconds(name, root, bucket))
        total = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        self._told(f"{title} ({total / MB:,.0f} MB)", taken)

    def _told(self, measure: str, taken: dict[str, list[float]]) -> None:
        row = faster(measure, taken["bucketboard"], {"s5cmd": taken["s5cmd"]}, "s5cmd", 0.7, 0.1)
        self.rows.append(row)
        medians = ", ".join(f"{name} {statistics.median(seconds):.2f} s" for name, seconds in taken.items())
        print(f"{measure}: {medians}; throughput {row.ratio:.2f} x s5cmd's {row.spread}", flush=True)

    def incremental(self, title: str, root: Path, grow: Callable[[], None], repeats: int) -> None:
        """What grew since the sync before, in alternation, each into its own bucket."""
        taken: dict[str, list[float]] = {name: [] for name in ("s5cmd", "bucketboard")}
        with self.bucket() as one, self.bucket() as other:
            buckets = dict(zip(taken, (one, other), strict=True))
            for name, bucket in buckets.items():
                self.seconds(name, root, bucket)
            for _ in range(repeats):
                grow()
                for name, bucket in buckets.items():
                    taken[name].append(self.seconds(name, root, bucket))
        self._told(title, taken)

    def increments(self, title: str, root: Path, grow: Callable[[], None], names: tuple[str, ...]) -> None:
        """What grew since a first sync, then nothing, then nothing without the cache, counted by a proxy."""
        sent: dict[str, list[int]] = {}
        with FaultProxy(self._server.endpoint) as proxy:
            for name in names:
                with self.bucket() as bucket:
                    self.seconds(name, root, bucket, proxy.url)
                    for what, change in (
                        (title, grow),
                        ("nothing new", lambda: None),
                        ("nothing new, no cache", lambda: shutil.rmtree(self._cache, ignore_errors=True)),
                    ):
                        change()
                        before = proxy.counts
                        seconds = self.seconds(name, root, bucket, proxy.url)
                        used = proxy.counts - before
                        sent.setdefault(name, []).append(used.total.bytes_sent)
                        print(
                            f"{what}, {name}: {used.total.bytes_sent:,} bytes in {used.total.requests:,}"
                            f" requests {used.requests}, {seconds:.1f} s",
                            flush=True,
                        )
        if len(names) > 1:
            ours, peers = sent["bucketboard"][0] / MB, {name: sent[name][0] / MB for name in names[1:]}
            ratio = min(peers.values()) / ours
            self.rows.append(
                Row(
                    f"bytes sent: {title}",
                    ours,
                    "MB",
                    peers,
                    ratio,
                    guard="≥ 10 x fewer",
                    held=ratio >= 10,
                    why="what is new is appended by copying parts.",
                )
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--megabytes", type=int, default=1000, help="of mixed files (default: 1000)")
    parser.add_argument("--small", type=int, default=2000, help="small runs (default: 2000)")
    parser.add_argument("--unchanged", type=int, default=5000, help="unchanged files (default: 5000)")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    many = 100
    if options.quick:
        options.megabytes, options.small, options.unchanged, options.repeats, many = 100, 200, 200, 1, 3
    with tempfile.TemporaryDirectory() as directory, seaweedfs() as server:
        scratch = Path(directory)
        bench = Bench(server, scratch)
        fill(scratch / "mixed", options.megabytes)
        bench.first_uploads("first upload, mixed files", scratch / "mixed", options.repeats)
        shutil.rmtree(scratch / "mixed")
        small(scratch / "small", options.small)
        bench.first_uploads(f"first upload, {options.small} small runs", scratch / "small", options.repeats)

        grown = [scratch / "grown" / f"run{number}" / NAME for number in range(many)]
        body = event_file(20 * MB)
        for path in grown:
            path.parent.mkdir(parents=True)
            path.write_bytes(body)

        def grow() -> None:
            for path in grown:
                with path.open("ab") as file:
                    file.write(frame(random.randbytes(10_000)))

        title = f"10 KB more in each of {many} files of 20 MB"
        bench.incremental(title, scratch / "grown", grow, options.repeats)
        bench.increments(title, scratch / "grown", grow, ("bucketboard", "aws"))
        shutil.rmtree(scratch / "grown")
        small(scratch / "many", options.unchanged)
        bench.increments(f"{options.unchanged:,} files", scratch / "many", lambda: None, ("bucketboard",))
    if options.json:
        write_json(options.json, bench.rows)


if __name__ == "__main__":
    main()
