"""Logs 1,000 steps and flushes at each, by a framework's own writer; prints the seconds of the steps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

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


def main() -> None:
    name, target = sys.argv[1:]
    sys.modules["tensorflow"] = None  # type: ignore[assignment]  takes long, and changes nothing
    bucketboard.install()
    step, close = FRAMEWORKS[name](target)
    started = time.perf_counter()
    for number in range(STEPS):
        step(number)
    print(time.perf_counter() - started)
    close()


if __name__ == "__main__":
    main()
