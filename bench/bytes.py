"""What a growing log costs: bytes sent, requests, objects left, and the writer's memory, beside each peer's.

    python bench/bytes.py                      5 and 50 MB by every writer, 200 MB and 2 GB by ours
    python bench/bytes.py --sizes 5 --only bucketboard torch

A log of images that nothing compresses, 50 kB each, is stored 100 times while it grows. Each writer is a
process of its own, on a SeaweedFS of its own behind the proxy that counts. Memory is the process's peak over
what a process has that only imports the same modules. Beyond 50 MB the peers' bytes are those of the law
fitted to what was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bucketboard.testing import FaultProxy, Server, seaweedfs
from row import Row, Series, add_options, write_json
from writers import OURS, S3FS, WRITERS, environ

MB = 1_000_000
BLOB = 50_000
AROUND = 60
"""Bytes of an event and a record around an image."""
UPLOADS = 100
SIZES = (5, 50, 200, 2000)
MOST = 50
"""MB that a writer is measured with that sends everything again each time."""
MOST_IN_MEMORY = 200
S3FS_NAME = "torch through s3fs"
S3FS_EVENTS = (100, 300, 1000)
MEMORY_NAME = "bucketboard, in memory"
OUR_WAYS = (OURS, MEMORY_NAME)
MANY_OBJECTS = "object per flush"
BARS = {50: (1.6, 1.75), 200: (1.05, 1.1), 2000: (1.02, 1.05)}
"""By MB: bytes sent ÷ logged at most, and the guard."""
MEMORY_MIB = 64.0
CLOSING = (
    "Ours sends it once more at the end, to mark the run as finished: below 5 MiB nothing of an object can "
    "be copied into its next version. The peers mark nothing."
)


@dataclass(frozen=True)
class Found:
    """What one writer did with one log."""

    logged: int
    sent: int
    requests: int
    objects: int
    left_open: int
    """Multipart uploads that were begun and neither completed nor aborted."""
    peak: float
    """MiB over interpreter and imports."""

    @property
    def ratio(self) -> float:
        """Bytes sent for each logged."""
        return self.sent / self.logged


def write(name: str, size: int, uploads: int, url: str, directory: Path) -> dict[str, object]:
    """Log ``size`` bytes, stored ``uploads`` times; the peak of memory in KiB, and what was imported."""
    writer = WRITERS[name](url, directory, None)
    events = max(size // BLOB, uploads)
    body, stored = size // events, 0
    for number in range(events):
        writer.add_image(os.urandom(body - AROUND), number)
        if (number + 1) * uploads // events > stored:
            stored += 1
            writer.store()
    writer.close()
    return {"peak": _peak(), "modules": sorted(sys.modules)}


def write_scalars(events: int, url: str, directory: Path) -> None:
    """Log as many scalars through s3fs, which sends everything at each of them, asked or not."""
    writer = WRITERS[S3FS_NAME](url, directory, None)
    for number in range(events):
        writer.add_scalar("loss", 1.0, number)
    writer.close()


def imported(modules: list[str]) -> int:
    """The memory, in KiB, of a process that imports these and does nothing."""
    for name in modules:
        with contextlib.suppress(Exception):  # parts that only their own packages can import
            __import__(name)
    return _peak()


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


CHILDREN = {function.__name__: function for function in (write, write_scalars, imported)}


def child(function: str, there: Server, **arguments: object) -> object:
    """What one of them gives in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps([function, arguments])]
    done = subprocess.run(command, env=environ(there), check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def measure(name: str, size: int, scalars: bool = False) -> Found:
    """``size`` bytes, or scalars, on a server of its own."""
    with (
        tempfile.TemporaryDirectory() as directory,
        seaweedfs() as server,
        FaultProxy(server.endpoint) as proxy,
    ):
        client = server.client()
        client.create_bucket(Bucket="bench")
        there = server.through(proxy.url)
        place = {"url": "s3://bench/run", "directory": directory}
        peak = 0.0
        if scalars:
            child("write_scalars", there, events=size, **place)
        else:
            told: Any = child("write", there, name=name, size=size, uploads=UPLOADS, **place)
            peak = (told["peak"] - child("imported", there, modules=told["modules"])) / 1024
        counts = proxy.counts.total
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="bench")
        entries = [entry for page in pages for entry in page.get("Contents", ())]
        logged = sum(entry["Size"] for entry in entries if "tfevents" in entry["Key"])
        left = len(client.list_multipart_uploads(Bucket="bench").get("Uploads", ()))
        client.close()
    if not scalars and abs(logged - size) > 0.01 * size:
        raise SystemExit(f"{name}: {logged:,} bytes are in the bucket, {size:,} were logged")
    return Found(logged, counts.bytes_sent, counts.requests, len(entries), left, peak)


