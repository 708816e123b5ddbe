"""A run of the demo: a summary writer that keeps what it was given."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from bucketboard.writer.summary_writer import SummaryWriter

__all__ = ["Image", "Run"]

Image: TypeAlias = NDArray[np.uint8]
HPARAMS = "hparams"
"""The sub-run of the hyperparameters."""


class Run:
    """Writes one run, and remembers its scalars and images by run, tag and step to be compared."""

    def __init__(self, name: str, writer: SummaryWriter) -> None:
        self.name = name
        self.writer = writer
        self.scalars: dict[tuple[str, str], list[tuple[int, float]]] = {}
        self.images: dict[tuple[str, str], list[tuple[int, Image]]] = {}

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Log a number."""
        self.writer.add_scalar(tag, value, step)
        self._remember(self.name, tag, value, step)

    def image(self, tag: str, pixels: Image, step: int) -> None:
        """Log an image, (H, W, 3)."""
        self.writer.add_image(tag, pixels, step, dataformats="HWC")
        self.images.setdefault((self.name, tag), []).append((step, pixels))

    def figure(self, tag: str, figure: Any, step: int) -> None:
        """Log a matplotlib figure, which is remembered as the pixels it is drawn with."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = cast("Image", np.asarray(canvas.buffer_rgba())[..., :3].copy())
        self.writer.add_figure(tag, figure, step)
        self.images.setdefault((self.name, tag), []).append((step, pixels))

    def hparams(self, hparams: dict[str, Any], metrics: dict[str, float]) -> None:
        """Log hyperparameters with what they led to."""
        self.writer.add_hparams(hparams, metrics, run_name=HPARAMS)
        for tag, value in metrics.items():
            self._remember(f"{self.name}/{HPARAMS}", tag, value, 0)

    def _remember(self, run: str, tag: str, value: float, step: int) -> None:
        # An event holds a number as a float32.
        self.scalars.setdefault((run, tag), []).append((step, float(np.float32(value))))
