"""What our TensorBoard tells a browser about a bucket is what the stock one tells about a copy on disk.

The stock one is measured with its Rust server, which anybody has who installs TensorBoard on Linux; where
that does not serve, with its Python loader.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from boards import ours, stock, unequal

Written = Callable[[str], Path]
Stored = Callable[[Path], str]


@pytest.mark.parametrize("framework", ["torch", pytest.param("tensorboardX", marks=pytest.mark.slow)])
def test_every_answer_is_that_of_the_stock_one(written: Written, stored: Stored, framework: str) -> None:
    directory = written(framework)
    with stock(directory) as expected, ours(stored(directory)) as found:
        assert unequal(expected, found, directory) == ""


@pytest.mark.slow
def test_fewer_samples(written: Written, stored: Stored) -> None:
    directory = written("torch")
    option = "--samples_per_plugin=scalars=7,images=3,histograms=5,text=2"
    with stock(directory, option) as expected, ours(stored(directory), arguments=["--", option]) as found:
        assert unequal(expected, found, directory) == ""


@pytest.mark.slow
def test_all_samples(written: Written, stored: Stored) -> None:
    """0 means all, as TensorBoard's help says; its plugins then show none, so it is asked for many."""
    directory = written("torch")
    many, none = (f"--samples_per_plugin=scalars={n},images={n},histograms={n}" for n in (10**6, 0))
    with stock(directory, many) as expected, ours(stored(directory), arguments=["--", none]) as found:
        assert unequal(expected, found, directory) == ""


def test_scalars_of_64_bits(written: Written, stored: Stored) -> None:
    directory = written("doubles")
    with stock(directory, fast=False) as expected, ours(stored(directory)) as found:
        assert unequal(expected, found, directory) == ""


@pytest.mark.slow
def test_two_stock_ones_agree(written: Written) -> None:
    """The measure itself: nothing in the answers is a matter of chance."""
    directory = written("torch")
    with stock(directory) as expected, stock(directory) as found:
        assert unequal(expected, found, directory) == ""
