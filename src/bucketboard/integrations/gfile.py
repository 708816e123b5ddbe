"""``s3://`` for TensorBoard's own file layer, with and without TensorFlow.

TensorBoard's writers and readers open files through ``tensorboard.compat.tf.io.gfile``: TensorFlow's where
that is installed, which has no S3, else a stub of TensorBoard's, whose S3 sends a file anew at every flush.
Both get to see our files; everything that is not ``s3://`` goes where it went before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from bucketboard.errors import BucketboardError, Reason
from bucketboard.events.filename import is_event_file
from bucketboard.integrations import reading
from bucketboard.integrations.hook import Undo
from bucketboard.integrations.written import WRITTEN, EventStream, RunFile
from bucketboard.store.url import is_s3_url

__all__ = ["S3FileSystem", "divert"]


def _url(path: Any) -> str:
    return os.fsdecode(path)


def _kind(url: str) -> str:
    # A writer that looks before it writes must neither wait for S3 nor fail.
    known = WRITTEN.kind(url)
    if known is None and WRITTEN.is_inside(url) and not is_event_file(url):
        return ""
    return reading.kind(url) if known is None else known


def _guarded(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The file layer's own errors, which its callers know."""

    def guarded(*arguments: Any, **options: Any) -> Any:
        try:
            return operation(*arguments, **options)
        except BucketboardError as error:
            from tensorboard.compat.tensorflow_stub import errors

            kind = errors.NotFoundError if error.reason is Reason.NOT_FOUND else errors.UnavailableError
            raise kind(None, None, str(error)) from error

    guarded.__doc__ = operation.__doc__
    return guarded


class S3FileSystem:
    """A file system for TensorBoard's registry. Paths are ``s3://…``, as text or bytes."""

    def __init__(self) -> None:
        self._open: dict[str, EventStream | RunFile] = {}

    @_guarded
    def exists(self, filename: Any) -> bool:
        """Whether there is a file or directory."""
        return bool(_kind(_url(filename)))

    @_guarded
    def isdir(self, dirname: Any) -> bool:
        """Whether there is a directory: a key with this one and a slash before."""
        return _kind(_url(dirname)) == "directory"

    def join(self, path: Any, *paths: Any) -> str:
        """The parts with slashes between them."""
        return "/".join([_url(path).rstrip("/"), *(_url(part).strip("/") for part in paths)])

    def makedirs(self, dirname: Any) -> None:
        """Nothing: keys need no directories."""

    @_guarded
    def read(
        self, filename: Any, binary_mode: bool = False, size: int | None = None, continue_from: Any = None
    ) -> tuple[Any, Any]:
        """``size`` bytes from where ``continue_from`` tells, and what tells where to go on."""
        start = (continue_from or {}).get("byte_offset", 0)
        bucket, key = reading.bucket_of(_url(filename))
        data, _ = bucket.get(key, start, None if size is None else start + size)
        return data if binary_mode else data.decode(), {"byte_offset": start + len(data)}

    def write(self, filename: Any, file_content: Any, binary_mode: bool = False) -> None:
        """Begin the file anew; it grows by ``append``, and is closed at the end of the interpreter."""
        url = _url(filename)
        before = self._open.pop(url, None)
        if before is not None:
            before.close()
        self._open[url] = WRITTEN.open(url)
        self.append(url, file_content, binary_mode)

    def append(self, filename: Any, file_content: Any, binary_mode: bool = False) -> None:
        """Add to a file that ``write`` began."""
        file = self._open[_url(filename)]
        file.write(file_content)
        file.flush()

    @_guarded
    def glob(self, filename: Any) -> list[str]:
        """The files and directories that match a pattern."""
        return reading.matching(_url(filename))

    @_guarded
    def listdir(self, dirname: Any) -> list[str]:
        """The names in a directory."""
        directories, files = reading.children(_url(dirname))
        return [*directories, *(info.key.rpartition("/")[2] for info in files)]

    @_guarded
    def stat(self, filename: Any) -> Any:
        """The size, as ``length``."""
        from tensorboard.compat.tensorflow_stub import errors
        from tensorboard.compat.tensorflow_stub.io.gfile import StatData

        size = reading.size_of(_url(filename))
        if size is None:
            raise errors.NotFoundError(None, None, f"no such file: {_url(filename)}")
        return StatData(size)


def divert(compat: ModuleType) -> Undo:
    """Make ``s3://`` ours in ``tensorboard.compat.tf``, whichever of the two file layers that is."""
    lazy = compat.tf
    kind = type(lazy)  # a class of its own: TensorBoard makes one for each such module

    def io(module: Any) -> Any:
        loaded = vars(module).get("io")
        return _Io(kind.__getattr__(module, "io") if loaded is None else loaded)

    # A property stands before what loading puts into the module; TensorFlow itself is not touched.
    kind.io = property(io)

    def undo() -> None:
        del kind.io

    return undo


class _Io:
    """A ``tf.io`` whose ``gfile`` knows S3."""

    def __init__(self, real: Any) -> None:
        self._real = real

    @property
    def gfile(self) -> _Gfile:
        return _Gfile(self._real.gfile)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Gfile:
    """A ``tf.io.gfile`` that hands ``s3://`` to us and everything else to the real one."""

    _routed = frozenset({"exists", "glob", "isdir", "join", "listdir", "makedirs", "stat"})

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name not in self._routed:
            return real
        ours = getattr(_system, name)

        def routed(path: Any, *arguments: Any, **options: Any) -> Any:
            return (ours if _is_s3(path) else real)(path, *arguments, **options)

        return routed

    def GFile(self, name: Any, mode: str = "r") -> Any:
        if not _is_s3(name):
            return self._real.GFile(name, mode)
        if "w" in mode:
            return WRITTEN.open(_url(name))
        from tensorboard.compat.tensorflow_stub.io.gfile import GFile

        return GFile(name, mode)

    def walk(self, top: Any, topdown: bool = True, onerror: Any = None) -> Iterator[Any]:
        if not _is_s3(top):
            return iter(self._real.walk(top, topdown, onerror))
        found = list(reading.walk(_url(top)))
        return iter(found if topdown else found[::-1])


def _is_s3(path: Any) -> bool:
    return isinstance(path, (str, bytes)) and is_s3_url(_url(path))


_system = S3FileSystem()
