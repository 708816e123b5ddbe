"""A training of 1,000 short steps that logs and flushes at each, by a framework's own writer.

Prints the seconds of the steps; with --bare, of logging and flushing alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import bucketboard

STEPS = 1000


def torch(target: str) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(target)

    def step(number: int) -> None:
        writer.add_scalar("loss", 1 / (number + 1), number)
        writer.flush()

    return step, writer.close


def tensorboardx(target: str) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(target)

    def step(number: int) -> None:
        writer.add_scalar("loss", 1 / (number + 1), number)
        writer.flush()

    return step, writer.close


def lightning(target: str) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    from lightning.pytorch.loggers import TensorBoardLogger

    logger = TensorBoardLogger(target, name="")
    logger.log_hyperparams({"lr": 0.1})

    def step(number: int) -> None:
        logger.log_metrics({"loss": 1 / (number + 1)}, number)
        logger.save()  # as Lightning does when it has logged

    return step, lambda: logger.finalize("success")


def tensorboard(target: str) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    from tensorboard.summary import Writer

    writer = Writer(target)

    def step(number: int) -> None:
        writer.add_scalar("loss", 1 / (number + 1), number)
        writer.flush()

    return step, writer.close


FRAMEWORKS = {made.__name__: made for made in (torch, tensorboardx, lightning, tensorboard)}


def train() -> Callable[[], None]:
    """A step of a small linear model, of some milliseconds: as short as steps of trainings get."""
    draw = np.random.default_rng(0)
    inputs, weights = draw.normal(size=(1024, 256)), draw.normal(size=(256, 128))

    def step() -> None:
        nonlocal weights
        weights -= 1e-6 * inputs.T @ (inputs @ weights)

    return step


def main() -> None:
    name, target, *bare = sys.argv[1:]
    sys.modules["tensorflow"] = None  # type: ignore[assignment]  takes long, and changes nothing
    bucketboard.install()
    step, close = FRAMEWORKS[name](target)
    work = (lambda: None) if bare else train()
    started = time.perf_counter()
    for number in range(STEPS):
        work()
        step(number)
    print(time.perf_counter() - started)
    close()


if __name__ == "__main__":
    main()
