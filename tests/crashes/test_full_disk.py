"""A disk that is full, or gets full: of the spool, of what sync remembers, of a supervised command."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bucketboard import recover
from promised import Place, framed

pytestmark = pytest.mark.slow
BUCKETBOARD = [sys.executable, "-m", "bucketboard"]
NAME = "events.out.tfevents.1700000000.host"
EVENTS = 30_000
"""More than the disk has room for."""
WRITER = """
import os, sys
from bucketboard import EventFileWriter
writer = EventFileWriter(sys.argv[1], upload_every=3600.0)
for step in range(int(sys.argv[2])):
    writer.add_scalar("loss", step, step, 1e9)
    if step % 1000 == 999:
        writer.flush()
print("flushed", flush=True)
sys.stdin.readline()
writer.close()
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=700", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only who may mount can make a disk full")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room at all."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return path


def writer(place: Place, tmp_path: Path, spool: Path, *arguments: object) -> subprocess.Popen[str]:
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    process = place.start(
        script,
        *(arguments or (place.url, EVENTS)),
        environ={"BUCKETBOARD_SPOOL": str(spool)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "flushed\n"
    return process


def test_a_writer_whose_disk_gets_full_stores_everything(
    new_place: Callable[..., Place], tmp_path: Path, disk: Path
) -> None:
    place = new_place("seaweedfs")
    place.proxy.down()
    process = writer(place, tmp_path, disk / "spool")
    [log] = (disk / "spool").glob("*.tfevents")
    assert 0 < log.stat().st_size < EVENTS * 30  # the rest is in memory
    place.proxy.up()
    process.communicate("\n", timeout=120)
    assert process.returncode == 0
    assert place.steps() == list(range(EVENTS))
    assert list((disk / "spool").iterdir()) == []


def test_a_writer_whose_disk_is_full_keeps_its_log_in_memory_and_says_so_once(
    new_place: Callable[..., Place], tmp_path: Path, disk: Path
) -> None:
    place = new_place("seaweedfs")
    (disk / "spool").mkdir(mode=0o700)
    fill(disk)
    process = writer(place, tmp_path, disk / "spool")
    _, err = process.communicate("\n", timeout=120)
    assert process.returncode == 0
    assert err.count("kept in memory") == 1
    assert "Traceback" not in err
    assert place.steps() == list(range(EVENTS))
    assert list((disk / "spool").iterdir()) == []


def test_of_a_writer_killed_on_a_full_disk_all_that_the_disk_took_is_recovered(
    new_place: Callable[..., Place], tmp_path: Path, disk: Path
) -> None:
    """A torn end holds nothing up, nor that there is no room to note anything."""
    place = new_place("seaweedfs")
    place.proxy.down()
    process = writer(place, tmp_path, disk / "spool")
    process.kill()
    process.communicate()
    [log] = (disk / "spool").glob("*.tfevents")
    size = log.stat().st_size
    place.proxy.up()
    [result] = recover(disk / "spool", wait=60)
    assert result.state == "sent"
    found = place.steps()
    assert found == list(range(len(found)))
    assert size - 64 < len(place.only()) <= size
    assert list((disk / "spool").iterdir()) == []


def test_sync_with_a_full_disk_sends_everything_and_says_once_that_nothing_is_remembered(
    new_place: Callable[..., Place], tmp_path: Path, disk: Path
) -> None:
    place = new_place("seaweedfs")
    path = tmp_path / "runs" / "a" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(framed(b"\x1a\x0dbrain.Event:2") + framed(os.urandom(1000)))
    fill(disk)
    environ = {**place.environ(), "XDG_CACHE_HOME": str(disk / "cache")}
    command = [*BUCKETBOARD, "sync", str(tmp_path / "runs"), f"s3://{place.bucket}/exp"]
    for sent in ("1 files sent", "nothing sent"):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert sent in done.stdout
        assert done.stderr.count("is not remembered") == 1
        assert "Traceback" not in done.stderr
    assert place.get(f"exp/a/{NAME}") == path.read_bytes()
    (disk / "filler").unlink()
    for _ in range(2):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
    assert list((disk / "cache").rglob("*.sqlite3"))


def test_run_with_a_full_disk_runs_the_command_and_sends_everything(
    new_place: Callable[..., Place], tmp_path: Path, disk: Path
) -> None:
    place = new_place("seaweedfs")
    fill(disk)
    script, runs = tmp_path / "writer.py", tmp_path / "runs"
    script.write_text(WRITER)
    runs.mkdir()
    (runs / NAME).write_bytes(framed(b"\x1a\x0dbrain.Event:2"))
    done = subprocess.run(
        [
            *(*BUCKETBOARD, "run", f"s3://{place.bucket}/exp", "--logdir", str(runs), "--"),
            *(sys.executable, str(script), f"s3://{place.bucket}/direct", "1000"),
        ],
        env={
            **{name: value for name, value in place.environ().items() if name != "BUCKETBOARD_SPOOL"},
            "XDG_STATE_HOME": str(disk / "state"),
            "XDG_CACHE_HOME": str(disk / "cache"),
        },
        input="\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("kept in memory") == 1
    assert place.get(f"exp/{NAME}") == (runs / NAME).read_bytes()
    assert place.steps("direct") == list(range(1000))
