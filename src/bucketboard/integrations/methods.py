"""Methods of frameworks that make local files for any path: for ``s3://`` they are ours, until undone."""

from __future__ import annotations

import functools
import os
import time
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from bucketboard.integrations.hook import Undo
from bucketboard.integrations.written import WRITTEN
from bucketboard.store.url import is_s3_url
from bucketboard.writer.projector import Projector

__all__ = ["accelerate", "tensorboardx"]


def tensorboardx(module: ModuleType) -> Undo:
    """``tensorboardX.writer``: embeddings. It would send them from the training's thread, and raise there."""
    kind = module.SummaryWriter
    stock = kind.add_embedding
    projectors: WeakKeyDictionary[Any, Projector] = WeakKeyDictionary()

    @functools.wraps(stock)
    def add_embedding(self: Any, *arguments: Any, **options: Any) -> None:
        run = os.fspath(self._get_file_writer().get_logdir())
        if not is_s3_url(run):
            stock(self, *arguments, **options)
            return
        projectors.setdefault(self, Projector()).add(
            lambda directory: stock(_Elsewhere(self, directory), *arguments, **options),
            lambda name, data: WRITTEN.add_file(f"{run}/{name}", data),
        )

    return _set(kind, "add_embedding", stock, add_embedding)


class _Elsewhere:
    """A writer of tensorboardX's whose run lies in another directory."""

    def __init__(self, writer: Any, directory: str) -> None:
        self._writer = writer
        self._directory = directory

    def _get_file_writer(self) -> _Elsewhere:
        return self

    def get_logdir(self) -> str:
        return self._directory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


def accelerate(module: ModuleType) -> Undo:
    """``accelerate.tracking``: the hyperparameters of its TensorBoard tracker, in ``<time>/hparams.yml``."""
    kind = module.TensorBoardTracker
    stock = kind.store_init_configuration

    @functools.wraps(stock)
    def store_init_configuration(self: Any, values: dict[str, Any]) -> None:
        run = os.fspath(getattr(self, "logging_dir", ""))  # the main process alone has one
        if not is_s3_url(run):
            stock(self, values)
            return
        self.writer.add_hparams(values, metric_dict={})
        self.writer.flush()
        WRITTEN.add_file(f"{run}/{time.time()}/hparams.yml", module.yaml.dump(values).encode())

    return _set(kind, "store_init_configuration", stock, store_init_configuration)


def _set(kind: type[Any], name: str, stock: Any, ours: Any) -> Undo:
    setattr(kind, name, ours)

    def undo() -> None:
        setattr(kind, name, stock)

    return undo
