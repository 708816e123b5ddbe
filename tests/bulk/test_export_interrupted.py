"""An export that is interrupted while processes are at it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bucketboard
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame


@pytest.mark.slow
def test_an_interrupted_export_leaves_no_half_file_and_goes_on(tmp_path: Path) -> None:
    encoder = ScalarEncoder()
    records = [encoder.record("loss", step / 3, step, 1e9 + step) for step in range(200_000)]
    body = frame(file_version_event(1e9)) + b"".join(records)
    for run in range(6):
        directory = tmp_path / "logs" / f"run{run}"
        directory.mkdir(parents=True)
        (directory / "events.out.tfevents.1.host.1.0").write_bytes(body)
    out = tmp_path / "out"
    command = ["export", str(tmp_path / "logs"), str(out), "--format", "jsonl", "--workers", "2"]
    environ = {**os.environ, "PYTHONPATH": str(Path(bucketboard.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-m", "bucketboard", *command],
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("scalars/*/.new-*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 130
    assert list(out.glob("scalars/*/.new-*")) == []
    report = bucketboard.export(tmp_path / "logs", out, format="jsonl")
    assert report.complete
    assert len(report.exported) + len(report.unchanged) == 6
    sizes = {path.stat().st_size for path in out.glob("scalars/run=*/data.jsonl")}
    assert len(sizes) == 1, "all runs are as long as they should be"
