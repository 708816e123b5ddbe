"""A small classifier of handwritten digits, trained with several hyperparameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from bucketboard.demo.run import Image, Run
from bucketboard.writer.summary_writer import SummaryWriter

__all__ = ["MODELS", "Model", "train"]

_EPOCHS = 18
_EPOCHS_PER_IMAGE = 3  # TensorBoard keeps ten images of a tag, and a thousand scalars
_BATCH = 64
_CLASSES = range(10)
_SEED = 7
_ZOOM, _BORDER = 5, 2
_ROWS, _COLUMNS = 4, 8


@dataclass(frozen=True)
class Model:
    """The hyperparameters of a run."""

    hidden: int
    learning_rate: float
    activation: str = "relu"

    @property
    def name(self) -> str:
        """The run's name."""
        return f"{self.activation}-{self.hidden}-lr{self.learning_rate:g}"


MODELS = (Model(16, 0.001), Model(64, 0.001), Model(64, 0.01), Model(32, 0.003, "tanh"))


def train(url: str, options: dict[str, Any], progress: Callable[[str], None]) -> list[Run]:
    """Train every model, each a run below ``url``; ``options`` are those of the summary writer."""
    digits = load_digits()
    split = train_test_split(
        digits.data / 16.0, digits.target, test_size=0.25, random_state=_SEED, stratify=digits.target
    )
    runs = []
    for model in MODELS:
        metadata = {"dataset": "digits", **asdict(model)}
        with SummaryWriter(f"{url}/{model.name}", metadata=metadata, **options) as writer:
            run = Run(model.name, writer)
            accuracy = _train(model, run, *split)
        progress(f"{model.name}: {accuracy:.1%} of the test digits right")
        runs.append(run)
    return runs


def _train(model: Model, run: Run, x: Any, x_test: Any, y: Any, y_test: Any) -> float:
    network = MLPClassifier(
        (model.hidden,),
        activation=model.activation,
        learning_rate_init=model.learning_rate,
        batch_size=_BATCH,
        random_state=_SEED,
    )
    order = np.random.default_rng(_SEED)
    run.writer.add_text("model", "\n".join(f"* {key}: `{value}`" for key, value in asdict(model).items()))
    step, accuracy, loss = 0, 0.0, 0.0
    for epoch in range(1, _EPOCHS + 1):
        shuffled = order.permutation(len(x))
        for start in range(0, len(x), _BATCH):
            batch = shuffled[start : start + _BATCH]
            _fit(network, x[batch], y[batch])
            run.scalar("train/loss", network.loss_, step)
            step += 1
        guesses = network.predict(x_test)
        accuracy = float(np.mean(guesses == y_test))
        loss = float(log_loss(y_test, network.predict_proba(x_test), labels=list(_CLASSES)))
        run.scalar("test/accuracy", accuracy, epoch)
        run.scalar("test/loss", loss, epoch)
        for number, (weights, biases) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
            run.writer.add_histogram(f"layer{number}/weights", weights, epoch)
            run.writer.add_histogram(f"layer{number}/biases", biases, epoch)
        if epoch % _EPOCHS_PER_IMAGE == 0:
            run.image("test/samples", _samples(x_test, guesses == y_test), epoch)
    run.figure("test/confusion", _confusion(y_test, network.predict(x_test)), _EPOCHS)
    run.hparams(asdict(model), {"final/accuracy": accuracy, "final/loss": loss})
    return accuracy


def _fit(network: MLPClassifier, x: Any, y: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the last batch of an epoch is smaller, which is no news
        network.partial_fit(x, y, classes=list(_CLASSES))


def _samples(x: Any, right: NDArray[np.bool_]) -> Image:
    """The first test digits, framed in green where the guess is right and in red where it is not."""
    side = 8 * _ZOOM + 2 * _BORDER
    sheet: Image = np.zeros((_ROWS * side, _COLUMNS * side, 3), np.uint8)
    for number in range(_ROWS * _COLUMNS):
        row, column = divmod(number, _COLUMNS)
        tile = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]
        tile[:] = (0, 160, 0) if right[number] else (200, 0, 0)
        grey = np.kron(x[number].reshape(8, 8) * 255, np.ones((_ZOOM, _ZOOM))).astype(np.uint8)
        tile[_BORDER:-_BORDER, _BORDER:-_BORDER] = grey[..., None]
    return sheet


def _confusion(truth: Any, guesses: Any) -> Figure:
    counts = confusion_matrix(truth, guesses, labels=list(_CLASSES))
    figure = Figure(figsize=(5, 5), dpi=80)
    axes = figure.add_subplot(xlabel="guess", ylabel="digit", xticks=list(_CLASSES), yticks=list(_CLASSES))
    axes.imshow(counts, cmap="Blues", vmax=20)
    for digit, guess in zip(*np.nonzero(counts), strict=True):
        colour = "white" if counts[digit, guess] > 10 else "black"
        axes.text(guess, digit, str(counts[digit, guess]), ha="center", va="center", color=colour)
    return figure
