"""The README's first steps, as they are written there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from bucketboard.testing import moto

README = Path(__file__).parents[2] / "README.md"


def test_the_quick_start_works_as_written() -> None:
    (script,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    command, *_ = re.findall(
        r"^bucketboard (serve s3://\S+)(?: +#.*)?$", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    with moto() as server:
        server.client().create_bucket(Bucket="my-bucket")
        environ = {**os.environ, **server.environ()}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        board = subprocess.Popen(
            [sys.executable, "-m", "bucketboard", *command.split(), "--port", "0"],
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert board.stdout is not None
            url = board.stdout.readline().strip()
            deadline = time.monotonic() + 60
            points: list[list[float]] = []
            while len(points) < 1000:
                assert time.monotonic() < deadline, points
                time.sleep(0.05)
                with urllib.request.urlopen(f"{url}data/plugin/scalars/tags", timeout=30) as answer:
                    if "loss" not in json.load(answer).get("run1", {}):
                        continue
                question = f"{url}data/plugin/scalars/scalars?run=run1&tag=loss"
                with urllib.request.urlopen(question, timeout=30) as answer:
                    points = json.load(answer)
            assert [step for _, step, _ in points] == list(range(1000))
        finally:
            board.terminate()
            assert board.wait(30) == 0
            board.stdout.close()
