"""Spooled log directories as they lie in the spool: what a framework writes, and where it belongs.

A directory ``logdir-<id>`` with ``target.json`` (the URL and the options), ``files`` (what is written) and
``sent.sqlite3`` (what was sent of it, a cache). The process that writes holds a record lock on the first byte
of ``target.json``, the process that sends one on the second; neither is inherited by a forked child. Who gets
both may send what is left. ``files`` is removed first, so a directory without it is finished.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bucketboard.errors import CorruptDataError
from bucketboard.replication.spool import RUN_PREFIX

__all__ = ["Spooled", "entries"]

FORMAT = 1
PREFIX = "logdir-"
_WRITER, _SENDER = 0, 1
_TARGET = "target.json"
_LOOK = 0.2
_held: set[Path] = set()
"""Those this process holds a lock of: opening the file again and closing it would drop the lock."""
os.register_at_fork(after_in_child=_held.clear)


class Spooled:
    """One of them. ``url`` and ``options`` say where its files belong; they hold no secrets."""

    def __init__(self, path: Path, url: str, options: Mapping[str, Any]) -> None:
        self.path = path
        self.url = url
        self.options = {**options, "cache": path / "sent.sqlite3"}
        self._fd = -1

    @property
    def files(self) -> Path:
        """The directory that is written to."""
        return self.path / "files"

    @property
    def size(self) -> int:
        """The bytes of its files."""
        total = 0
        for directory, _, names in os.walk(self.files):
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(directory, name)).st_size
        return total

    @classmethod
    def create(cls, spool: Path, url: str, options: Mapping[str, Any]) -> Spooled:
        """A new, empty one, held by this process as the one that writes.

        Raises:
            OSError: the spool can't be written.
        """
        name = uuid.uuid4().hex
        hidden, path = spool / f".{name}", spool / f"{PREFIX}{name}"
        hidden.mkdir(mode=0o700)
        (hidden / "files").mkdir()
        values = {"format": FORMAT, "url": url, "options": dict(options), "created": time.time()}
        (hidden / _TARGET).write_text(json.dumps(values, default=os.fspath), encoding="utf-8")
        made = cls(path, url, options)
        made._lock(_WRITER, hidden)  # before a recovery can find it
        hidden.rename(path)
        return made

    @classmethod
    def load(cls, path: Path) -> Spooled:
        """The one at ``path``, not yet held.

        Raises:
            CorruptDataError: it does not say where its files belong, or a newer version wrote it.
        """
        try:
            values = json.loads((path / _TARGET).read_text(encoding="utf-8"))
            if values["format"] > FORMAT:
                raise CorruptDataError(
                    f"{path} has spool format {values['format']}", hint="recover it with a newer bucketboard"
                )
            if not (isinstance(values["url"], str) and isinstance(values["options"], dict)):
                raise TypeError("url and options are of other types")
            return cls(path, values["url"], values["options"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptDataError(f"{path} does not say where its files belong: {error}") from error

    def hold_to_send(self, within: float) -> bool:
        """Be the process that sends, as soon as no other one is; False: not in time, or it is gone."""
        deadline = time.monotonic() + within
        while not self._lock(_SENDER):
            if not self.path.exists() or time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK)
        return True

    def take(self) -> str:
        """Hold all of it: "" if that succeeded, else who holds it: "writer" or "sender"."""
        if self.path in _held or not self._lock(_WRITER):
            return "writer"
        if not self._lock(_SENDER):
            self.let_go()
            return "sender"
        return ""

    def _lock(self, byte: int, path: Path | None = None) -> bool:
        try:
            if self._fd < 0:
                self._fd = os.open((path or self.path) / _TARGET, os.O_RDWR | os.O_CLOEXEC)
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            if self.path not in _held:
                self.let_go()
            return False
        _held.add(self.path)
        return True

    def let_go(self) -> None:
        """Hold nothing of it any longer."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        _held.discard(self.path)

    def remove(self) -> None:
        """S3 has everything."""
        shutil.rmtree(self.files, ignore_errors=True)
        if not self.files.exists():
            shutil.rmtree(self.path, ignore_errors=True)
        self.let_go()


def entries(spool: Path) -> Iterator[Path]:
    """The spooled log directories in a spool, and in those of supervised commands in it."""
    for pattern in (f"{PREFIX}*", f"{RUN_PREFIX}*/{PREFIX}*"):
        yield from sorted(path for path in spool.glob(pattern) if path.is_dir())
