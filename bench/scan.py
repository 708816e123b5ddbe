"""How long it takes to read event files: our scanner and TensorBoard's Rust data server, in alternation.

    python bench/scan.py [--events 1000000] [--rounds 5]

The server's time is what it says of its load cycle; ours is mapping the file and scanning it into columns,
both CRCs verified; "sorted" adds sorting the rows into series. Scalars are in the layouts of torch and of
TensorFlow 2; images have 200 kB, and there the server verifies checksums too (--checksum), which it does not
by itself.
"""

from __future__ import annotations

import argparse
import mmap
import os
import re
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorboard_data_server
from tensorboard.compat.proto import event_pb2, summary_pb2

from bucketboard.events import native
from bucketboard.events.event import ScalarEncoder
from bucketboard.events.record import frame
from bucketboard.events.scanner import FileScanner
from row import add_options, faster, write_json

_TAGS = 10
_IMAGE_BYTES = 200_000


def _torch(count: int) -> Iterator[bytes]:
    encoder = ScalarEncoder()
    for i in range(count):
        yield encoder.record(f"train/metric{i % _TAGS}", i * 0.5, i // _TAGS, 1.7e9 + i)


def _tensorflow(count: int) -> Iterator[bytes]:
    for i in range(count):
        value = summary_pb2.Summary.Value(tag=f"train/metric{i % _TAGS}")
        value.metadata.plugin_data.plugin_name = "scalars"
        value.metadata.data_class = summary_pb2.DATA_CLASS_SCALAR
        value.tensor.dtype = 1
        value.tensor.tensor_shape.SetInParent()
        value.tensor.tensor_content = struct.pack("<f", i * 0.5)
        event = event_pb2.Event(wall_time=1.7e9 + i, step=i // _TAGS, summary={"value": [value]})
        yield frame(event.SerializeToString())


def _images(count: int) -> Iterator[bytes]:
    for i in range(count // 2000):
        image = {"height": 256, "width": 256, "encoded_image_string": os.urandom(_IMAGE_BYTES)}
        value = {"tag": f"image{i % _TAGS}", "image": image}
        event = event_pb2.Event(wall_time=1.7e9 + i, step=i // _TAGS, summary={"value": [value]})
        yield frame(event.SerializeToString())


def _ours(path: Path) -> tuple[float, float]:
    begin = time.perf_counter()
    scanner = FileScanner()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        columns = scanner.feed(data)
    scanned = time.perf_counter()
    order = np.argsort(columns.tag.astype(np.uint16), kind="stable")
    series = [getattr(columns, name)[order] for name in ("step", "wall_time", "value")]
    ended = time.perf_counter()
    if scanner.damaged or scanner.offset != path.stat().st_size or len(series[0]) != len(columns):
        raise SystemExit(f"{path}: not read whole: {scanner.damage}")
    return scanned - begin, ended - begin


_UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}


def _theirs(directory: Path, *arguments: str) -> float:
    command = [tensorboard_data_server.server_binary(), "--logdir", str(directory), "--reload", "once"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--verbose", *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        for line in process.stderr or ():
            if match := re.search(r"Finished load cycle \(([\d.]+)(\S+)\)", line):
                return float(match.group(1)) * _UNITS[match.group(2)]
    finally:
        process.kill()
        process.communicate()
    raise SystemExit("the data server ended early")


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    parser.add_argument("--events", type=int, default=1_000_000, help="scalar events (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is shown (default: 5)")
    options = parser.parse_args()
    if options.quick:
        options.events, options.rounds = 200_000, 2
    rows = []
    print(f"scanner: {'native' if native.core else 'Python (built without a compiler)'}")
    print(f"{'':22}{'MB':>6}  {'data server':>12}  {'bucketboard':>12}    ratio        sorted")
    layouts = [
        ("scalars, torch", _torch, (), 5.0),
        ("scalars, TensorFlow 2", _tensorflow, (), 5.0),
        ("images, --checksum", _images, ("--checksum",), 3.0),
    ]
    for name, records, arguments, least in layouts:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "events.out.tfevents.1700000000.bench.1.0")
            with path.open("wb") as file:
                file.writelines(records(options.events))
            size = path.stat().st_size / 1e6
            times = [(_theirs(Path(directory), *arguments), *_ours(path)) for _ in range(options.rounds)]
        measured = [list(column) for column in zip(*times, strict=True)]
        peer = " ".join(("Rust data server", *arguments))
        rows.append(
            faster(
                f"scanning {name.partition(', --')[0]}, {size:.0f} MB",
                measured[1],
                {peer: measured[0]},
                peer,
                least,
                least / 5,
            )
        )
        theirs, ours, series = (statistics.median(column) for column in zip(*times, strict=True))
        ratios = f"{theirs / ours:5.1f} x  {series:10.3f} s  {theirs / series:5.1f} x"
        print(f"{name:22}{size:6.0f}  {theirs:10.3f} s  {ours:10.3f} s  {ratios}")
    if options.json:
        write_json(options.json, rows)


if __name__ == "__main__":
    main()
