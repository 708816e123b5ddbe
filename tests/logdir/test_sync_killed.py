"""SIGKILL of a replication at any moment: the next one finishes, and nothing is left behind."""

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
from logdirs import NAME, append, event_file, framed, in_bucket, on_disk, write

from promised import MIB, Place, records


def command(place: Place, root: Path, *arguments: str) -> list[str]:
    return [
        *(sys.executable, "-m", "bucketboard", "sync", str(root), f"s3://{place.bucket}/exp"),
        *("--endpoint-url", place.proxy.url, *arguments),
    ]


def change(root: Path, chance: random.Random) -> None:
    """What frameworks do to a directory between two looks at it."""
    for path in sorted(root.rglob("*tfevents*")):
        if chance.random() < 0.6:
            append(path, framed(chance.randbytes(chance.choice([100, 50_000, 3 * MIB]))))
    number = chance.randrange(100)
    write(root / f"run{number}" / NAME.format(1), event_file(chance.choice([100, 40_000, 6 * MIB])))
    write(root / "run0/model.ckpt", chance.randbytes(chance.choice([10, 35 * MIB])))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_killed_ten_times_and_finished(new_place: Callable[..., Place], tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    place = new_place(latency=0.005)
    root = tmp_path / "runs"
    for number in range(4):
        write(root / f"run{number}" / NAME.format(1), event_file(chance.choice([1000, 100_000, 7 * MIB])))
    environ = place.environ()
    for _ in range(10):
        change(root, chance)
        before = place.proxy.counts.total.requests
        target = before + chance.randrange(1, 40)
        process = subprocess.Popen(command(place, root), env=environ, stdout=subprocess.DEVNULL)
        while process.poll() is None and place.proxy.counts.total.requests < target:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for data in in_bucket(place).items():
            if "tfevents" in data[0]:
                list(records(data[1]))  # whole, at every moment
    done = subprocess.run(command(place, root), env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert in_bucket(place) == on_disk(root)
    assert place.uploads() == []
    sent = place.proxy.counts.total.bytes_sent
    done = subprocess.run(command(place, root), env=environ, capture_output=True, text=True)
    assert "nothing sent" in done.stdout
    assert place.proxy.counts.total.bytes_sent == sent


def test_uploads_that_were_left_are_found_without_the_cache(
    new_place: Callable[..., Place], tmp_path: Path
) -> None:
    place = new_place()
    root = tmp_path / "runs"
    path = write(root / "model.ckpt", os.urandom(40 * MIB))
    key = "exp/model.ckpt"
    place.client.create_multipart_upload(Bucket=place.bucket, Key=key)
    foreign = place.client.create_multipart_upload(Bucket=place.bucket, Key="exp/somebody-elses")
    done = subprocess.run(command(place, root), env=place.environ(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert place.get(key) == path.read_bytes()
    assert place.uploads() == ["exp/somebody-elses"]
    place.client.abort_multipart_upload(
        Bucket=place.bucket, Key="exp/somebody-elses", UploadId=foreign["UploadId"]
    )
