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
    from bucketboard.bulk.compact import compact
    from bucketboard.bulk.export import ExportReport, export
    from bucketboard.bulk.prune import prune
    from bucketboard.fetch.pull import PullReport, pull
    from bucketboard.integrations.install import install, uninstall
    from bucketboard.logdir.once import sync
    from bucketboard.logdir.report import IncompleteError, SyncReport
    from bucketboard.replication.position import Mark, Position
    from bucketboard.runs.compact import Compacted
    from bucketboard.runs.info import RunInfo, info
    from bucketboard.runs.label import Labelled, label
    from bucketboard.runs.logdir import Logdir
    from bucketboard.runs.logdir import open as open  # in no "import *", which would hide Python's
    from bucketboard.runs.ls import ls
    from bucketboard.runs.move import mv
    from bucketboard.runs.remove import rm
    from bucketboard.runs.repair import Repaired, repair
    from bucketboard.runs.report import ChangeReport, Left
    from bucketboard.runs.storage_class import archive, thaw
    from bucketboard.runs.summary import RunSummary, TagSummary
    from bucketboard.runs.trash import TrashEntry
    from bucketboard.runs.undelete import empty_trash, trash, undelete
    from bucketboard.runs.verify import Finding, Verified, verify
    from bucketboard.supervise.directory import SpooledDirectory
    from bucketboard.supervise.recover import recover
    from bucketboard.supervise.replicate import replicate
    from bucketboard.writer.event_file_writer import EventFileWriter
    from bucketboard.writer.summary_writer import SummaryWriter

__version__ = "0.1.0"

__all__ = [
    "BucketboardError",
    "ChangeReport",
    "ClosedError",
    "Compacted",
    "CorruptDataError",
    "DroppedError",
    "EventFileWriter",
    "ExportReport",
    "FencedError",
    "Finding",
    "IncompleteError",
    "InvalidError",
    "Labelled",
    "Left",
    "Logdir",
    "Mark",
    "Position",
    "PullReport",
    "Repaired",
    "RunInfo",
    "RunSummary",
    "SpooledDirectory",
    "SummaryWriter",
    "SyncReport",
    "TagSummary",
    "TrashEntry",
    "UnavailableError",
    "Verified",
    "archive",
    "compact",
    "empty_trash",
    "export",
    "info",
    "install",
    "label",
    "ls",
    "mv",
    "prune",
    "pull",
    "recover",
    "repair",
    "replicate",
    "rm",
    "sync",
    "thaw",
    "trash",
    "undelete",
    "uninstall",
    "verify",
]

_LAZY = {
    "Compacted": "bucketboard.runs.compact",
    "compact": "bucketboard.bulk.compact",
    "Repaired": "bucketboard.runs.repair",
    "repair": "bucketboard.runs.repair",
    "Finding": "bucketboard.runs.verify",
    "Verified": "bucketboard.runs.verify",
    "verify": "bucketboard.runs.verify",
    "EventFileWriter": "bucketboard.writer.event_file_writer",
    "SummaryWriter": "bucketboard.writer.summary_writer",
    "Mark": "bucketboard.replication.position",
    "Position": "bucketboard.replication.position",
    "PullReport": "bucketboard.fetch.pull",
    "SpooledDirectory": "bucketboard.supervise.directory",
    "install": "bucketboard.integrations.install",
    "pull": "bucketboard.fetch.pull",
    "Logdir": "bucketboard.runs.logdir",
    "open": "bucketboard.runs.logdir",
    "ExportReport": "bucketboard.bulk.export",
    "export": "bucketboard.bulk.export",
    "RunSummary": "bucketboard.runs.summary",
    "TagSummary": "bucketboard.runs.summary",
    "RunInfo": "bucketboard.runs.info",
    "info": "bucketboard.runs.info",
    "Labelled": "bucketboard.runs.label",
    "label": "bucketboard.runs.label",
    "ls": "bucketboard.runs.ls",
    "recover": "bucketboard.supervise.recover",
    "replicate": "bucketboard.supervise.replicate",
    "IncompleteError": "bucketboard.logdir.report",
    "SyncReport": "bucketboard.logdir.report",
    "sync": "bucketboard.logdir.once",
    "ChangeReport": "bucketboard.runs.report",
    "Left": "bucketboard.runs.report",
    "TrashEntry": "bucketboard.runs.trash",
    "archive": "bucketboard.runs.storage_class",
    "empty_trash": "bucketboard.runs.undelete",
    "mv": "bucketboard.runs.move",
    "prune": "bucketboard.bulk.prune",
    "rm": "bucketboard.runs.remove",
    "thaw": "bucketboard.runs.storage_class",
    "trash": "bucketboard.runs.undelete",
    "undelete": "bucketboard.runs.undelete",
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
