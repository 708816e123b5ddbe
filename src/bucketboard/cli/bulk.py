"""Options that say who does bulk work."""

from __future__ import annotations

import argparse

__all__ = ["add_bulk_options"]


def add_bulk_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers`` and ``--cluster``."""
    parser.add_argument("--workers", type=int, metavar="N", help="processes that share the work")
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="the scheduler of a Dask cluster, such as tcp://host:8786"
    )
