"""`bucketboard run` and `bucketboard sync` killed at any moment, and what they supervise and send."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bucketboard.testing import Server
from promised import MIB, Place, framed, place, records
from reliable.moments import Moments
from reliable.table import Table
from reliable.trainers import FAULTS, LIVES, clean, in_order, recovered, unharmed

COMMAND = """
import os, sys, time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter as Stock
from bucketboard import EventFileWriter

print(os.getpid(), flush=True)
local, direct = Stock(sys.argv[1]), EventFileWriter(sys.argv[2], upload_every=0.05)
step = int(sys.argv[3])
while True:
    for _ in range(20):
        summary = Summary(value=[Summary.Value(tag="loss", simple_value=step)])
        local.add_event(Event(wall_time=1e9, step=step, summary=summary))
        direct.add_scalar("loss", step, step, 1e9)
        step += 1
    local.flush()
    direct.flush()
    print(step, flush=True)   # steps below this one are flushed
    time.sleep(0.005)
"""


def sync(there: Place, root: Path, *options: str) -> list[str]:
    return [*(sys.executable, "-m", "bucketboard", "sync", str(root), f"s3://{there.bucket}/exp"), *options]


def synced(there: Place, root: Path, environ: dict[str, str], table: Table) -> None:
    """One more sync makes the bucket equal to the directory, and leaves nothing behind."""
    done = subprocess.run(sync(there, root), env=environ, capture_output=True, text=True)
    table.check(done.returncode == 0, f"sync: {done.stdout}{done.stderr}")
    for path in filter(Path.is_file, root.rglob("*")):
        data, name = path.read_bytes(), path.relative_to(root).as_posix()
        same = there.keys(f"exp/{name}")[:1] == [f"exp/{name}"] and there.get(f"exp/{name}") == data
        table.add("kills: files synced", 1)
        table.add("kills: files that differ", not same)
        table.check(same, f"{name} differs from its object")


def whole(there: Place, table: Table) -> None:
    """No event file in the bucket is torn, whatever has just died, but those that are marked as such."""
    for key in there.event_keys():
        try:
            list(records(unharmed(there, key)))
        except AssertionError as torn:
            table.check(False, f"{key}: {torn}")
        table.add("kills: objects looked at after a death")


class Growing:
    """A directory that frameworks write to, while it is open."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self._root = root
        self._chance = random.Random(chance.random())
        self._over = threading.Event()
        for number in range(4):
            self._file(f"run{number}", self._chance.choice([1000, 100_000, 7 * MIB]))
        self._thread = threading.Thread(target=self._grow)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _file(self, run: str, size: int) -> None:
        path = self._root / run / f"events.out.tfevents.{1 + self._chance.randrange(10**6):010d}.host"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(framed(b"\x1a\x0dbrain.Event:2") + framed(self._chance.randbytes(size)))

    def _grow(self) -> None:
        while not self._over.wait(0.1):
            for path in self._root.rglob("*tfevents*"):
                if self._chance.random() < 0.2 and path.stat().st_size < 12 * MIB:
                    with path.open("ab") as file:
                        file.write(framed(self._chance.randbytes(self._chance.choice([100, 50_000, MIB]))))
            if self._chance.random() < 0.1:
                self._file(f"run{self._chance.randrange(8)}", self._chance.choice([100, 40_000]))
            if self._chance.random() < 0.05:
                (self._root / "run0/model.ckpt").write_bytes(self._chance.randbytes(100_000))


