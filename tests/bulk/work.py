"""What the tests let workers do: functions that they can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from bucketboard.errors import CorruptDataError, UnavailableError


def square(number: int) -> int:
    return number * number


def fail_at_three(number: int) -> int:
    if number == 3:
        raise CorruptDataError("three is damaged")
    if number == 4:
        raise KeyError("four")
    return number


def once_unavailable(path: str) -> str:
    """Fails the first time it is called with a path."""
    marker = Path(path)
    if not marker.exists():
        marker.touch()
        raise UnavailableError("not yet")
    return "done"


def die_once(task: tuple[str, int]) -> int:
    """The first to take task 0 kills its own process."""
    directory, number = task
    marker = Path(directory) / "died"
    if number == 0 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def always_die(number: int) -> int:
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def say_and_wait(task: tuple[str, int]) -> int:
    """Writes this process's id, then waits until somebody says that it may go on."""
    directory, number = task
    (Path(directory) / f"pid-{number}-{os.getpid()}").touch()
    deadline = time.monotonic() + 60
    while not (Path(directory) / "go").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return number
