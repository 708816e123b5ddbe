"""Whether it can be trusted with the only copy: a model, kills, faults, load, and a table of what was lost.

    python bench/reliability.py [--seconds 300] [--kills 500] [--examples 2000] [--seed 0] [--json FILE]

Ends with status 1 if anything was lost, torn, left behind or out of order. Times are the boxes of the parts,
and the longest that a call of a training loop took.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

THREADS = 16
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "replication")]

os.environ |= {
    "AWS_ACCESS_KEY_ID": "bucketboard",
    "AWS_SECRET_ACCESS_KEY": "bucketboard-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_PROXY": "127.0.0.1,localhost",
}

from bucketboard import EventFileWriter, recover  # noqa: E402
from bucketboard.testing import Fault, FaultKind, Server, answers, seaweedfs  # noqa: E402
from promised import place, steps  # noqa: E402

NURSERY = """
import os, random, signal, sys, threading
import boto3, google_crc32c, numpy  # once, so that a trainer begins as soon as it is forked
from bucketboard import EventFileWriter

def train(url, spool, first):
    writer = EventFileWriter(url, spool=spool, upload_every=0.02, roll_size=1 << 18)
    step = first
    while True:
        for _ in range(50):
            writer.add_scalar("loss", step, step, 1e9)
            step += 1
        writer.flush()
        os.write(1, b"%d\\n" % step)   # steps below this one are flushed

for line in sys.stdin:
    url, spool, first = line.split()
    pid = os.fork()
    if not pid:
        train(url, spool, int(first))
    os.write(1, b"pid %d\\n" % pid)
    os.waitpid(pid, 0)
    os.write(1, b"dead\\n")