def rows(found: dict[str, dict[int, Found]]) -> Iterator[Row]:
    """Of every size, ours beside those that were measured with it, and the law of the others."""
    for size, our in found.get(OURS, {}).items():
        log = f"{size} MB in {UPLOADS} uploads" if size < 1000 else f"{size / 1000:g} GB in {UPLOADS} uploads"
        others = {name: sizes[size] for name, sizes in found.items() if name != OURS and size in sizes}
        sent = {name: other.ratio for name, other in others.items()}
        growing = [ratio for name, ratio in sent.items() if name not in (MANY_OBJECTS, MEMORY_NAME)]
        for name in found:
            if size > MOST and name not in (*others, *OUR_WAYS, MANY_OBJECTS) and len(found[name]) > 1:
                sent[f"{name} (law)"] = law(found[name])(size * MB) / (size * MB)
        bar, guard = BARS.get(size, (None, None))
        below = not growing or our.ratio <= min(growing) * 1.001
        yield Row(
            f"bytes sent ÷ logged, {log}",
            our.ratio,
            "x",
            sent,
            bar=(f"≤ {bar}, " if bar else "") + "never above a peer that keeps one object",
            met=below and (bar is None or our.ratio <= bar),
            guard=f"≤ {guard}" if guard else "≤ 1.05 x the best peer",
            held=our.ratio <= (guard or min(growing, default=our.ratio) * 1.05),
            why="" if below else CLOSING,
        )
        requests = {name: other.requests for name, other in others.items()}
        yield Row(
            f"requests, {log}",
            our.requests,
            "",
            requests,
            guard=f"≤ {10 * UPLOADS}",
            held=our.requests <= 10 * UPLOADS,
        )
        objects = {name: other.objects for name, other in others.items()}
        clean = our.objects <= 2 + size // 250 and not our.left_open
        yield Row(
            f"objects left, {log}",
            our.objects,
            "",
            objects,
            guard="the run's event files and its bucketboard.json, no open upload",
            held=clean,
        )
        yield memory(f"memory of the writer, {log}", our, others)
    in_memory = found.get(MEMORY_NAME, {})
    if in_memory:
        size = max(in_memory)
        yield memory(f"the same in memory mode, {size} MB", in_memory[size], {})


def memory(measure: str, our: Found, others: dict[str, Found]) -> Row:
    """Peaks over interpreter and imports."""
    return Row(
        measure,
        our.peak,
        "MiB",
        {name: other.peak for name, other in others.items()},
        bar=f"≤ {MEMORY_MIB:g} MiB over interpreter and imports",
        met=our.peak <= MEMORY_MIB,
        guard=f"≤ {1.25 * MEMORY_MIB:g} MiB",
        held=our.peak <= 1.25 * MEMORY_MIB,
    )


def law(sizes: dict[int, Found]) -> Callable[[float], float]:
    """Bytes sent of bytes logged: a power fitted to what was measured."""
    points = [(found.logged, found.sent) for found in sizes.values()]
    slope, offset = np.polyfit(*np.log(np.array(points, float)).T, 1)
    return lambda logged: float(np.exp(offset) * logged**slope)