def kill_syncs(server: Server, seed: str, number: int, deadline: float) -> Table:
    """While the directory grows; now and then the next one is left to finish."""
    table, chance = Table(), random.Random(f"sync {seed}")
    with place(server, seed=chance.randrange(1 << 30)) as there, tempfile.TemporaryDirectory() as directory:
        injected = [there.proxy.inject(fault) for fault in FAULTS]
        moments, done, tree = Moments(there, chance), 0, 0
        environ = {**there.environ(), "XDG_CACHE_HOME": f"{directory}/cache"}
        while done < number and time.monotonic() < deadline:
            root = Path(directory) / f"tree{tree}"
            with contextlib.closing(Growing(root, chance)):
                for _ in range(min(LIVES, number - done)):
                    live = ("--watch", "--upload-every", "0.05") if chance.random() < 0.7 else ()
                    held = moments.prepare(large=True)
                    process = subprocess.Popen(
                        sync(there, root, *live),
                        env=environ,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                    moments.wait(held, 2.0)
                    done += process.poll() is None
                    process.kill()
                    process.wait()
                    moments.over(held)
            moments.end()
            whole(there, table)
            synced(there, root, environ, table)
            for key in there.keys("exp/"):
                there.client.delete_object(Bucket=there.bucket, Key=key)
            tree += 1
        table.add("kills: `sync`", done)
        table.add("kills: of all these, in a certain request", moments.in_requests)
        clean(there, Path(directory) / "none", table)
        table.faults(injected)
    return table


class Supervised:
    """A `bucketboard run` and its command; the one, the other or both die."""

    def __init__(self, there: Place, root: Path, name: str, first: int, environ: dict[str, str]) -> None:
        command = [sys.executable, "-c", COMMAND, str(root / name), f"s3://{there.bucket}/direct/{name}"]
        run = ["run", f"s3://{there.bucket}/exp", "--logdir", str(root), "--upload-every", "0.05", "--"]
        self._first = first
        self._told = root.parent / "told"
        with self._told.open("w") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bucketboard", *run, *command, str(first)],
                env=environ,
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
            )
        self._lines: list[str] = []
        self._said = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:  # until run and command are dead
            self._lines.append(line)
            self._said.set()
        self._said.set()

    def wait_for_command(self) -> bool:
        """Whether it has begun."""
        self._said.wait(60)
        return bool(self._lines)

    def kill_command(self) -> None:
        if self._lines:
            with contextlib.suppress(ProcessLookupError):  # `run` ended it
                os.kill(int(self._lines[0]), signal.SIGKILL)

    @property
    def told(self) -> str:
        """What was said on standard error."""
        return self._told.read_text()

    def end(self) -> int:
        """When all are dead: the step up to which the command has flushed."""
        self._reader.join()
        self.process.wait()
        whole_lines = [line for line in self._lines if line.endswith("\n")]
        return max(self._first, int(whole_lines[-1])) if len(whole_lines) > 1 else self._first


def kill_runs(server: Server, seed: str, number: int, deadline: float) -> Table:
    """The supervisor (its command goes on, and dies later), the command (it is drained), or both at once."""
    table, chance = Table(), random.Random(f"run {seed}")
    with place(server, seed=chance.randrange(1 << 30)) as there, tempfile.TemporaryDirectory() as directory:
        injected = [there.proxy.inject(fault) for fault in FAULTS]
        root, state = Path(directory) / "runs", Path(directory) / "state"
        moments, done, run = Moments(there, chance), 0, 0
        environ = {**there.environ(), "XDG_STATE_HOME": str(state), "XDG_CACHE_HOME": f"{directory}/cache"}
        while done < number and time.monotonic() < deadline:
            flushed = 0
            for _ in range(min(LIVES, number - done)):
                held = moments.prepare(large=False)
                life = Supervised(there, root, f"run{run}", flushed, environ)
                begun = chance.random() < 0.9 and life.wait_for_command()
                moments.wait(held, 1.0)
                if begun and held is None and chance.random() < 0.25:
                    life.kill_command()
                    life.end()
                    drained = life.process.returncode == 137 and "is complete" in life.told
                    table.check(drained, f"run of a killed command: {life.process.returncode} {life.told}")
                    table.add("kills: commands under `run`")
                else:
                    life.process.kill()
                    life.wait_for_command()
                    time.sleep(chance.choice([0, 0.1]))
                    life.kill_command()
                    table.add("kills: `run`")
                flushed = life.end()
                done += 1
                moments.over(held)
            moments.end()
            whole(there, table)
            recovered(state / "bucketboard" / "spool", table)
            synced(there, root, environ, table)
            for prefix in ("exp", "direct"):
                in_order(there, f"{prefix}/run{run}/", flushed, table, foreign=prefix == "exp")
            run += 1
        table.add("kills: of all these, in a certain request", moments.in_requests)
        clean(there, state, table)
        table.faults(injected)
    return table
