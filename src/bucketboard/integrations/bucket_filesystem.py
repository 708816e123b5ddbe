"""``s3://`` for fsspec, through which Lightning looks at directories and stores checkpoints.

Used only where s3fs, fsspec's own way to S3, is not installed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO

from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from bucketboard.errors import BucketboardError, Reason
from bucketboard.events.record import crc32c
from bucketboard.integrations import reading
from bucketboard.integrations.written import WRITTEN
from bucketboard.store.bucket import Content, Part

__all__ = ["BucketFileSystem"]

_PART = 64 << 20


class BucketFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Directories and files below ``s3://``. What S3 refuses is an OSError, as of other file systems.

    A file that lies directly in the directory of a run which this process logs is sent in the background,
    with the run's event files; any other is stored when it is closed.
    """

    protocol = "s3"
    cachable = True

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(entry) for entry in path]
        return str(path).removeprefix("s3://").rstrip("/")

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """The entries of a directory, or the file itself."""
        path = self._strip_protocol(path)
        directories, files = _translated(reading.children, f"s3://{path}")
        entries = [_entry(f"{path}/{name}", "directory") for name in directories]
        bucket = path.partition("/")[0]
        entries += [_entry(f"{bucket}/{info.key}", "file", info.size) for info in files]
        if not entries:
            entries = [self.info(path)]
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Name, type and size; FileNotFoundError where there is nothing."""
        path = self._strip_protocol(path)
        url = f"s3://{path}"
        kind = _translated(reading.kind, url)
        if not kind:
            raise FileNotFoundError(url)
        known = WRITTEN.kind(url) is not None
        return _entry(path, kind, _translated(reading.size_of, url) if kind == "file" and not known else 0)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing: keys need no directories."""

    def mkdir(self, path: str, create_parents: bool = True, **options: Any) -> None:
        """Nothing: keys need no directories."""

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: Any = None,
        autocommit: bool = True,
        cache_options: Any = None,
        **options: Any,
    ) -> Any:
        if mode == "rb":
            return _Reading(self, path, mode, 8 << 20 if block_size in (None, "default") else block_size)
        if mode not in ("wb", "xb"):
            raise NotImplementedError(f"objects can't be opened with mode {mode!r}")
        if autocommit and WRITTEN.is_run(f"s3://{path}".rpartition("/")[0]):
            return WRITTEN.open(f"s3://{path}")
        return _Writing(self, path, autocommit)

    def put_file(
        self, lpath: str, rpath: str, callback: Any = None, mode: str = "overwrite", **options: Any
    ) -> None:
        """Store a local file, in parts where it is large."""
        with open(lpath, "rb") as file:
            _translated(_store, f"s3://{self._strip_protocol(rpath)}", file)

    def rm_file(self, path: str) -> None:
        """Delete an object."""
        bucket, key = reading.bucket_of(f"s3://{self._strip_protocol(path)}")
        _translated(bucket.delete, key)

    _rm = rm_file

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """Bytes of a file."""
        bucket, key = reading.bucket_of(f"s3://{self._strip_protocol(path)}")
        data, _ = _translated(bucket.get, key, start or 0, end)
        return bytes(data)


class _Reading(AbstractBufferedFile):  # type: ignore[misc]
    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = self.fs.cat_file(self.path, start, end)
        return data


class _Writing:
    """A local temporary file that becomes an object when it is closed, or its transaction is committed."""

    def __init__(self, fs: BucketFileSystem, path: str, autocommit: bool) -> None:
        self._file = tempfile.NamedTemporaryFile()  # noqa: SIM115  closed by commit or discard
        self._fs = fs
        self._autocommit = autocommit
        self.path = path
        self.closed = False

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self._autocommit:
                self.commit()

    def commit(self) -> None:
        self._file.flush()
        with self._file:
            self._fs.put_file(self._file.name, self.path)

    def discard(self) -> None:
        self._file.close()

    def __enter__(self) -> _Writing:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _store(url: str, file: BinaryIO) -> None:
    bucket, key = reading.bucket_of(url)
    content = Content("application/octet-stream", {}, final=True)
    size = os.fstat(file.fileno()).st_size
    if size <= _PART:
        body = file.read()
        bucket.put(key, body, content, crc=crc32c(body))
        return
    upload_id = bucket.create_upload(key, content)
    try:
        parts: list[Part] = []
        whole = 0
        step = max(_PART, -(-size // 10_000))
        while body := file.read(step):
            parts.append(bucket.upload_part(key, upload_id, len(parts) + 1, body, crc32c(body)))
            whole = crc32c(body, whole)
        bucket.complete_upload(key, upload_id, parts, size=size, crc=whole)
    except BaseException:
        bucket.abort_upload(key, upload_id)
        raise


def _translated(operation: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return operation(*arguments)
    except BucketboardError as error:
        missing = error.reason in (Reason.NOT_FOUND, Reason.NO_SUCH_BUCKET)
        kind = FileNotFoundError if missing else PermissionError if error.reason is Reason.DENIED else OSError
        raise kind(str(error)) from error


def _entry(path: str, kind: str, size: int | None = 0) -> dict[str, Any]:
    return {"name": path, "type": kind, "size": size or 0}
