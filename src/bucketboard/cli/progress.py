"""A progress bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bucketboard.logdir.report import Progress

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
    """Shows what ``progress`` says, several times a second, in files and bytes, while it is entered."""

    def __init__(self, progress: Callable[[], Progress], *, quiet: bool = False) -> None:
        self._progress = progress
        self._shown = sys.stderr.isatty() and not quiet
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bucketboard-progress", daemon=True)
        self._bar: Any = None

    def __enter__(self) -> Bar:
        if self._shown:
            from tqdm import tqdm

            self._bar = tqdm(
                unit="B", unit_scale=True, file=sys.stderr, dynamic_ncols=True, leave=False, total=0
            )
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._bar is not None:
            self._thread.join()
            self._bar.close()

    def write(self, line: str) -> None:
        """A line on stderr, above the bar."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def _run(self) -> None:
        while not self._over.wait(_EVERY):
            now = self._progress()
            self._bar.total = now.total_bytes
            self._bar.n = now.bytes
            self._bar.set_postfix_str(f"{now.files:,} of {now.total_files:,} files", refresh=False)
            self._bar.refresh()
