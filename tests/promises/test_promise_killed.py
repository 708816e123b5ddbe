"""SIGKILL, and forks."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bucketboard import recover
from bucketboard.testing import Fault, FaultKind
from promised import Place, first_record, framed, records, steps

VICTIM = """
import os, sys
from bucketboard import EventFileWriter
from promised import blob
spool = sys.argv[2] or None
pace, size = float(sys.argv[3]), int(sys.argv[4])
writer = EventFileWriter(sys.argv[1], spool=spool, upload_every=pace, roll_size=size)
step = 0
while True:
    for _ in range(200):
        writer.add_scalar("loss", step, step, 1e9)
        step += 1
    writer.add_event(blob(step, 20_000))
    step += 1
    writer.flush()
    print(step, flush=True)   # steps below this one are flushed
    if len(sys.argv) > 5:
        sys.stdin.readline()
"""


@pytest.mark.parametrize("seed", range(20))
def test_what_was_flushed_survives_sigkill(
    new_place: Callable[..., Place], tmp_path: Path, seed: int
) -> None:
    """Whenever it comes: the object is a valid prefix, recovery completes it, and once is enough."""
    chance = random.Random(seed)
    place = new_place(chance.choice(["seaweedfs", "moto"]))
    if seed % 3 == 0:
        place.proxy.inject(Fault(FaultKind.STATUS, probability=0.3))
        place.proxy.inject(Fault(FaultKind.LOST_REPLY, probability=0.1))
    spool = tmp_path / "spool"
    script = tmp_path / "victim.py"
    script.write_text(VICTIM)
    roll = chance.choice([1 << 18, 1 << 28])
    process = place.start(script, place.url, spool, 0.05, roll)
    assert process.stdout is not None
    flushed = 0
    for _ in range(chance.randrange(1, 300)):
        flushed = int(process.stdout.readline())
    process.kill()
    rest = process.stdout.read().split("\n")
    flushed = int(rest[-2]) if len(rest) > 1 else flushed
    process.wait()
    before = place.files()
    for data in before:
        list(records(data))
    place.proxy.clear()
    results = recover(spool, wait=60)
    assert {result.state for result in results} <= {"sent"}, results
    assert [path for path in spool.iterdir() if path.stat().st_size] == []  # at most a file never begun
    found = place.steps()
    assert found == list(range(len(found)))
    assert len(found) >= flushed
    after = place.files()
    assert all(new.startswith(old) for old, new in zip(before, after, strict=False))
    etags = [place.head(key)["ETag"] for key in place.event_keys()]
    states = [place.head(key)["Metadata"]["bucketboard-state"] for key in place.event_keys()]
    assert states == ["rolled"] * (len(states) - 1) + ["closed"]
    assert recover(spool) == []
    assert [place.head(key)["ETag"] for key in place.event_keys()] == etags
    assert place.uploads() == []


def test_memory_loses_what_was_not_acknowledged(new_place: Callable[..., Place], tmp_path: Path) -> None:
    place = new_place("seaweedfs")
    script = tmp_path / "victim.py"
    script.write_text(VICTIM.replace("20_000", "200"))
    process = place.start(script, place.url, "", 0.05, 1 << 28, "told", stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    flushed = uploads = acknowledged = 0
    while uploads < 3:
        place.event_keys()  # a request of our own between two bursts, so that they do not outrun the uploads
        process.stdin.write("\n")
        process.stdin.flush()
        assert len(place.keys()) <= 1  # slow enough that the log does not outgrow the memory it may take
        counts = place.proxy.counts
        now = sum(counts[name].statuses.get(200, 0) for name in ("PutObject", "CompleteMultipartUpload"))
        if now > uploads:
            uploads, acknowledged = now, len(place.steps())
        flushed = int(process.stdout.readline())
    process.kill()
    process.wait()
    found = place.steps()
    assert found == list(range(len(found)))
    assert acknowledged <= len(found) <= flushed + 201


def test_a_torn_end_of_a_spooled_file_is_left_out(new_place: Callable[..., Place], tmp_path: Path) -> None:
    """As a power cut, a full disk or a copy of a file being written leaves it."""
    place = new_place("seaweedfs")
    spool = tmp_path / "spool"
    script = tmp_path / "victim.py"
    script.write_text(VICTIM)
    place.proxy.down()
    process = place.start(script, place.url, spool, 0.05, 1 << 28, "told", stdin=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()
    place.proxy.up()
    [data] = spool.glob("*.tfevents")
    data.write_bytes(data.read_bytes()[:-7])
    [result] = recover(spool, wait=30)
    assert result.state == "sent"
    assert place.steps() == list(range(200))
    assert list(spool.iterdir()) == []


FORKING = """
import multiprocessing, os, sys, threading
from bucketboard import EventFileWriter

