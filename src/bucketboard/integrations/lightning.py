"""Lightning: its ``TensorBoardLogger`` on our event files."""

from __future__ import annotations

import importlib
import logging
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from bucketboard.errors import BucketboardError
from bucketboard.integrations import reading, registries
from bucketboard.integrations.missing import needs
from bucketboard.store.url import is_s3_url

with needs("Lightning", "lightning"):
    from lightning.fabric.loggers.logger import rank_zero_experiment
    from lightning.pytorch.core.saving import save_hparams_to_yaml
    from lightning.pytorch.loggers import TensorBoardLogger as StockLogger
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    from bucketboard.integrations.torch import SummaryWriter

__all__ = ["TensorBoardLogger"]

logger = logging.getLogger("bucketboard")

_VERSION = re.compile(r"version_(\d+)")


class TensorBoardLogger(StockLogger):  # type: ignore[misc]
    """``lightning.pytorch.loggers.TensorBoardLogger`` for a ``save_dir`` in S3.

    Arguments are Lightning's; others are those of `bucketboard.torch.SummaryWriter`. The next version is
    found by one LIST when it is needed; where that fails it is the time, so that no other version is written
    into. Checkpoints below ``save_dir`` go through fsspec: by s3fs where that is installed, else by us.
    """

    def __init__(self, save_dir: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        save_dir = os.fspath(save_dir)
        self._in_s3 = is_s3_url(save_dir)
        # Lightning would ask fsspec for a file system, of which nothing here needs more than checkpoints do.
        super().__init__("." if self._in_s3 else save_dir, *args, **kwargs)
        self._experiment: SummaryWriter | None = None
        if self._in_s3:
            self._root_dir = save_dir.rstrip("/")
            registries.fsspec(importlib.import_module("fsspec.registry"))
        self._saved = False

    @property
    @rank_zero_experiment  # type: ignore[untyped-decorator]
    def experiment(self) -> SummaryWriter:
        """The writer: a `bucketboard.torch.SummaryWriter`."""
        if self._experiment is None:
            self._experiment = SummaryWriter(self.log_dir, **self._kwargs)
        return self._experiment

    @rank_zero_only  # type: ignore[untyped-decorator]
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Record hyperparameters, also in ``hparams.yaml``."""
        self._saved = False
        super().log_hyperparams(*args, **kwargs)

    @rank_zero_only  # type: ignore[untyped-decorator]
    def save(self) -> None:
        """Everything logged is in the log, ``hparams.yaml`` too; no network."""
        if not self._in_s3:
            super().save()
            return
        self.experiment.flush()
        if not self._saved:
            self._saved = True
            with tempfile.TemporaryDirectory(prefix="bucketboard-") as directory:
                path = Path(directory, self.NAME_HPARAMS_FILE)
                save_hparams_to_yaml(path, self.hparams)
                self.experiment.file_writer.event_writer.add_file(path.name, path.read_bytes())

    @rank_zero_only  # type: ignore[untyped-decorator]
    def finalize(self, status: str) -> None:
        """Store everything, waiting at most ``close_timeout`` seconds."""
        if not self._in_s3:
            super().finalize(status)
        elif self._experiment is not None:
            if status == "success":
                self.save()
            self._experiment.close()

    def _get_next_version(self) -> int:
        if not self._in_s3:
            version: int = super()._get_next_version()
            return version
        try:
            directories, _ = reading.children(self.root_dir, self._kwargs)
        except BucketboardError as error:
            logger.warning(
                "%s: the versions can't be listed, so that this one is the time: %s", self.root_dir, error
            )
            return int(time.time())
        versions = [int(match[1]) for match in map(_VERSION.fullmatch, directories) if match]
        return max(versions, default=-1) + 1
