"""The signals sent to this process, taken one by one by its main thread, with who sent them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass

__all__ = ["Received", "Signals"]

_WATCHED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGCONT,
    signal.SIGTSTP,
)
_OF_TERMINALS = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH}
_POLL = 0.05


@dataclass(frozen=True)
class Received:
    """A signal. ``sender`` is a process id, 0 where that is not known.

    ``terminal``: a terminal sent it to the whole foreground process group, not somebody to us alone.
    """

    number: int
    sender: int = 0
    terminal: bool = False

    @property
    def name(self) -> str:
        return signal.Signals(self.number).name


class Signals:
    """From its making on, signals wait until `wait` takes them.

    To be made before any thread is, so that all threads leave them to `wait`; a signal that one thread does
    not block goes to that one, and does there what it does by default.

    They stay blocked: what arrives in the last moments must not change how this process ends. What was
    ignored before (by nohup, or by a shell for its background) stays ignored, here and in the command.
    """

    def __init__(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited as ignored it would hide how children end
        self._watched = {number for number in _WATCHED if signal.getsignal(number) != signal.SIG_IGN}
        self._watched.add(signal.SIGCHLD)
        self.before: set[int] = signal.pthread_sigmask(signal.SIG_BLOCK, self._watched)
        """The mask that a command is to be started with."""

    def wait(self, timeout: float | None) -> Received | None:
        """The next signal (SIGCHLD included); None when none comes within ``timeout`` seconds."""
        if not hasattr(signal, "sigtimedwait"):
            return self._poll(timeout)
        if timeout is None:
            info = signal.sigwaitinfo(self._watched)
        else:
            found = signal.sigtimedwait(self._watched, max(0.0, timeout))
            if found is None:
                return None
            info = found
        # Above 0: made by the kernel, which for these signals is the terminal's driver.
        return Received(info.si_signo, info.si_pid, info.si_signo in _OF_TERMINALS and info.si_code > 0)

    def _poll(self, timeout: float | None) -> Received | None:
        """The same on macOS, which tells neither the time nor the sender."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (pending := signal.sigpending() & self._watched):
            if deadline is not None and time.monotonic() >= deadline:
                return None
            time.sleep(_POLL)
        number = signal.sigwait(pending)
        return Received(number, 0, number in _OF_TERMINALS and _in_foreground())

    def suspend(self) -> None:
        """Do what SIGTSTP does by itself: stop this process until it is continued."""
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})

    def wake(self) -> None:
        """Let `wait` return, from another thread."""
        os.kill(os.getpid(), signal.SIGCHLD)


def _in_foreground() -> bool:
    with contextlib.suppress(OSError), open("/dev/tty") as terminal:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False
