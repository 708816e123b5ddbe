"""TensorBoard's own file layer instead of TensorFlow's, which has had no S3 since 2.6."""

from __future__ import annotations

import sys
import types

from bucketboard.errors import InvalidError

__all__ = ["avoid_tensorflow"]

_MARKER = "tensorboard.compat.notf"


def avoid_tensorflow() -> None:
    """Keep TensorBoard from importing TensorFlow in this process.

    TensorBoard looks for a module of a certain name and leaves TensorFlow alone when it can be imported.
    It looks once, at the first use of its file layer.

    Raises:
        InvalidError: TensorBoard has taken TensorFlow's file layer before.
    """
    sys.modules.setdefault(_MARKER, types.ModuleType(_MARKER))
    from tensorboard.compat import tf

    if tf.__version__ != "stub":
        raise InvalidError(
            "TensorBoard already uses TensorFlow's file layer in this process, and that has no S3",
            hint="run `bucketboard serve` in a process of its own, or serve before TensorBoard is used",
        )
