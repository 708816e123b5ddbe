"""What PID 1 owes: to hand on signals, and to reap processes whose parents have ended."""

from __future__ import annotations

import contextlib
import os
import signal

from bucketboard.supervise.signals import Signals

__all__ = ["stand_in_for_init"]


def stand_in_for_init(signals: Signals) -> int | None:
    """In a container's first process: go on in a child. None there; in PID 1 the status to exit with.

    So the child reaps what it started, and nothing else: PID 1 never takes the exit status of a helper from
    the library that started it. If the child is killed, PID 1 stays until what it ran has ended too.
    """
    if os.getpid() != 1:
        return None
    supervisor = os.fork()
    if not supervisor:
        return None
    status: int | None = None
    while True:
        received = signals.wait(None)
        assert received is not None
        if received.number != signal.SIGCHLD:
            if not received.terminal:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(supervisor if status is None else -1, received.number)
            continue
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == supervisor:
                    status = os.waitstatus_to_exitcode(ended[1])
                    if status >= 0:
                        return status
        except ChildProcessError:
            return 128 - (status or 0)