url, spool, how, whose, end = sys.argv[1], sys.argv[2] or None, *sys.argv[3:6]

def child(writer):
    if whose == "own":
        writer = EventFileWriter(url, spool=spool)
    for step in range(10_000, 12_000):
        writer.add_scalar("child", step, step, 1e9)
    if end == "close":
        writer.close()

writer = EventFileWriter(url, spool=spool, upload_every=0.02)
for step in range(1000):
    writer.add_scalar("parent", step, step, 1e9)
writer.sync(60)
for step in range(1000, 2000):
    writer.add_scalar("parent", step, step, 1e9)
    if step % 100 == 50:
        writer.flush()
if how == "fork":
    pid = os.fork()
    if not pid:
        child(writer)
        sys.exit(0)
else:
    process = multiprocessing.get_context("fork").Process(target=child, args=(writer,))
    process.start()
for step in range(2000, 3000):
    writer.add_scalar("parent", step, step, 1e9)
if how == "fork":
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
else:
    process.join()
    code = process.exitcode
writer.close()
sys.exit(code)
"""


@pytest.mark.parametrize("end", ["close", "exit"])
@pytest.mark.parametrize("whose", ["inherited", "own"])
@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
def test_parent_and_forked_child_both_log(
    new_place: Callable[..., Place], tmp_path: Path, how: str, whose: str, end: str, spool: Path | None
) -> None:
    place = new_place("seaweedfs")
    script = tmp_path / "forking.py"
    script.write_text(FORKING)
    done = place.run(script, place.url, spool or "", how, whose, end, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    found = sorted(steps(data) for data in place.files())
    assert found == [list(range(3000)), list(range(10_000, 12_000))]
    if spool:
        assert list(spool.iterdir()) == []


SILENT = """
import os, sys, threading
from bucketboard import EventFileWriter
writer = EventFileWriter(sys.argv[1], spool=sys.argv[2] or None)
writer.add_scalar("loss", 1, 1, 1e9)
writer.sync(30)
reader, sender = os.pipe()
pid = os.fork()
if not pid:
    writer.flush()
    writer.position
    os.write(sender, str(len(os.listdir("/proc/self/task"))).encode())
    sys.exit(0)
print(os.read(reader, 10).decode())
os.waitpid(pid, 0)
writer.close()
"""


def test_a_forked_child_that_never_logs_has_no_thread_of_ours(
    new_place: Callable[..., Place], tmp_path: Path, spool: Path | None
) -> None:
    place = new_place("moto")
    script = tmp_path / "silent.py"
    script.write_text(SILENT)
    done = place.run(script, place.url, spool or "")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1\n"
    assert place.steps() == [1]


def test_the_spool_names_no_secrets(new_place: Callable[..., Place], tmp_path: Path) -> None:
    place = new_place("moto")
    place.proxy.down()
    writer = place.writer(spool=tmp_path / "spool", close_timeout=0, metadata={"team": "vision"})
    writer.add_scalar("loss", 1, 1, 1e9)
    writer.close()
    [header] = (tmp_path / "spool").glob("*.json")
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
    text = header.read_text()
    assert place.server.secret_key not in text
    assert place.server.access_key not in json.dumps(json.loads(text)["settings"])
    place.proxy.up()
    assert [result.state for result in recover(tmp_path / "spool")] == ["sent"]
    data = place.only()
    assert data[first_record(data) :] == b"".join(map(framed, place.payloads()))
