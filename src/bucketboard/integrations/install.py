"""``install``: frameworks whose writers are not changed write to ``s3://`` through ours."""

from __future__ import annotations

import importlib
import threading
from dataclasses import fields
from types import ModuleType
from typing import Any

from bucketboard.integrations.hook import Hook, Patch, Undo
from bucketboard.replication.options import Options
from bucketboard.store.settings import Settings, from_environ

__all__ = ["install", "uninstall"]

_PATCHES = {
    "tensorboard.compat": "gfile:divert",
    "tensorboard.compat.tensorflow_stub.io.gfile": "registries:file_layer",
    "tensorboardX.record_writer": "registries:tensorboardx",
    "tensorboardX.writer": "methods:tensorboardx",
    "accelerate.tracking": "methods:accelerate",
    "fsspec.registry": "registries:fsspec",
}
"""What changes which module, as a module here and a function in it: imported when the other one is."""
_OWN = {"metadata", "spool", "on_error"}

_lock = threading.Lock()
_hook: Hook | None = None


def install(**options: Any) -> None:
    """Let frameworks log to ``s3://bucket/prefix/run`` where they log to a directory, until `uninstall`.

        bucketboard.install()
        writer = torch.utils.tensorboard.SummaryWriter("s3://bucket/exp/run1")

    Changed is what becomes of ``s3://`` in TensorBoard's file layer (torch's writer, Lightning, Hugging Face
    and ``tensorboard.summary`` use it), in tensorboardX, in Accelerate's tracker and, where s3fs is not
    installed, in fsspec: nothing else. A framework that is not imported yet is changed when it is; none is
    imported here. Installing again only changes the options.

    Args:
        options: those of `SummaryWriter` for the writers that frameworks make: ``upload_every``, ``spool``,
            ``on_error``, ``endpoint_url``, … Unlike there, only rank 0 of a distributed training writes,
            unless ``rank_zero_only=False`` is given.

    Raises:
        InvalidError: an option, or a variable that stands for one, is not valid.
    """
    _check(options)
    from bucketboard.integrations.written import WRITTEN

    global _hook
    with _lock:
        WRITTEN.options = dict(options)
        if _hook is None:
            hook = Hook({name: _patch(place) for name, place in _PATCHES.items()})
            hook.install()
            _hook = hook


def uninstall() -> None:
    """Undo `install`, if there was one. Writers that are open go on writing to S3."""
    global _hook
    with _lock:
        hook, _hook = _hook, None
        if hook is not None:
            hook.uninstall()


def _check(options: dict[str, Any]) -> None:
    names = {entry.name for entry in fields(Options)} - {"spool"}
    from_environ(Options, {name: value for name, value in options.items() if name in names})
    Settings.resolve(
        **{name: value for name, value in options.items() if name not in names and name not in _OWN}
    )


def _patch(place: str) -> Patch:
    def patch(module: ModuleType) -> Undo:
        name, _, function = place.partition(":")
        own = importlib.import_module(f"bucketboard.integrations.{name}")
        undo: Undo = getattr(own, function)(module)
        return undo

    return patch
