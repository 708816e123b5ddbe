"""The same for what TensorFlow and Keras write, also where our TensorBoard runs beside TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from boards import ours, stock, unequal

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(400)]

Written = Callable[[str], Path]
Stored = Callable[[Path], str]


def test_every_answer_is_that_of_the_stock_one(written_by_tensorflow: Written, stored: Stored) -> None:
    directory = written_by_tensorflow("all")
    with stock(directory) as expected, ours(stored(directory)) as found:
        assert unequal(expected, found, directory) == ""


def test_beside_tensorflow(written_by_tensorflow: Written, stored: Stored, tensorflow: str) -> None:
    directory = written_by_tensorflow("all")
    theirs = stock(directory, python=tensorflow)
    with theirs as expected, ours(stored(directory), python=tensorflow) as found:
        assert unequal(expected, found, directory) == ""


def test_scalars_of_any_type(written_by_tensorflow: Written, stored: Stored) -> None:
    """TensorBoard's Rust server leaves out all but 32-bit floats, so its Python loader is the measure."""
    directory = written_by_tensorflow("types")
    with stock(directory, fast=False) as expected, ours(stored(directory)) as found:
        assert unequal(expected, found, directory) == ""


def test_two_stock_ones_agree(written_by_tensorflow: Written) -> None:
    """The measure itself: nothing in the answers is a matter of chance."""
    directory = written_by_tensorflow("all")
    with stock(directory) as expected, stock(directory) as found:
        assert unequal(expected, found, directory) == ""