def plots(found: dict[str, dict[int, Found]], grown: dict[int, Found]) -> Iterator[Series]:
    """Bytes sent over bytes logged; s3fs over events, since it sends at each."""
    largest = max(size for sizes in found.values() for size in sizes)
    yield Series(
        f"Bytes sent, {UPLOADS} uploads of a growing log",
        "MB logged",
        "MB sent",
        {name: [(size, each.sent / MB) for size, each in sizes.items()] for name, sizes in found.items()},
        {
            name: [(size, law(sizes)(size * MB) / MB) for size in (max(sizes), largest)]
            for name, sizes in found.items()
            if len(sizes) > 1 and max(sizes) < largest and name not in OUR_WAYS
        },
        log_x=True,
        log_y=True,
    )
    if grown:
        last, further = max(grown), 100 * max(grown)
        yield Series(
            "Bytes sent through s3fs, scalars",
            "scalars logged",
            "MB sent",
            {S3FS_NAME: [(events, each.sent / MB) for events, each in grown.items()]},
            {
                S3FS_NAME: [
                    (last, grown[last].sent / MB),
                    (further, law(grown)(grown[last].logged * 100) / MB),
                ]
            },
            log_x=True,
            log_y=True,
        )


def s3fs_row(grown: dict[int, Found]) -> Row:
    """Its ratio at the most events it was measured with, and at 100,000 by the law."""
    last = max(grown)
    logged = grown[last].logged * (100_000 / last)
    peers = {
        f"{S3FS_NAME}, {last:,} scalars": grown[last].ratio,
        f"the same, {100_000:,} scalars (law)": law(grown)(logged) / logged,
    }
    return Row(
        f"bytes sent ÷ logged, scalars ({grown[last].requests:,} requests of s3fs for {last:,})",
        None,
        "x",
        peers,
        why="It sends the whole file at each event; ours sends by its cadence however many events there are.",
    )


def show(name: str, size: str, found: Found) -> None:
    """A line of the table."""
    print(
        f"{name:<24} {size:>8} {found.ratio:>12.3f} {found.requests:>9,} {found.objects:>8,} "
        f"{found.left_open:>5} {found.peak:>9.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    names = [name for name in WRITERS if name != S3FS_NAME or S3FS.exists()]
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=SIZES, help="of the logs, in MB", metavar="MB"
    )
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="WRITER")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        function, arguments = options.child
        if "directory" in arguments:
            arguments["directory"] = Path(arguments["directory"])
        print(json.dumps(CHILDREN[function](**arguments)))
        return
    cases = [
        (name, size)
        for size in options.sizes
        for name in options.only
        if name != S3FS_NAME and size <= {OURS: size, MEMORY_NAME: MOST_IN_MEMORY}.get(name, MOST)
    ]
    if options.quick:
        cases = [(OURS, 5), ("torch", 5), (OURS, 50)]
    print(
        f"{'writer':<24} {'log':>8} {'sent/logged':>12} {'requests':>9} {'objects':>8} {'open':>5} {'MiB':>9}"
    )
    found: dict[str, dict[int, Found]] = {}
    for name, size in cases:
        found.setdefault(name, {})[size] = measure(name, size * MB)
        show(name, f"{size} MB", found[name][size])
    grown: dict[int, Found] = {}
    if S3FS_NAME in options.only and not options.quick:
        for events in S3FS_EVENTS:
            grown[events] = measure(S3FS_NAME, events, scalars=True)
            show(S3FS_NAME, f"{events:,}", grown[events])
    if options.json:
        all_rows = [*rows(found), *([s3fs_row(grown)] if grown else [])]
        write_json(options.json, all_rows, [] if options.quick else plots(found, grown))


if __name__ == "__main__":
    main()
