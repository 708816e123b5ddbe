"""Trainers killed at any moment, started again in the same run and spool, recovered after five deaths."""

from __future__ import annotations

import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bucketboard import recover
from bucketboard.testing import Fault, FaultKind, Server
from promised import Place, place, steps
from reliable.moments import Moments
from reliable.table import Table

LIVES = 5
NURSERY = """
import os, random, signal, sys, threading, time
import boto3, google_crc32c, numpy  # once, so that a trainer begins as soon as it is forked
from bucketboard import EventFileWriter
from promised import blob

def train(url, spool, step, large):
    writer = EventFileWriter(url, spool=spool, upload_every=0.02, roll_size=1 << (24 if large else 18))
    held = [0, 0]  # nanoseconds in the slowest append, in the slowest flush
    while True:
        for _ in range(50):
            begun = time.perf_counter_ns()
            writer.add_scalar("loss", step, step, 1e9)
            held[0] = max(held[0], time.perf_counter_ns() - begun)
            step += 1
        if large:
            writer.add_event(blob(step, 300_000))
            step += 1
            time.sleep(0.01)
        begun = time.perf_counter_ns()
        writer.flush()
        held[1] = max(held[1], time.perf_counter_ns() - begun)
        os.write(1, b"%d %d %d\\n" % (step, *held))   # steps below this one are flushed

for line in sys.stdin:
    url, spool, first, large = line.split()
    pid = os.fork()
    if not pid:
        train(url, spool, int(first), large == "large")
    os.write(1, b"pid %d\\n" % pid)
    os.waitpid(pid, 0)
    os.write(1, b"dead\\n")
"""


class Nursery:
    """Bears trainers: a process with everything imported, which forks one at a time."""

    def __init__(self, environ: dict[str, str], table: Table) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            text=True,
        )
        self._table = table
        self._born: queue.Queue[int] = queue.Queue()
        self._dead: queue.Queue[int] = queue.Queue()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        flushed, held = -1, [0, 0]
        for line in self._process.stdout:
            words = line.split()
            if words[0] == "pid":
                flushed = -1
                self._born.put(int(words[1]))
            elif words[0] == "dead":
                self._dead.put(flushed)
            else:
                flushed, *held = map(int, words)
                self._table.most("held up: add_scalar while it is killed, ms", held[0] / 1e6)
                self._table.most("held up: flush to the spool, ms", held[1] / 1e6)

    def life(self, url: str, spool: Path, first: int, large: bool, moments: Moments) -> int:
        """A trainer that logs from step ``first`` on until it is killed; the step it has flushed up to."""
        assert self._process.stdin is not None
        held = moments.prepare(large=large)
        self._process.stdin.write(f"{url} {spool} {first} {'large' if large else 'small'}\n")
        self._process.stdin.flush()
        pid = self._born.get(timeout=60)
        moments.wait(held, 0.4)
        os.kill(pid, signal.SIGKILL)
        flushed = self._dead.get(timeout=60)
        moments.over(held)
        return max(first, flushed)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._thread.join()


def recovered(spool: Path, table: Table) -> None:
    """Send what the dead have left, again where it took too long; the kernel lets go of their locks a moment
    after their death."""
    deadline = time.monotonic() + 180
    while True:
        results = recover(spool, wait=60)
        if all(each.state == "sent" for each in results) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    table.check(all(each.state == "sent" for each in results), f"not recovered: {results}")


def unharmed(there: Place, key: str) -> bytes:
    """What stands before the torn end of an event file whose object is marked as such."""
    damaged = there.head(key)["Metadata"].get("bucketboard-damaged")
    return there.get(key)[: None if damaged is None else int(damaged)]


def in_order(there: Place, name: str, flushed: int, table: Table, *, foreign: bool = False) -> None:
    """Whether all that was flushed is below ``name``, whole, and each event file has its steps in order.

    A ``foreign`` writer's file is empty where it was killed before its first record; ours are not there then.
    """
    stored = {key: unharmed(there, key) for key in there.event_keys(name)}
    for key, data in stored.items():
        table.check(bool(data) or foreign, f"{key} is empty")
    found = [order for data in stored.values() if data and (order := steps(data))]
    for order in found:
        table.check(order == list(range(order[0], order[0] + len(order))), f"{name}: out of order")
    lost = set(range(flushed)).difference(*found)
    table.add("kills: records flushed before", flushed)
    table.add("kills: records lost", len(lost))
    table.check(not lost, f"{name}: {len(lost)} flushed records lost")


def clean(there: Place, spool: Path, table: Table) -> None:
    """Whether nothing is left behind, in the bucket or in the spool."""
    left = there.uploads()
    kept = [path.name for path in spool.rglob("*") if path.is_file() and path.stat().st_size]
    table.add("kills: uploads left behind", len(left))
    table.add("kills: spooled files left behind", len(kept))  # empty ones were never begun
    table.check(not left, f"uploads are left: {left}")
    table.check(not kept, f"left in the spool: {kept}")


FAULTS = (
    Fault(FaultKind.STATUS, probability=0.03),
    Fault(FaultKind.RESET, probability=0.01),
    Fault(FaultKind.LOST_REPLY, probability=0.03),
)


def kill_trainers(server: Server, seed: str, number: int, deadline: float) -> Table:
    """Through a network that fails, until ``number`` are dead or time is over."""
    table, chance = Table(), random.Random(f"trainers {seed}")
    with place(server, seed=chance.randrange(1 << 30)) as there, tempfile.TemporaryDirectory() as directory:
        injected = [there.proxy.inject(fault) for fault in FAULTS]
        spool, moments = Path(directory) / "spool", Moments(there, chance)
        nursery, done, run = Nursery(there.environ(), table), 0, 0
        try:
            while done < number and time.monotonic() < deadline:
                name, flushed, large = f"exp/run{run}/", 0, run % 4 == 3
                for _ in range(min(LIVES, number - done)):  # as a job that is killed and started again
                    flushed = nursery.life(f"s3://{there.bucket}/{name}", spool, flushed, large, moments)
                    done += 1
                moments.end()
                recovered(spool, table)
                in_order(there, name, flushed, table)
                run += 1
        finally:
            nursery.close()
        table.add("kills: trainers", done)
        table.add("kills: of all these, in a certain request", moments.in_requests)
        clean(there, spool, table)
        table.faults(injected)
    return table
