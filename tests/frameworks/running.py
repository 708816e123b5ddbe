"""Runs an example as it stands, or changed in one respect, as a process of its own."""

from __future__ import annotations

import argparse
import functools
import importlib
import runpy
import sys
from pathlib import Path

import bucketboard

EXAMPLES = Path(__file__).parents[2] / "examples"
DOORS = {
    "torch": ("torch.utils.tensorboard", "SummaryWriter"),
    "tensorboardx": ("tensorboardX", "SummaryWriter"),
    "lightning": ("lightning.pytorch.loggers", "TensorBoardLogger"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example")
    parser.add_argument("target")
    parser.add_argument("--door", choices=DOORS, help="our class in place of the framework's, no install()")
    parser.add_argument("--without-tensorflow", action="store_true")
    parser.add_argument("--without-checkpoints", action="store_true")
    parser.add_argument("--all", action="store_true", help="passed on")
    options = parser.parse_args()
    if options.without_tensorflow:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]  what an import of it then finds
    if options.door:
        module, name = DOORS[options.door]
        ours = getattr(importlib.import_module(f"bucketboard.{options.door}"), name)
        stock = importlib.import_module(module)
        assert issubclass(ours, getattr(stock, name))
        setattr(stock, name, ours)
        bucketboard.install = lambda: None
    if options.without_checkpoints:
        import lightning

        lightning.Trainer = functools.partial(lightning.Trainer, enable_checkpointing=False)
    script = str(EXAMPLES / f"{options.example}.py")
    sys.argv = [script, options.target, *(["--all"] if options.all else [])]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
