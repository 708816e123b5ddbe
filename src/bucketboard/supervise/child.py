"""The command that runs under supervision."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence

from bucketboard.errors import InvalidError
from bucketboard.supervise.signals import Received

__all__ = ["Child", "CommandError"]

NOT_EXECUTABLE = 126
NOT_FOUND = 127
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_POLL = 0.02


class CommandError(InvalidError):
    """The command can't be started; ``status`` is what shells exit with then."""

    def __init__(self, message: str, *, hint: str, status: int) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Child:
    """A started command: same terminal, same process group, same standard streams.

    It owes us nothing but its parent: no pipe joins us, so it goes on when we are killed.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], mask: Collection[int]) -> None:
        """Start it, with the signal mask ``mask``.

        Raises:
            CommandError: there is no such program, or it can't be executed.
        """
        try:
            self.pid = os.posix_spawnp(
                command[0], list(command), environ, setsigmask=mask, setsigdef=_IGNORED_BY_PYTHON
            )
        except (FileNotFoundError, NotADirectoryError):
            raise CommandError(
                f"no such command: {command[0]}",
                hint="check its name, the PATH and, of a script, the interpreter in its first line",
                status=NOT_FOUND,
            ) from None
        except OSError as error:
            raise CommandError(
                f"{command[0]} can't be executed: {error.strerror}",
                hint="write the interpreter before a script: -- python train.py",
                status=NOT_EXECUTABLE,
            ) from None
        except ValueError as error:  # a NUL in an argument
            raise CommandError(
                f"{command[0]!r} can't be executed: {error}", hint="", status=NOT_EXECUTABLE
            ) from None
        self._status: int | None = None
        self.signal = ""
        """The name of the signal that ended it, if one did."""

    def poll(self) -> int | None:
        """Its exit status as shells give it, 128 + n after signal n; None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self._status = code if code >= 0 else 128 - code
                self.signal = _name(-code) if code < 0 else ""
        return self._status

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def has(self, received: Received) -> bool:
        """Whether it got this signal itself: from the terminal, or by signalling its whole group."""
        if received.sender == self.pid:
            return True
        try:
            return received.terminal and os.getpgid(self.pid) == os.getpgrp()
        except ProcessLookupError:
            return True

    def end(self, patience: float) -> None:
        """End it: SIGTERM, after ``patience`` seconds SIGKILL."""
        self.send(signal.SIGTERM)
        deadline = time.monotonic() + patience
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            time.sleep(_POLL)


def _name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
