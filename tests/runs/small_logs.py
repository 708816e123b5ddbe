"""Small runs with a summary of every kind, in a directory or in a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: F401  whoever imports it gets its builders, whatever ran before

from bucketboard import SummaryWriter

STEPS = 6


def log(directory: Path, run: str, first: int = 0, last: int = STEPS, suffix: str = "") -> Path:
    """An event file of run ``run`` with steps ``first`` to ``last``; gives its path."""
    draw = np.random.default_rng(first)
    target = directory / run
    with SummaryWriter(str(target), filename_suffix=suffix) as writer:
        for step in range(first, last):
            at = {"global_step": step, "walltime": 1e9 + step}
            writer.add_scalar("loss/train", step / 3, **at)
            writer.add_scalar("loss/odd", [float("nan"), float("inf"), -1.5][step % 3], **at)
            writer.add_histogram("weights", draw.normal(size=50), **at)
            writer.add_image("picture", draw.random((3, 9, 9)), **at)
            writer.add_text("note", f"step {step} ü", **at)
            writer.add_pr_curve("curve", draw.integers(0, 2, 20), draw.random(20), num_thresholds=4, **at)
        writer.add_audio("sound", draw.uniform(-1, 1, (100, 1)), first, sample_rate=8000, walltime=1e9)
        # Beyond what an index keeps of short events.
        writer.add_image("large", draw.random((3, 40, 40)), first, walltime=1e9)
        writer.add_hparams({"lr": 0.1 + first, "name": "adam", "bias": True}, {"final": 1.0}, run_name="hp")
    [path] = [each for each in target.glob("events*") if each.name.endswith(suffix)]
    return path


def upload(client: Any, bucket: str, directory: Path, prefix: str = "exp") -> None:
    """Put all files of a directory below a prefix."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(directory).as_posix()}"
            client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())


def event_file(*values: float, tag: str = "loss", first: int = 0) -> bytes:
    """An event file with one series of scalars."""
    from bucketboard.events.event import ScalarEncoder, file_version_event
    from bucketboard.events.record import frame

    encoder = ScalarEncoder()
    records = [encoder.record(tag, value, first + step, 1e9 + step) for step, value in enumerate(values)]
    return frame(file_version_event(1e9)) + b"".join(records)