"""


class Table:
    """What was done and what was found; numbers only."""

    def __init__(self) -> None:
        self.rows: dict[str, float] = {}
        self.wrong: list[str] = []

    def add(self, what: str, number: float = 1) -> None:
        self.rows[what] = self.rows.get(what, 0) + number

    def most(self, what: str, number: float) -> None:
        self.rows[what] = max(self.rows.get(what, 0), number)

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)

    def show(self) -> str:
        width = max(map(len, self.rows))
        lines = [f"{what:<{width}}  {number:>12,.6g}" for what, number in self.rows.items()]
        return "\n".join([*lines, *(f"WRONG: {each}" for each in self.wrong)])


def model(table: Table, examples: int) -> None:
    """The state machine of tests/replication."""
    import pytest

    os.environ["MODEL_EXAMPLES"] = str(examples)
    status = pytest.main(
        [
            *("-q", "-p", "no:cacheprovider", "-n", "0", "-o", "addopts=", "--timeout=0", "-m", "slow"),
            *(str(ROOT / "tests/replication/test_uploader_model.py"), "--rootdir", str(ROOT)),
        ]
    )
    table.check(status == 0, "the model failed, see above")
    from test_uploader_model import TALLY

    for name, number in sorted(TALLY.items()):
        table.add(f"model: {name}", number)


class Nursery:
    """Bears trainers: a process with everything imported, which forks one at a time."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            text=True,
        )
        self._born: queue.Queue[int] = queue.Queue()
        self._dead: queue.Queue[int] = queue.Queue()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        flushed = -1
        for line in self._process.stdout:
            word, _, pid = line.strip().partition(" ")
            if word == "pid":
                flushed = -1
                self._born.put(int(pid))
            elif word == "dead":
                self._dead.put(flushed)
            else:
                flushed = int(word)

    def life(self, url: str, spool: Path, first: int, seconds: float) -> int:
        """A trainer that logs from step ``first`` on until it is killed; the step it has flushed up to."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{url} {spool} {first}\n")
        self._process.stdin.flush()
        pid = self._born.get(timeout=60)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        return max(first, self._dead.get(timeout=60))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._thread.join()


def kills(table: Table, server: Server, seed: int, number: int, seconds: float) -> None:
    """Trainers killed at random moments, started again in the same run and spool, recovered now and then."""
    chance = random.Random(seed)
    deadline = time.monotonic() + seconds
    with place(server, seed=seed) as there, tempfile.TemporaryDirectory() as directory:
        injected = [
            there.proxy.inject(Fault(kind, probability=probability))
            for kind, probability in (
                (FaultKind.STATUS, 0.03),
                (FaultKind.RESET, 0.01),
                (FaultKind.LOST_REPLY, 0.03),
            )
        ]
        spool, nursery, done = Path(directory) / "spool", Nursery(there.environ()), 0
        run = 0
        try:
            while done < number and time.monotonic() < deadline:
                name, flushed = f"exp/run{run}/", 0
                for _ in range(5):  # as a job that is killed and started again
                    url = f"s3://{there.bucket}/{name}"
                    flushed = nursery.life(url, spool, flushed, chance.random() * 0.4)
                    done += 1
                results = recover(spool, wait=60)
                table.check(all(each.state == "sent" for each in results), f"not recovered: {results}")
                found = [steps(data) for data in there.files(name)]
                for order in found:
                    table.check(
                        order == list(range(order[0], order[0] + len(order))), f"{name}: out of order"
                    )
                lost = set(range(flushed)).difference(*found)
                table.add("kills: records flushed", flushed)
                table.add("kills: records lost", len(lost))
                table.check(not lost, f"{name}: {len(lost)} flushed records lost")
                run += 1
        finally:
            nursery.close()
        left = len(there.uploads())
        table.add("kills: trainers killed", done)
        table.add("kills: uploads left", left)
        table.check(not left, "uploads are left after kills")
        kept = [path.name for path in spool.iterdir() if path.stat().st_size]  # others were never begun
        table.check(not kept, f"left in the spool: {kept}")
        for injection in injected:
            table.add(f"faults: {injection.fault.kind.value}", injection.fired)


def soak(table: Table, server: Server, seed: int, seconds: float, writers: int, uploads: int) -> None:
    """Many writers that upload as often as the server can take it, through faults; what they hold stays."""
    with place(server, seed=seed) as there:
        injected = [
            there.proxy.inject(Fault(kind, probability=0.01))
            for kind in (
                FaultKind.STATUS,
                FaultKind.RESET,
                FaultKind.LOST_REPLY,
                FaultKind.TRUNCATE,
            )
        ]
        injected.append(there.proxy.inject(answers.conditional_conflict(probability=0.01)))
        open_writers = [
            EventFileWriter(
                f"s3://{there.bucket}/exp/run{number}",
                spool=None,
                endpoint_url=there.proxy.url,
                roll_size=1 << 16,
                on_error=lambda error: errors.update([type(error).__name__]),
            )
            for number in range(writers)
        ]
        errors: Counter[str] = Counter()
        longest = [0.0] * THREADS
        rounds = [0] * writers
        deadline = time.monotonic() + seconds
        held: list[dict[str, int]] = []

        def train(thread: int) -> None:
            while time.monotonic() < deadline:
                for number in range(thread, writers, THREADS):
                    if rounds[number] >= uploads or time.monotonic() > deadline:
                        continue
                    writer, step = open_writers[number], rounds[number] * 20
                    for further in range(20):
                        begun = time.perf_counter()
                        writer.add_scalar("loss", 1.0, step + further, 1e9)
                        longest[thread] = max(longest[thread], time.perf_counter() - begun)
                    writer.sync(120)
                    rounds[number] += 1
                if min(rounds) >= uploads:
                    return

        threads = [threading.Thread(target=train, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        time.sleep(seconds * 0.3)
        held.append(holding())
        for thread in threads:
            thread.join()
        held.append(holding())
        there.proxy.clear()
        for writer in open_writers:
            writer.begin_close()
        for writer in open_writers:
            writer.end_close(60)
        for number in range(writers):
            found = there.steps(f"exp/run{number}/")
            lost = rounds[number] * 20 - len(found)
            table.add("soak: records lost", lost)
            table.check(found == list(range(rounds[number] * 20)), f"run{number}: not what was logged")
        counts = there.proxy.counts
        table.add("soak: writers", writers)
        table.add("soak: uploads", sum(rounds))
        table.add("soak: requests", counts.total.requests)
        table.add("soak: records logged", sum(rounds) * 20)
        for what in held[0]:
            table.add(f"soak: {what}, at 30 %", held[0][what])
            table.add(f"soak: {what}, at the end", held[1][what])
        table.most("soak: longest add_scalar, ms", max(longest) * 1000)
        for injection in injected:
            conflict = injection.fault.status == 409
            table.add(f"faults: {'409' if conflict else injection.fault.kind.value}", injection.fired)
        table.check(held[1]["threads"] <= held[0]["threads"] + 2, "threads grow")
        table.check(held[1]["descriptors"] <= held[0]["descriptors"] + 70, "descriptors grow")
        table.check(held[1]["MiB"] <= held[0]["MiB"] * 1.25 + 16, "memory grows")
        table.check(not errors.keys() & {"FencedError", "DroppedError", "InvalidError"}, f"{errors}")


def holding() -> dict[str, int]:
    """What this process holds, the proxy's part included."""
    text = Path("/proc/self/status").read_text()
    resident = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS"))
    return {
        "MiB": resident >> 10,
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=300, help="for kills and load; the model takes its time"
    )
    parser.add_argument("--kills", type=int, default=500, help="as far as time allows")
    parser.add_argument("--examples", type=int, default=2000, help="of the model")
    parser.add_argument("--writers", type=int, default=100)
    parser.add_argument("--uploads", type=int, default=500, help="of each writer, as far as time allows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="write the table there too")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    table = Table()
    with seaweedfs() as server:
        kills(table, server, options.seed, options.kills, options.seconds * 0.6)
        print(table.show(), flush=True)
        soak(table, server, options.seed, options.seconds * 0.4, options.writers, options.uploads)
    print(table.show(), flush=True)
    model(table, options.examples)
    print(table.show())
    if options.json:
        Path(options.json).write_text(json.dumps({"rows": table.rows, "wrong": table.wrong}, indent=1))
    return 1 if table.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
