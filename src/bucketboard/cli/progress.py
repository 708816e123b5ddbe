"""A progress bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

__all__ = ["Bar", "size"]

_EVERY = 0.2


def size(count: float) -> str:
    """Bytes as people read them: 1,234 B, 56.7 kB, 8.9 MB."""
    if count < 10_000:
        return f"{count:,.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:,.1f} TB"


class Bar:
    """Shows bytes on stderr, several times a second, while it is entered; it appears with the first of them.

    ``show`` tells it how far things are, from any thread. ``ask``, where given, is called before each drawing
    and calls ``show``. What is logged meanwhile stands above the bar.
    """

    def __init__(self, task: str, *, ask: Callable[[Bar], None] | None = None, quiet: bool = False) -> None:
        self._task = task
        self._ask = ask
        self._shown = sys.stderr.isatty() and not quiet
        self._now: tuple[int, int, str] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bucketboard-progress", daemon=True)
        self._stack = contextlib.ExitStack()
        self._bar: Any = None

    def __enter__(self) -> Bar:
        if self._shown:
            from tqdm.contrib.logging import logging_redirect_tqdm

            self._stack.enter_context(logging_redirect_tqdm())
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._shown:
            self._thread.join()
            self._draw()
        if self._bar is not None:
            self._bar.close()
        self._stack.close()

    def show(self, done: int, total: int, note: str = "") -> None:
        """``done`` bytes of ``total``; ``note`` stands behind them."""
        self._now = done, total, note

    def files(self, done: int, total: int, files: int, total_files: int) -> None:
        """The same, with a count of files."""
        self.show(done, total, f"{files:,} of {total_files:,} files")

    def write(self, line: str) -> None:
        """A line on stderr, above the bar."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def _run(self) -> None:
        while not self._over.wait(_EVERY):
            self._draw()

    def _draw(self) -> None:
        from tqdm import tqdm

        if self._ask is not None:
            self._ask(self)
        if self._now is None:
            return
        if self._bar is None:
            self._bar = tqdm(
                desc=self._task,
                total=0,
                unit="B",
                unit_scale=True,
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
            )
        self._bar.n, self._bar.total, note = self._now
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.refresh()
