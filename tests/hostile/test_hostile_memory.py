"""Memory stays bounded, whatever files claim or hold: each case in a process that may not take more."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import bucketboard
from bucketboard.events.event import varint
from promised import MIB, _masked, framed

SOURCE = Path(bucketboard.__file__).parents[1]

_SHOW = """
import os, resource, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from bucketboard.serve.catalog import Catalog
from bucketboard.serve.mount import Mount
from bucketboard.source import DirectorySource
from bucketboard.store.bucket import ObjectInfo

fetched = 0
class Source(DirectorySource):
    def get(self, path, start=0, stop=None):
        global fetched
        data, info = super().get(path, start, stop)
        fetched += len(data)
        return data, info

catalog = Catalog([Mount(Source(Path(sys.argv[1])))])
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[2]) + 32 * (9 << 20)  # and the stacks of readers
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for _ in range(2):
    catalog.refresh()
series = sum(len(run.series) for run in catalog.runs.values())
print(len(catalog.runs), series, fetched, len(catalog.unreadable))
print(catalog.unreadable, file=sys.stderr)
os._exit(0)
"""


def show(directory: Path, limit: int, damaged: int = 0) -> tuple[int, int, int]:
    """Runs, series and bytes fetched by a viewer that may take ``limit`` bytes more."""
    done = subprocess.run(
        [sys.executable, "-c", _SHOW, str(directory), str(limit)],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    runs, series, fetched, unreadable = map(int, done.stdout.split())
    assert unreadable <= damaged, done.stderr[-2000:]
    return runs, series, fetched


def header(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", _masked(packed))


def delimited(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def scalar(tag: bytes) -> bytes:
    value = delimited(1, tag) + b"\x15" + struct.pack("<f", 1.0)
    return framed(b"\x09" + struct.pack("<d", 1.0) + delimited(5, delimited(1, value)))


def event_file(directory: Path, run: str = "run") -> Path:
    (directory / run).mkdir(parents=True, exist_ok=True)
    return directory / run / "events.out.tfevents.1.host"


@pytest.mark.parametrize("length", [(1 << 64) - 1, 1 << 63, 5 << 40, 1 << 40, 512 * MIB])
def test_a_length_that_no_file_has_is_not_fetched(tmp_path: Path, length: int) -> None:
    """Nor is what follows it, but for the piece in which it was found."""
    with event_file(tmp_path).open("wb") as file:
        file.write(scalar(b"loss") + header(length))
        file.truncate(256 * MIB)
    runs, series, fetched = show(tmp_path, 64 * MIB, damaged=1)
    assert (runs, series) == (1, 1)
    assert fetched <= 9 * MIB


def test_a_gigantic_tag_is_damage_and_the_rest_is_shown(tmp_path: Path) -> None:
    event_file(tmp_path).write_bytes(scalar(b"t" * (32 * MIB)) + scalar(b"loss"))
    assert show(tmp_path, 6 * 32 * MIB, damaged=1)[:2] == (1, 1)


def test_deeply_nested_messages_are_no_events_and_no_burden(tmp_path: Path) -> None:
    nested = b""
    for _ in range(20_000):
        nested = delimited(8, nested)  # a tensor in a value; inside, fields that nobody knows
    deep = framed(delimited(5, delimited(1, delimited(1, b"deep") + delimited(8, nested))))
    groups = framed(b"\x0b" * 1_000_000)
    event_file(tmp_path).write_bytes(deep + groups + scalar(b"loss"))
    runs, series, _ = show(tmp_path, 128 * MIB, damaged=1)
    assert runs == 1
    assert 1 <= series <= 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_million_tags(tmp_path: Path) -> None:
    event_file(tmp_path).write_bytes(b"".join(scalar(b"tag/%d" % number) for number in range(1_000_000)))
    assert show(tmp_path, 2048 * MIB)[:2] == (1, 1_000_000)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_runs(tmp_path: Path) -> None:
    body = scalar(b"loss")
    for number in range(100_000):
        event_file(tmp_path, f"{number // 1000}/{number}").write_bytes(body)
    assert show(tmp_path, 1024 * MIB)[:2] == (100_000, 100_000)
