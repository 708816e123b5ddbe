"""Runs an example as it stands, or changed in one respect, as a process of its own."""

from __future__ import annotations

import argparse
import functools
import importlib
import runpy
import sys
import tempfile
from pathlib import Path

import bucketboard

EXAMPLES = Path(__file__).parents[2] / "examples"
DOORS = {
    "torch": ("torch.utils.tensorboard", "SummaryWriter"),
    "tensorboardx": ("tensorboardX", "SummaryWriter"),
    "lightning": ("lightning.pytorch.loggers", "TensorBoardLogger"),
    "accelerate": ("accelerate.tracking", "TensorBoardTracker"),
}


def without_ours() -> None:
    """Where an example uses our class of torch's writer, let it use torch's own, by one rank."""
    import torch.utils.tensorboard

    import bucketboard.torch

    class Stock(torch.utils.tensorboard.SummaryWriter):  # type: ignore[misc]
        def __init__(self, log_dir: str, rank_zero_only: bool = True) -> None:
            distributed = torch.distributed.is_initialized()
            idle = rank_zero_only and distributed and torch.distributed.get_rank() > 0
            super().__init__(tempfile.mkdtemp() if idle else log_dir)

    bucketboard.torch.SummaryWriter = Stock  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example")
    parser.add_argument("target")
    parser.add_argument("--door", choices=DOORS, help="our class in place of the framework's, no install()")
    parser.add_argument("--stock", action="store_true", help="the framework's own classes alone")
    parser.add_argument("--without-tensorflow", action="store_true")
    parser.add_argument("--without-checkpoints", action="store_true")
    parser.add_argument("--all", action="store_true", help="passed on")
    options = parser.parse_args()
    if options.without_tensorflow:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]  what an import of it then finds
    if options.stock:
        without_ours()
    if options.door:
        module, name = DOORS[options.door]
        ours = getattr(importlib.import_module(f"bucketboard.{options.door}"), name)
        stock = importlib.import_module(module)
        assert issubclass(ours, getattr(stock, name))
        setattr(stock, name, ours)
        if options.door == "accelerate":
            stock.LOGGER_TYPE_TO_CLASS["tensorboard"] = ours
        bucketboard.install = lambda: None
    if options.without_checkpoints:
        import lightning

        lightning.Trainer = functools.partial(lightning.Trainer, enable_checkpointing=False)
    script = str(EXAMPLES / f"{options.example}.py")
    sys.argv = [script, options.target, *(["--all"] if options.all else [])]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
