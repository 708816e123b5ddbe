"""TensorBoard, living in your S3 bucket.

    from bucketboard import SummaryWriter

    with SummaryWriter("s3://my-bucket/exp/run1") as writer:
        writer.add_scalar("loss", 0.5, 1)

Importing this package loads none of boto3, tensorboard, torch or numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bucketboard.errors import (
    BucketboardError,
    ClosedError,
    CorruptDataError,
    DroppedError,
    FencedError,
    InvalidError,
    UnavailableError,
)

if TYPE_CHECKING:
    from bucketboard.fetch.pull import PullReport, pull
    from bucketboard.integrations.install import install, uninstall
    from bucketboard.logdir.once import sync
    from bucketboard.logdir.report import IncompleteError, SyncReport
    from bucketboard.replication.position import Mark, Position
    from bucketboard.supervise.directory import SpooledDirectory
    from bucketboard.supervise.recover import recover
    from bucketboard.supervise.replicate import replicate
    from bucketboard.writer.event_file_writer import EventFileWriter
    from bucketboard.writer.summary_writer import SummaryWriter

__version__ = "0.1.0"

__all__ = [
    "BucketboardError",
    "ClosedError",
    "CorruptDataError",
    "DroppedError",
    "EventFileWriter",
    "FencedError",
    "IncompleteError",
    "InvalidError",
    "Mark",
    "Position",
    "PullReport",
    "SpooledDirectory",
    "SummaryWriter",
    "SyncReport",
    "UnavailableError",
    "install",
    "pull",
    "recover",
    "replicate",
    "sync",
    "uninstall",
]

_LAZY = {
    "EventFileWriter": "bucketboard.writer.event_file_writer",
    "SummaryWriter": "bucketboard.writer.summary_writer",
    "Mark": "bucketboard.replication.position",
    "Position": "bucketboard.replication.position",
    "PullReport": "bucketboard.fetch.pull",
    "SpooledDirectory": "bucketboard.supervise.directory",
    "install": "bucketboard.integrations.install",
    "pull": "bucketboard.fetch.pull",
    "recover": "bucketboard.supervise.recover",
    "replicate": "bucketboard.supervise.replicate",
    "IncompleteError": "bucketboard.logdir.report",
    "SyncReport": "bucketboard.logdir.report",
    "sync": "bucketboard.logdir.once",
    "uninstall": "bucketboard.integrations.install",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext bucketboard``, which gives ``%bucketboard s3://bucket/exp``."""
    from bucketboard.serve import notebook

    notebook.load_ipython_extension(shell)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
