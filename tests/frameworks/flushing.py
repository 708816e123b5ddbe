"""A training of 1,000 short steps that logs and flushes at each, by a framework's own writer.

Prints the seconds that the steps took, and those of CPU that this process needed for them; with --bare, of
steps in which nothing but the framework works. A target in S3 is reached by ``install()``, or by our class
where the framework has no other way.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import bucketboard

STEPS = 1000
Work = Callable[[], object]
"""What a step of the training does besides logging."""
Spent = tuple[float, float]
"""Seconds, and seconds of CPU of this process."""


def torch(target: str, work: Work) -> Spent:
    from torch.utils.tensorboard import SummaryWriter

    return _scalars(SummaryWriter(target), work)


def tensorboardx(target: str, work: Work) -> Spent:
    from tensorboardX import SummaryWriter

    return _scalars(SummaryWriter(target), work)


def tensorboard(target: str, work: Work) -> Spent:
    from tensorboard.summary import Writer

    return _scalars(Writer(target), work)


def lightning(target: str, work: Work) -> Spent:
    """Its Trainer lets the logger save whatever it has logged."""
    import logging

    import torch
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.loggers import TensorBoardLogger

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    began: list[Spent] = []

    class Model(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": 0.1})
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any) -> Any:
            began.append(_now())
            work()
            loss = self.layer(batch).mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    trainer = Trainer(
        logger=TensorBoardLogger(target, name=""),
        max_epochs=1,
        log_every_n_steps=1,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Model(), torch.utils.data.DataLoader(torch.ones(STEPS, 1)))
    return _between(began[0], began[-1])


def tensorflow(target: str, work: Work) -> Spent:
    import tensorflow as tf

    from bucketboard.tensorflow import create_file_writer

    make = create_file_writer if target.startswith("s3:") else tf.summary.create_file_writer
    writer = make(target)

    def step(number: int) -> None:
        tf.summary.scalar("loss", 1 / (number + 1), step=number)
        writer.flush()

    with writer.as_default():
        spent = _spent(step, work)
    writer.close()
    return spent


def tensorflow1(target: str, work: Work) -> Spent:
    import tensorflow as tf

    from bucketboard.tensorflow import FileWriter

    v1 = tf.compat.v1
    with tf.Graph().as_default():
        writer = (FileWriter if target.startswith("s3:") else v1.summary.FileWriter)(target)

    def step(number: int) -> None:
        value = v1.Summary.Value(tag="loss", simple_value=1 / (number + 1))
        writer.add_summary(v1.Summary(value=[value]), number)
        writer.flush()

    spent = _spent(step, work)
    writer.close()
    return spent


def keras(target: str, work: Work) -> Spent:
    """The callback logs each batch; another one flushes the writer that it has made TensorFlow's default."""
    import keras
    import numpy as np
    import tensorflow as tf

    from bucketboard.keras import TensorBoard

    ended: list[Spent] = []

    class Step(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            tf.summary.flush()
            work()
            ended.append(_now())

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    kind = TensorBoard if target.startswith("s3:") else keras.callbacks.TensorBoard
    board = kind(target, update_freq="batch", write_graph=False)
    inputs = np.ones((STEPS, 1), "float32")
    model.fit(inputs, inputs, batch_size=1, shuffle=False, callbacks=[board, Step()], verbose=0)
    return _between(ended[0], ended[-1])


FRAMEWORKS = {
    made.__name__: made
    for made in (torch, tensorboardx, tensorboard, lightning, tensorflow, tensorflow1, keras)
}


def _scalars(writer: Any, work: Work) -> Spent:
    def step(number: int) -> None:
        writer.add_scalar("loss", 1 / (number + 1), number)
        writer.flush()

    spent = _spent(step, work)
    writer.close()
    return spent


def _spent(step: Callable[[int], object], work: Work) -> Spent:
    began = _now()
    for number in range(STEPS):
        work()
        step(number)
    return _between(began, _now())


def _now() -> Spent:
    return time.perf_counter(), time.process_time()


def _between(before: Spent, after: Spent) -> Spent:
    return after[0] - before[0], after[1] - before[1]


def train() -> Work:
    """A step of a small linear model, of some milliseconds: as short as steps of trainings get."""
    import numpy as np

    draw = np.random.default_rng(0)
    inputs, weights = draw.normal(size=(1024, 256)), draw.normal(size=(256, 128))

    def step() -> None:
        nonlocal weights
        weights -= 1e-6 * inputs.T @ (inputs @ weights)

    return step


def main() -> None:
    name, target, *bare = sys.argv[1:]
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # two that wait for each other measure the machine
    if name not in ("tensorflow", "tensorflow1", "keras"):
        sys.modules["tensorflow"] = None  # type: ignore[assignment]  takes long, and changes nothing
    bucketboard.install()
    print(*FRAMEWORKS[name](target, (lambda: None) if bare else train()))


if __name__ == "__main__":
    main()
