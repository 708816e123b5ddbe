"""Stock TensorBoard on a copy that a pull keeps up to date."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bucketboard import EventFileWriter
from bucketboard.testing import Server


def until(condition: Callable[[], bool], process: subprocess.Popen[Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def environ(server: Server) -> dict[str, str]:
    return {**os.environ, **server.environ()}


def follow(url: str, target: Path, environ: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bucketboard", "pull", url, str(target), "--watch", "--interval", "0.1"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_reader_that_keeps_its_place_sees_all_points_of_all_files(
    server: Server, bucket: tuple[Any, str], tmp_path: Path, environ: dict[str, str]
) -> None:
    target = tmp_path / "target"
    url = f"s3://{bucket[1]}/exp"
    process = follow(url, target, environ)
    options: dict[str, Any] = {"endpoint_url": server.endpoint, "spool": None, "upload_every": 0.01}
    step, reader = 0, None
    for _ in range(3):  # each writer begins another file of the run
        writer = EventFileWriter(f"{url}/run", **options)
        for _ in range(4):
            for _ in range(50):
                writer.add_scalar("loss", step / 2, step, 1e9 + step)
                step += 1
            writer.sync(30)
            until((target / "run").is_dir, process)
            reader = reader or EventAccumulator(str(target / "run"), size_guidance={"scalars": 0})

            def seen(reader: Any = reader) -> list[int]:
                reader.Reload()
                tags = reader.Tags()["scalars"]
                return [event.step for event in reader.Scalars("loss")] if tags else []

            until(lambda: len(seen()) >= step, process)  # noqa: B023 - asked here and now
            assert seen() == list(range(step))
        writer.close()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out.startswith("pulled ")
    assert err == ""
    assert len(list((target / "run").iterdir())) == 3


def test_stock_tensorboard_on_the_copy_stays_live(
    server: Server, bucket: tuple[Any, str], tmp_path: Path, environ: dict[str, str]
) -> None:
    target = tmp_path / "target"
    url = f"s3://{bucket[1]}/exp"
    writer = EventFileWriter(f"{url}/run", endpoint_url=server.endpoint, spool=None, upload_every=0.01)
    writer.add_scalar("loss", 0.0, 0, 1e9)
    writer.sync(30)
    process = follow(url, target, environ)
    until((target / "run").is_dir, process)
    board = subprocess.Popen(
        [
            *(sys.executable, "-m", "tensorboard.main", "--logdir", str(target), "--port", "0"),
            *("--reload_interval", "1", "--load_fast", "false"),
        ],
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert board.stderr is not None
        address = next(word for line in board.stderr for word in line.split() if word.startswith("http://"))
        asked = f"{address}data/plugin/scalars/scalars?run=run&tag=loss"

        def shown() -> list[int]:
            try:
                with urllib.request.urlopen(asked, timeout=30) as answer:
                    return [int(point[1]) for point in json.load(answer)]
            except urllib.error.HTTPError:  # not loaded yet
                return []

        until(lambda: shown() == [0], board)
        for step in range(1, 4):
            writer.add_scalar("loss", step / 2, step, 1e9 + step)
            writer.sync(30)
            until(lambda: shown() == list(range(step + 1)), board)  # noqa: B023 - asked here and now
    finally:
        board.terminate()
        board.communicate(timeout=30)
        writer.close()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
