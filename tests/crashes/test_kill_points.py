"""SIGKILL while one certain request is under way, before it arrives or never to be heard of again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bucketboard import recover
from bucketboard.testing import Fault, FaultKind
from bucketboard.testing.faults import Injection
from promised import MIB, Place, framed, records

TRAINER = """
import sys
from bucketboard import EventFileWriter
from promised import blob
writer = EventFileWriter(sys.argv[1], spool=sys.argv[2], upload_every=0.02)
for step in range(int(sys.argv[3])):
    writer.add_event(blob(step, 3 << 20))
    writer.flush()
    print(step, flush=True)   # it is flushed
    writer.sync(60)
"""
OPERATIONS = {
    "ListObjectsV2": 1,
    "PutObject": 2,
    "CreateMultipartUpload": 1,
    "UploadPartCopy": 1,
    "UploadPart": 1,
    "CompleteMultipartUpload": 2,
}
LATE = [name for name in OPERATIONS if name != "CreateMultipartUpload"]
"""What may arrive after everything is over, and do no harm; nobody could know of an upload begun then."""


def arrived(place: Place, held: Injection, before: int) -> None:
    """Let the request of the dead go on, and wait until the server has answered it."""
    held.remove()
    operation = str(held.fault.operation)
    deadline = time.monotonic() + 30
    while sum(place.proxy.counts[operation].statuses.values()) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answered(place: Place, operation: str) -> int:
    return sum(place.proxy.counts[operation].statuses.values())


@pytest.mark.parametrize(
    ("operation", "late"),
    [
        ("CompleteMultipartUpload", False),
        *(
            pytest.param(name, late, marks=pytest.mark.slow)
            for name in OPERATIONS
            for late in ([False, True] if name in LATE else [False])
            if (name, late) != ("CompleteMultipartUpload", False)
        ),
    ],
)
def test_a_trainer_killed_in_a_request(
    new_place: Callable[..., Place], tmp_path: Path, operation: str, late: bool
) -> None:
    """Nothing flushed is lost, and nothing is there twice, whenever its last request arrives."""
    place = new_place("seaweedfs")
    spool, script = tmp_path / "spool", tmp_path / "trainer.py"
    script.write_text(TRAINER)
    held = place.proxy.inject(Fault(FaultKind.HOLD, operation=operation, nth=OPERATIONS[operation]))
    process = place.start(script, place.url, spool, 1000)
    assert process.stdout is not None
    held.wait_fired(timeout=60)
    before = answered(place, operation)
    process.kill()
    flushed = int(process.stdout.read().split()[-1])
    process.wait()
    if not late:
        arrived(place, held, before)
    results = recover(spool, wait=60)
    assert {each.state for each in results} == {"sent"}, results
    if late:
        arrived(place, held, answered(place, operation))
    found = place.steps()
    assert found == list(range(len(found)))
    assert len(found) > flushed
    assert place.uploads() == []
    assert list(spool.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sync", "run"])
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "CreateMultipartUpload"])
def test_a_replication_killed_in_a_request(
    new_place: Callable[..., Place], tmp_path: Path, operation: str, command: str
) -> None:
    place = new_place("seaweedfs")
    root = tmp_path / "runs"
    (root / "a").mkdir(parents=True)
    path = root / "a" / "events.out.tfevents.1.host"
    chance = random.Random(operation)
    path.write_bytes(framed(b"\x1a\x0dbrain.Event:2") + framed(chance.randbytes(7 * MIB)))
    url = f"s3://{place.bucket}/exp"
    python = [sys.executable, "-m", "bucketboard"]
    sync = [*python, "sync", str(root), url]
    environ = {**place.environ(), "XDG_STATE_HOME": str(tmp_path / "state")}
    subprocess.run(sync, env=environ, check=True, capture_output=True)
    with path.open("ab") as file:
        file.write(framed(chance.randbytes(3 * MIB)))
    (root / "a" / "checkpoint").write_bytes(chance.randbytes(100))
    held = place.proxy.inject(Fault(FaultKind.HOLD, operation=operation, nth=1))
    idle = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    doomed = sync if command == "sync" else [*python, "run", url, "--logdir", str(root), "--", *idle]
    process = subprocess.Popen(doomed, env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    held.wait_fired(timeout=60)
    before = answered(place, operation)
    process.kill()
    process.communicate()
    arrived(place, held, before)
    for key in place.event_keys():
        list(records(place.get(key)))
    done = subprocess.run(sync, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stored = {key.removeprefix("exp/"): place.get(key) for key in place.keys("exp/")}
    assert stored == {str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*.*")} | {
        "a/checkpoint": (root / "a" / "checkpoint").read_bytes()
    }
    assert place.uploads() == []


def test_a_trainer_that_is_suspended_in_a_request(new_place: Callable[..., Place], tmp_path: Path) -> None:
    """Longer than the server waits for it: when it goes on, so do its uploads."""
    place = new_place("seaweedfs")
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER + "writer.close()\n")
    held = place.proxy.inject(Fault(FaultKind.HOLD, operation="PutObject", nth=2))
    process = place.start(script, place.url, tmp_path / "spool", 3)
    held.wait_fired(timeout=60)
    os.kill(process.pid, signal.SIGSTOP)
    place.proxy.down()  # its connections are gone when it wakes up
    held.remove()
    place.proxy.up()
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(timeout=60) == 0
    assert place.steps() == [0, 1, 2]
    assert place.uploads() == []


ENDS = {
    "os._exit": "os._exit(3)",
    "fork": "pid = os.fork()\nif not pid: os._exit(0)\nos.waitpid(pid, 0)\nos._exit(3)",
    "abort": "os.abort()",
    "exception": "raise SystemExit(3)",
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_a_trainer_that_ends_while_the_server_hangs(
    new_place: Callable[..., Place], tmp_path: Path, end: str
) -> None:
    """However it ends, at once or after its patience: what was flushed can be recovered."""
    place = new_place("seaweedfs")
    hung = place.proxy.inject(Fault(FaultKind.HANG))
    script = tmp_path / "ending.py"
    script.write_text(
        "import os, sys\nfrom bucketboard import EventFileWriter\n"
        "writer = EventFileWriter(sys.argv[1], spool=sys.argv[2], close_timeout=1)\n"
        "for step in range(1000): writer.add_scalar('loss', step, step, 1e9)\n"
        "writer.flush()\nprint('flushed', flush=True)\nsys.stdin.readline()\n" + ENDS[end] + "\n"
    )
    process = place.start(script, place.url, tmp_path / "spool", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    hung.wait_fired()
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(timeout=60) == (-signal.SIGABRT if end == "abort" else 3)
    hung.remove()
    assert {each.state for each in recover(tmp_path / "spool", wait=60)} == {"sent"}
    assert place.steps() == list(range(1000))
