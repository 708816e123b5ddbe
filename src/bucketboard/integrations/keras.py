"""Keras's TensorBoard callback into S3."""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Callable
from typing import Any

from bucketboard.integrations.missing import needs
from bucketboard.store.url import is_s3_url
from bucketboard.supervise.directory import SpooledDirectory

with needs("Keras", "keras"):
    import keras

__all__ = ["TensorBoard"]


class TensorBoard(keras.callbacks.TensorBoard):  # type: ignore[misc]
    """``keras.callbacks.TensorBoard`` whose ``log_dir`` may be ``s3://bucket/prefix/run``.

    Every argument of the original works: what it writes, profiles, embeddings and the projector's
    configuration included, goes to a `SpooledDirectory` per training, and from there to S3. The end of
    ``fit`` waits for S3, ``close_timeout`` seconds at most; after an evaluation alone, or a training that was
    broken off, the end of the interpreter does.

    Args:
        log_dir: the URL, or a directory, with which this is the original.
        arguments: those of ``keras.callbacks.TensorBoard``.
        options: the original's by name, and those of `SpooledDirectory`.

    Raises:
        InvalidError: at the beginning of the training: the URL or an option is wrong.
    """

    def __init__(self, log_dir: Any = "logs", *arguments: Any, **options: Any) -> None:
        with needs("TensorFlow", "keras"):
            import tensorflow  # noqa: F401
        own = inspect.signature(keras.callbacks.TensorBoard.__init__).parameters
        self._options = {name: options.pop(name) for name in options.keys() - own.keys()}
        super().__init__(os.fsdecode(log_dir), *arguments, **options)
        self.log_dir: str
        self._directory: SpooledDirectory | None = None

    def set_model(self, model: Any) -> None:
        """Open the writers anew, as the original does; into S3, below a spooled directory."""
        if not is_s3_url(self.log_dir):
            super().set_model(model)
            return
        if self._directory is None or self._directory.closed:
            self._directory = SpooledDirectory(self.log_dir, **self._options)
            self._directory.before_close = _weakly(self)
        url, self.log_dir = self.log_dir, os.fspath(self._directory)
        try:
            super().set_model(model)
        finally:
            self.log_dir = url

    def on_train_end(self, logs: Any = None) -> None:
        """Close the writers, and wait for S3."""
        super().on_train_end(logs)
        if self._directory is not None:
            self._directory.close()


def _weakly(callback: TensorBoard) -> Callable[[], object]:
    """Closes the writers of a callback that lives; the model that it holds must not live on for that."""
    this = weakref.ref(callback)

    def close() -> None:
        living = this()
        if living is not None:
            living._close_writers()

    return close
