"""Registries of frameworks that tell by a path's scheme who opens it: ``s3`` becomes ours, until undone."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import MutableMapping
from types import ModuleType
from typing import Any

from bucketboard.integrations.gfile import S3FileSystem
from bucketboard.integrations.hook import Undo
from bucketboard.integrations.written import WRITTEN, EventStream, RunFile

__all__ = ["file_layer", "fsspec", "tensorboardx"]

_FILE_SYSTEM = "bucketboard.integrations.bucket_filesystem"


class RecordWriterFactory:
    """Opens files in S3 for tensorboardX."""

    def open(self, path: str) -> EventStream | RunFile:
        """The file at ``path``, for writing."""
        return WRITTEN.open(path)

    def directory_check(self, path: str) -> None:
        """Nothing: keys need no directories."""


def file_layer(stub: ModuleType) -> Undo:
    """TensorBoard's own file layer, ``tensorboard.compat.tensorflow_stub.io.gfile``."""
    return _replaced(stub._REGISTERED_FILESYSTEMS, S3FileSystem())


def tensorboardx(module: ModuleType) -> Undo:
    """``tensorboardX.record_writer``."""
    return _replaced(module.REGISTERED_FACTORIES, RecordWriterFactory())


def fsspec(module: ModuleType) -> Undo:
    """``fsspec.registry``, where s3fs, its own way to S3, is not installed."""
    if importlib.util.find_spec("s3fs") is not None or "s3" in module.registry:
        return lambda: None
    ours = {"class": f"{_FILE_SYSTEM}.BucketFileSystem", "err": "bucketboard is not installed"}
    undo = _replaced(module.known_implementations, ours)

    def undo_all() -> None:
        undo()
        module._registry.pop("s3", None)
        loaded = sys.modules.get(_FILE_SYSTEM)
        if loaded is not None:
            loaded.BucketFileSystem.clear_instance_cache()

    return undo_all


def _replaced(registry: MutableMapping[str, Any], ours: Any) -> Undo:
    before = registry.get("s3")
    registry["s3"] = ours

    def undo() -> None:
        if before is None:
            registry.pop("s3", None)
        else:
            registry["s3"] = before

    return undo
