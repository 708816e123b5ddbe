"""Accelerate: its TensorBoard tracker on our event files."""

from __future__ import annotations

import os
import time
from typing import Any

from bucketboard.integrations.missing import needs

with needs("Accelerate", "huggingface"):
    import yaml
    from accelerate.tracking import TensorBoardTracker as StockTracker
    from accelerate.tracking import on_main_process

    from bucketboard.integrations.torch import SummaryWriter

__all__ = ["TensorBoardTracker"]


class TensorBoardTracker(StockTracker):  # type: ignore[misc]
    """``accelerate.tracking.TensorBoardTracker`` for a directory in S3.

        tracker = TensorBoardTracker("run1", "s3://bucket/exp")
        accelerator = Accelerator(log_with=tracker)

    Further arguments are those of `bucketboard.torch.SummaryWriter`.
    """

    @on_main_process  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Make the writer; no request."""
        self.logging_dir = os.path.join(self.logging_dir_param, self.run_name)
        self.writer = SummaryWriter(self.logging_dir, **self.init_kwargs)

    @on_main_process  # type: ignore[untyped-decorator]
    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Hyperparameters, as such and in ``<time>/hparams.yml``."""
        self.writer.add_hparams(values, metric_dict={})
        self.writer.file_writer.event_writer.add_file(
            f"{time.time()}/hparams.yml", yaml.dump(values).encode()
        )
