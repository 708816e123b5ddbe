"""``run``: a command whose log directory is replicated, with the promise that its end drains it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from bucketboard.errors import InvalidError
from bucketboard.replication.options import AUTO
from bucketboard.replication.spool import RUN_PREFIX, prepare_directory
from bucketboard.supervise.child import Child
from bucketboard.supervise.sending import Deadline, Outcome, Say, Sending
from bucketboard.supervise.signals import Signals

if TYPE_CHECKING:
    from bucketboard.logdir.replicator import Replicator

__all__ = ["INCOMPLETE", "Ended", "Supervisor"]

INCOMPLETE = 75
_ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
_RESERVE = 5.0
_LET_GO = 0.7
"""Seconds in which threads come to an end when time is up, or when they are told to stop."""
_SPOOL = "BUCKETBOARD_SPOOL"


@dataclass(frozen=True)
class Ended:
    """``status`` is what to exit with; ``abandoned``: a thread still hangs in a request."""

    status: int
    command: int
    outcome: Outcome
    abandoned: bool


class Supervisor:
    """Runs one command, in the main thread of a process that exists for nothing else."""

    def __init__(
        self,
        command: Sequence[str],
        replicator: Replicator,
        *,
        grace: float = 25.0,
        drain_timeout: float = 300.0,
        environ: Mapping[str, str] = os.environ,
        say: Say,
    ) -> None:
        """``grace`` counts from a SIGTERM and covers the command's end and the drain; all in seconds."""
        for name, seconds in (("grace", grace), ("drain_timeout", drain_timeout)):
            if not seconds >= 0:
                raise InvalidError(f"{name}={seconds!r} must not be negative")
        if not command:
            raise InvalidError("no command to run", hint="write it after two dashes: -- python train.py")
        self._command = list(command)
        self._replicator = replicator
        self._grace = grace
        self._drain_timeout = drain_timeout
        self._environ = dict(environ)
        self._say = say
        self._deadline: Deadline | None = None
        self._asked = False

    def run(self, signals: Signals) -> Ended:
        """Start the command, replicate until it has ended however it ends, drain.

        Raises:
            CommandError: it can't be started.
        """
        spool = self._prepare_spool()
        if spool is not None:
            self._environ[_SPOOL] = str(spool)
        try:
            child = Child(self._command, self._environ, signals.before)
        except InvalidError:
            _remove_if_empty(spool)
            raise
        try:
            self._say("start", f"running {shlex.join(self._command)}", pid=child.pid, command=self._command)
            sending = Sending(self._replicator, spool, self._say, signals.wake)
            sending.start()
            status = self._attend(child, signals)
        finally:
            child.end(_RESERVE)
        how = f"by {child.signal}" if child.signal else f"with status {status}"
        self._say("exit", f"the command ended {how}", status=status, signal=child.signal)
        abandoned = self._drain(sending, signals)
        if sending.outcome.held == 0:
            _remove_if_empty(spool)
        incomplete = abandoned or not sending.outcome.complete
        return Ended(status or (INCOMPLETE if incomplete else 0), status, sending.outcome, abandoned)

    def _prepare_spool(self) -> Path | None:
        """A spool of this run's own, or None where the user has chosen one, or none can be made."""
        if self._environ.get(_SPOOL, AUTO) not in (AUTO, ""):
            return None
        try:
            return prepare_directory(str(prepare_directory(AUTO) / f"{RUN_PREFIX}{uuid4().hex}"))
        except (OSError, RuntimeError, InvalidError):
            return None  # writers find out by themselves, and say so

    def _attend(self, child: Child, signals: Signals) -> int:
        """Hand on signals until the command has ended; end it in time for the drain."""
        killing: Deadline | None = None
        while (status := child.poll()) is None:
            if killing is not None and not killing.left:
                self._say("kill", f"{self._command[0]} did not end in time: SIGKILL")
                child.send(signal.SIGKILL)
                killing = None
            received = signals.wait(None if killing is None else killing.left)
            if received is None or received.number == signal.SIGCHLD:
                continue
            if not child.has(received):
                child.send(received.number)
            if received.number == signal.SIGTSTP:
                signals.suspend()
            elif received.number in _ENDING and received.sender != child.pid:
                self._asked = True
                self._say("signal", f"{received.name}: handed on", signal=received.name)
                if received.number == signal.SIGTERM and self._deadline is None:
                    self._deadline = Deadline(self._grace)
                    killing = Deadline(self._grace - min(_RESERVE, self._grace / 4))
        return status

    def _drain(self, sending: Sending, signals: Signals) -> bool:
        """Send the rest. Whether a thread had to be left hanging."""
        deadline = self._deadline or Deadline(self._drain_timeout)
        sending.finish(deadline)
        while not sending.done and deadline.left and not sending.outcome.stopped:
            received = signals.wait(deadline.left)
            if received is None or received.number not in _ENDING:
                continue
            if self._asked:
                self._say("signal", f"{received.name}: not waiting for the rest", signal=received.name)
                sending.stop()
                continue
            self._asked = True
            deadline.shorten(self._grace)
            self._say(
                "signal",
                f"{received.name}: {self._grace:g} s left for the rest; once more ends it at once",
                signal=received.name,
            )
        if not sending.outcome.stopped:
            _await(sending, signals, _LET_GO)  # time is up: it says itself what is left
        if not sending.done:
            sending.stop()
            _await(sending, signals, _LET_GO)
        return not sending.done


def _await(sending: Sending, signals: Signals, seconds: float) -> None:
    last = Deadline(seconds)
    while not sending.done and last.left:
        signals.wait(last.left)


def _remove_if_empty(directory: Path | None) -> None:
    if directory is not None:
        with contextlib.suppress(OSError):
            directory.rmdir()
