"""TensorBoard's own file layer instead of TensorFlow's, which takes seconds and gigabytes to import."""

from __future__ import annotations

import sys
import types

__all__ = ["avoid_tensorflow"]

_MARKER = "tensorboard.compat.notf"


def avoid_tensorflow() -> None:
    """Keep TensorBoard from importing TensorFlow in this process.

    TensorBoard looks for a module of a certain name and leaves TensorFlow alone when it can be imported. It
    looks once, at the first use of its file layer; where that was before, it stays with what it took.
    """
    sys.modules.setdefault(_MARKER, types.ModuleType(_MARKER))
