"""Told by the operating system which files of a directory change; scans remain the truth."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["Watcher"]

_DEBOUNCE_MS = 400
_STEP_MS = 100


class Watcher:
    """Calls ``changed`` with relative paths, from a thread of its own; ``failed`` once, if it can't go on."""

    def __init__(
        self, root: Path, changed: Callable[[set[str]], None], failed: Callable[[str], None]
    ) -> None:
        self._root = root
        self._changed = changed
        self._failed = failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bucketboard-watch", daemon=True)

    def start(self) -> None:
        """Begin; the directory must be there."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        try:
            from watchfiles import watch

            logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of each change
            root = os.path.realpath(self._root)
            for changes in watch(
                root,
                watch_filter=None,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                stop_event=self._stop,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                self._changed({os.path.relpath(path, root) for _, path in changes})
        except Exception as error:  # no inotify watches left, no such directory any more, ...
            if not self._stop.is_set():
                self._failed(f"{type(error).__name__}: {error}")
