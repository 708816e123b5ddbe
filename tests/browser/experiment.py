"""An experiment in a bucket whose every tab shows something that can be recognised."""

from __future__ import annotations

import numpy as np
import torch

from bucketboard import SummaryWriter

STEPS = 5
RUNS = {"slow": 0.01, "fast": 0.1}
COLOURS = {"slow": (255, 0, 0), "fast": (0, 0, 255)}
POINTS = 30


def write(url: str) -> None:
    """Two runs with scalars, images, histograms, text, a graph, an embedding and hyperparameters."""
    draw = np.random.default_rng(1)
    for name, rate in RUNS.items():
        with SummaryWriter(f"{url}/{name}", close_timeout=60) as writer:
            for step in range(STEPS):
                writer.add_scalar("loss/train", loss(name, step), step)
                writer.add_histogram("layer/weights", draw.normal(step, 1, 500), step)
                picture = np.tile(np.array(COLOURS[name], np.uint8)[:, None, None], (1, 32, 32))
                writer.add_image("samples/picture", picture, step)
                writer.add_text("notes", f"**{name}** learns in step {step}", step)
            model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
            writer.add_graph(model, torch.zeros(1, 4))
            labels = [f"word{number}" for number in range(POINTS)]
            writer.add_embedding(draw.normal(size=(POINTS, 4)), metadata=labels, tag="words")
            writer.add_hparams(
                {"rate": rate, "optimizer": "sgd"},
                {"result/accuracy": 0.5 + rate},
                run_name="hparams",
            )


def loss(name: str, step: int) -> float:
    """The value of the scalar."""
    return 2.0 ** -(step + (name == "fast"))
