"""SIGKILL of a training under ``bucketboard run``: what it wrote to its log directory is in the bucket."""

from __future__ import annotations

import random
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event

from bucketboard.testing import Fault, FaultKind
from promised import Place, first_record

PROGRAM = [sys.executable, "-m", "bucketboard"]
TRAINER = """
import os, sys
from promised import blob, framed
from tensorboard.compat.proto.event_pb2 import Event
os.makedirs("runs/a")
fd = os.open("runs/a/events.out.tfevents.1700000000.host.1.0", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(fd, framed(Event(wall_time=1e9, file_version="brain.Event:2").SerializeToString()))
print(os.getpid(), flush=True)
step = 0
while True:
    record = framed(blob(step, int(sys.argv[1])))
    half = len(record) // 2
    os.write(fd, record[:half])    # as buffered writers do: a record may be cut off anywhere
    os.write(fd, record[half:])
    print(step, flush=True)        # this record is whole
    step += 1
"""


@pytest.mark.parametrize("seed", range(4))
def test_the_last_whole_record_of_a_killed_training_is_stored(
    new_place: Callable[..., Place], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    place = new_place(["seaweedfs", "moto"][seed % 2])
    if seed > 1:
        place.proxy.inject(Fault(FaultKind.STATUS, operation="PutObject", probability=0.3))
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    url = f"s3://{place.bucket}/exp"
    training = [sys.executable, str(script), str(chance.choice([50, 20_000]))]
    process = subprocess.Popen(
        [*PROGRAM, "run", url, "--logdir", "runs", "--", *training],
        cwd=tmp_path,
        env={**place.environ(), "XDG_STATE_HOME": str(tmp_path / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    place.processes.append(process)
    assert process.stdout is not None
    trainer = int(process.stdout.readline())
    for _ in range(chance.randrange(1, 400)):
        written = int(process.stdout.readline())
    subprocess.run(["kill", "-KILL", str(trainer)], check=True)
    place.proxy.clear()
    out, err = process.communicate(timeout=60)
    whole = out.split("\n")[:-1]
    written = int(whole[-1]) if whole else written
    assert process.returncode == 128 + signal.SIGKILL, err
    assert "is complete" in err
    [key] = place.event_keys("exp/a/")
    local = (tmp_path / "runs" / "a" / Path(key).name).read_bytes()
    assert place.get(key) == local  # a torn end included: the file goes as it is
    found = whole_steps(local)
    assert found == list(range(len(found)))
    assert len(found) > written


def whole_steps(data: bytes) -> list[int]:
    """The steps of the whole records, whatever stands behind them."""
    offset, found = first_record(data), []
    while offset + 12 <= len(data):
        [length] = struct.unpack_from("<Q", data, offset)
        if offset + length + 16 > len(data):
            break
        found.append(Event.FromString(data[offset + 12 : offset + 12 + length]).step)
        offset += length + 16
    return found
