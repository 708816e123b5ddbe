"""Making the index of what a viewer had to read whole, so that the next look need not."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from bucketboard.errors import BucketboardError
from bucketboard.events.filename import is_event_file
from bucketboard.serve.indexed import MANIFEST_PATH
from bucketboard.serve.mount import Mount
from bucketboard.source import BucketSource
from bucketboard.store.bucket import ObjectInfo

__all__ = ["Indexing", "Kept", "keep_for_index"]

_log = logging.getLogger(__name__)
_WORTH_IT = 0.1
"""Part of all bytes that is indexed when it was not before."""
_DEFAULT_LIMIT = 1 << 30
_CLOSE_TIMEOUT = 1.0
_DELAY = 10.0
"""Seconds after the first data, which come first."""


class Kept:
    """A mount's files; what was read from their beginnings is kept in a temporary file, to be read again.

    Beyond ``limit`` bytes nothing more is kept.
    """

    def __init__(self, mount: Mount, source: BucketSource, limit: int) -> None:
        self._mount = mount
        self._source = source
        self._limit = limit
        self._file: IO[bytes] | None = tempfile.TemporaryFile(prefix="bucketboard-")  # noqa: SIM115
        self._size = 0
        self._pieces: dict[str, list[tuple[int, int, int]]] = {}
        """By path: where a piece begins in the event file, where here, and its length."""
        self._infos: dict[str, ObjectInfo] = {}
        self._lock = threading.Lock()

    def keep(self, path: str, start: int, data: bytes, info: ObjectInfo) -> None:
        """Remember what was read of ``path`` from ``start`` on, if all before was kept."""
        if not is_event_file(path):
            return
        with self._lock:
            pieces = self._pieces.setdefault(path, [])
            end = pieces[-1][0] + pieces[-1][2] if pieces else 0
            if self._file is None or start != end or self._size + len(data) > self._limit:
                return
            self._file.seek(self._size)
            self._file.write(data)
            pieces.append((start, self._size, len(data)))
            self._size += len(data)
            self._infos[path] = info

    @property
    def much(self) -> bool:
        """Whether it is a good part of all: what is little is read each time rather than indexed."""
        event_files = [info.size for path, info in self._mount.files.items() if is_event_file(path)]
        return self._size > _WORTH_IT * sum(event_files)

    def files(self) -> dict[str, ObjectInfo]:
        """All files, as they were when they were read."""
        with self._lock:
            return {**self._mount.files, **self._infos}

    def get(self, path: str, start: int = 0, stop: int | None = None) -> tuple[bytes, ObjectInfo]:
        """What was kept, else what the source has."""
        with self._lock:
            info = self._infos.get(path)
            if info is not None:
                end = info.size if stop is None else min(stop, info.size)
                found = b"".join(self._read(path, start, end))
                if start + len(found) == end:
                    return found, info
        return self._source.get(path, start, stop)

    def _read(self, path: str, start: int, end: int) -> Iterator[bytes]:
        assert self._file is not None
        for begin, place, length in self._pieces[path]:
            first, last = max(begin, start), min(begin + length, end)
            if first < last:
                self._file.seek(place + first - begin)
                yield self._file.read(last - first)

    def close(self) -> None:
        """Keep nothing, and forget what was kept."""
        with self._lock:
            self._infos = {}
            if self._file is not None:
                self._file.close()
                self._file = None


class Indexing:
    """Indexes, once and in the background, what was read of some mounts from the beginning.

    With ``publish`` the index goes into the bucket, else into a cache of ``cache_size`` bytes here.
    """

    def __init__(self, mounts: Mapping[Mount, Kept], *, publish: bool, cache_size: int) -> None:
        self._mounts = mounts
        self._publish = publish
        self._cache_size = cache_size
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self.done = threading.Event()
        """Set once nothing is left to be done."""

    def start(self, delay: float = _DELAY) -> None:
        """Begin after ``delay`` seconds."""
        thread = threading.Thread(target=self._run, args=(delay,), name="bucketboard-index", daemon=True)
        thread.start()
        self._thread = thread  # only now: it may be joined by another thread

    def close(self) -> None:
        """Begin nothing more. What is under way may end anywhere: an index is never half valid."""
        self._stopped.set()
        if self._thread is None:
            self._release()
        else:
            self._thread.join(_CLOSE_TIMEOUT)

    def _run(self, delay: float) -> None:
        try:
            if not self._stopped.wait(delay):
                for mount, kept in self._mounts.items():
                    if kept.much and not self._stopped.is_set():
                        self._update(mount, kept)
        finally:
            self._release()
            self.done.set()

    def _release(self) -> None:
        for mount, kept in self._mounts.items():
            if isinstance(mount.source, BucketSource):
                mount.source.overhear = None
            kept.close()

    def _update(self, mount: Mount, kept: Kept) -> None:
        assert isinstance(mount.source, BucketSource)
        bucket: Any = mount.source.bucket
        try:
            from bucketboard.index import BucketObjects, local_index, update

            if self._publish:
                report = update(kept, BucketObjects(bucket, mount.source.url.prefix))
                _log.info("the index of %s has %d rows more", mount.source.location, report.rows)
            elif MANIFEST_PATH not in mount.files:  # everybody's own would have to be read from the files
                update(kept, local_index(mount.source.identity, self._cache_size))
        except ImportError as error:
            if self._publish:
                _log.warning("no index can be made: %s (pip install 'bucketboard[index]')", error)
        except BucketboardError as error:
            _log.warning("the index of %s could not be made: %s", mount.source.location, error)


def keep_for_index(mounts: Sequence[Mount], limit: int) -> dict[Mount, Kept]:
    """From now on, keep what is read of mounts in a bucket, up to ``limit`` bytes (0: the default)."""
    kept = {}
    for mount in mounts:
        if isinstance(mount.source, BucketSource):
            kept[mount] = Kept(mount, mount.source, limit or _DEFAULT_LIMIT)
            mount.source.overhear = kept[mount].keep
    return kept
