"""A TensorBoard in this process."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bucketboard.errors import InvalidError
from bucketboard.serve.prefix import Prefix
from bucketboard.serve.stub import avoid_tensorflow
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url, is_s3_url

if TYPE_CHECKING:
    from bucketboard.serve.board import Board

__all__ = ["TensorBoardServer", "serve"]

_log = logging.getLogger(__name__)
_READ_ATTEMPTS = 3
DEFAULT_PORT = 6006


class TensorBoardServer:
    """A running TensorBoard; leaving it as a context closes it."""

    def __init__(self, target: str, board: Board) -> None:
        self.target = target
        self._board = board
        self._closed = threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return self._board.url

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._board.port

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is closed; False when the time is up before."""
        return self._closed.wait(timeout)

    def close(self) -> None:
        """Stop answering and reading."""
        with self._lock:
            if not self._closed.is_set():
                self._board.close()
                self._closed.set()

    def __enter__(self) -> TensorBoardServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def serve(
    target: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    reload_interval: float = 5.0,
    tensorboard_args: Sequence[str] = (),
    **settings: Any,
) -> TensorBoardServer:
    """Start TensorBoard on ``s3://bucket/prefix`` or a directory.

    Args:
        target: what to show; each directory below it that holds event files is a run.
        host: the address to listen on. The default is reachable from this machine only.
        port: 0 takes any free one; None takes 6006, or the next free one.
        reload_interval: seconds between two looks for new data; 0 reads everything once.
        tensorboard_args: further arguments of TensorBoard, such as ``--samples_per_plugin=scalars=0``.
        settings: how to reach the bucket, see :class:`bucketboard.store.settings.Settings`.

    Raises:
        InvalidError: the target, an argument, the bucket or a permission is not right, or the port is taken.
        UnavailableError: the bucket does not answer.
    """
    if not reload_interval >= 0:
        raise InvalidError(f"reload_interval={reload_interval!r} must be 0 or more")
    target = os.fspath(target)
    prefix = _open_prefix(target, settings) if is_s3_url(target) else None
    if prefix is None:
        _check_directory(target, settings)
    # Only now: whoever imports TensorBoard's program has chosen its file layer.
    from bucketboard.serve.board import Board

    board = Board(prefix)
    logdir = str(prefix.url) if prefix else target
    board.start(logdir, host, port, reload_interval=reload_interval, extra=tensorboard_args)
    if port is None and board.port != DEFAULT_PORT:
        _log.warning("port %d is taken, using %d", DEFAULT_PORT, board.port)
    if prefix is not None and not prefix.tree.has_events:
        _log.warning("no event files below %s yet: runs will show as they appear", prefix.url)
    return TensorBoardServer(target, board)


def _open_prefix(target: str, settings: dict[str, Any]) -> Prefix:
    url = S3Url.parse(target)
    prefix = Prefix(url, Bucket(url.bucket, Settings.resolve(**settings), attempts=_READ_ATTEMPTS))
    prefix.refresh()
    avoid_tensorflow()
    return prefix


def _check_directory(target: str, settings: dict[str, Any]) -> None:
    if "://" in target:
        raise InvalidError(f"{target!r} is neither s3:// nor a directory")
    if given := [name for name, value in settings.items() if value is not None]:
        raise InvalidError(f"{given[0]} is for s3:// targets, and {target!r} is a directory")
    if not Path(target).is_dir():
        raise InvalidError(f"no such directory: {target!r}", hint="for a bucket write s3://bucket/prefix")
