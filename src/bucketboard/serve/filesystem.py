"""``s3://`` paths for TensorBoard: a file system of its ``gfile`` registry, answered by what is served.

TensorBoard reacts to errors by their type. ``OpError`` is "not now": the run is tried again at the next
reload. ``NotFoundError`` in a directory that is gone removes the run. Anything else ends the reload.
"""

from __future__ import annotations

from typing import Any, NoReturn

from tensorboard.compat.tensorflow_stub import errors
from tensorboard.compat.tensorflow_stub.io import gfile

from bucketboard.errors import BucketboardError, InvalidError, Reason
from bucketboard.serve.prefix import Prefix
from bucketboard.serve.tree import is_event_file, parent

__all__ = ["S3FileSystem", "mount", "unmount"]


class S3FileSystem:
    """The prefixes that this process serves, as directories that can be read."""

    def __init__(self) -> None:
        self._mounts: dict[str, Prefix] = {}

    def add(self, prefix: Prefix) -> None:
        """Answer for what is below ``prefix``."""
        self._mounts[str(prefix.url)] = prefix

    def remove(self, prefix: Prefix) -> None:
        """Answer for it no more."""
        del self._mounts[str(prefix.url)]

    def __contains__(self, prefix: Prefix) -> bool:
        return str(prefix.url) in self._mounts

    def __bool__(self) -> bool:
        return bool(self._mounts)

    def exists(self, filename: str | bytes) -> bool:
        """Whether it is a file or a directory."""
        prefix, path = self._find(filename)
        return prefix.tree.exists(path) and path not in prefix.forgotten

    def isdir(self, dirname: str | bytes) -> bool:
        """Whether it is a directory."""
        prefix, path = self._find(dirname)
        return prefix.tree.is_directory(path)

    def listdir(self, dirname: str | bytes) -> list[str]:
        """The names in a directory."""
        prefix, path = self._find(dirname)
        if not prefix.tree.is_directory(path):
            raise _not_found(dirname)
        return prefix.tree.names(path)

    def glob(self, filename: str | bytes | list[str]) -> list[str]:
        """The paths that match a pattern, or several."""
        if isinstance(filename, list):
            return [path for pattern in filename for path in self.glob(pattern)]
        prefix, pattern = self._find(filename)
        return [f"{prefix.url}/{path}" for path in prefix.tree.glob(pattern)]

    def join(self, path: str, *paths: str) -> str:
        """Join with slashes."""
        return "/".join((path.rstrip("/"), *paths))

    def stat(self, filename: str | bytes) -> Any:
        """The length, as of the last listing."""
        prefix, path = self._find(filename)
        if path not in prefix.tree.files:
            raise _not_found(filename)
        return gfile.StatData(prefix.tree.files[path].size)

    def read(
        self,
        filename: str | bytes,
        binary_mode: bool = False,
        size: int | None = None,
        continue_from: dict[str, int] | None = None,
    ) -> tuple[Any, dict[str, int]]:
        """Read on from where the last read stopped; gives the content and a token for the next read.

        Event files are read in whole records: TensorBoard drops what it holds of a record when the read
        that would complete it fails, and could not read that file any further.
        """
        prefix, path = self._find(filename)
        if path not in prefix.tree.files or parent(path) in prefix.forgotten:
            raise _not_found(filename)
        offset = (continue_from or {}).get("offset", 0)
        try:
            if binary_mode and size is not None and is_event_file(path):
                data = prefix.read_events(path, offset, size)
            else:
                # Text is decoded as a whole, so that no character is cut.
                data = prefix.read(path, offset, size if binary_mode else None)
        except BucketboardError as error:
            if error.reason is Reason.NOT_FOUND:
                raise _not_found(filename) from error
            raise errors.UnavailableError(None, None, str(error)) from error
        return data if binary_mode else data.decode(), {"offset": offset + len(data)}

    def write(self, filename: str | bytes, file_content: Any, binary_mode: bool = False) -> NoReturn:
        """Refused: a viewer changes nothing."""
        raise _read_only(filename)

    append = write  # without it TensorBoard collects what is written, and learns of the refusal at the end

    def makedirs(self, dirname: str | bytes) -> NoReturn:
        """Refused: a viewer changes nothing."""
        raise _read_only(dirname)

    def _find(self, name: str | bytes) -> tuple[Prefix, str]:
        """The innermost served prefix that ``name`` is in, and the path in it."""
        text = _text(name)
        for root in sorted(self._mounts, key=len, reverse=True):
            if text == root or text.startswith(f"{root}/"):
                return self._mounts[root], text[len(root) :].strip("/")
        raise errors.UnavailableError(None, None, f"{text} is not below a prefix that is served here")


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _not_found(name: str | bytes) -> Exception:
    error: Exception = errors.NotFoundError(None, None, f"{_text(name)} does not exist")
    return error


def _read_only(name: str | bytes) -> Exception:
    error: Exception = errors.PermissionDeniedError(None, None, f"{_text(name)}: the viewer only reads")
    return error


_served = S3FileSystem()
_replaced: list[Any] = []


def mount(prefix: Prefix) -> None:
    """Let TensorBoard read what is below ``prefix``.

    Raises:
        InvalidError: this process serves it already.
    """
    if prefix in _served:
        raise InvalidError(f"{prefix.url} is served by this process already", hint="close that server first")
    if not _served:
        _replaced.append(gfile.get_filesystem("s3://"))
        gfile.register_filesystem("s3", _served)
    _served.add(prefix)


def unmount(prefix: Prefix) -> None:
    """Undo :func:`mount`; after the last one TensorBoard's own S3 file system is back."""
    _served.remove(prefix)
    if not _served:
        gfile.register_filesystem("s3", _replaced.pop())
