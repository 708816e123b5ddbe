"""Writes several runs at a time as a training does.

``many_runs.py torch|tensorflow DIRECTORY FIRST COUNT MEGABYTES``

Every third run stays small; the others grow to MEGABYTES.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Add = Callable[[int, bool], None]


def torch_run(directory: Path) -> tuple[Add, Callable[[], None]]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(directory), flush_secs=1)
    noise = np.random.default_rng(1)

    def add(step: int, heavy: bool) -> None:
        writer.add_scalar("loss", 1 / (step + 1), step)
        if heavy:
            writer.add_image("picture", noise.integers(0, 255, (3, 160, 160), dtype=np.uint8), step)
        writer.add_histogram("weights", noise.normal(size=100), step)

    return add, writer.close


def tensorflow_run(directory: Path) -> tuple[Add, Callable[[], None]]:
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(directory), flush_millis=1000)
    noise = np.random.default_rng(1)

    def add(step: int, heavy: bool) -> None:
        with writer.as_default(step):
            tf.summary.scalar("loss", 1 / (step + 1))
            if heavy:
                tf.summary.image("picture", noise.integers(0, 255, (1, 160, 160, 3), dtype=np.uint8))
            tf.summary.histogram("weights", noise.normal(size=100))

    return add, writer.close


def main() -> None:
    framework, root, first, count, megabytes = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])
    begin = {"torch": torch_run, "tensorflow": tensorflow_run}[framework]
    runs = [(number, *begin(root / f"{framework}{number}")) for number in range(first, first + count)]
    for step in range(megabytes * 13):  # a picture of noise has some 77 KB
        for number, add, _ in runs:
            if number % 3 or step < 20:
                add(step, bool(number % 3))
        time.sleep(0.01)
    for _, _, close in runs:
        close()


if __name__ == "__main__":
    main()
