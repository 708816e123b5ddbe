"""Names of event files: ``events.out.tfevents.<time>.<host>.<pid>.<n><suffix>``, as TensorFlow writes them.

Readers take the files of a run in the order of their names, so the time field decides the order.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace

__all__ = ["PREFIX", "EventFileName", "is_event_file", "newest_time"]

PREFIX = "events.out.tfevents."
_TIME = re.compile(re.escape(PREFIX) + r"(\d{1,12})(?:\.|$)")
_counter = itertools.count()


@dataclass(frozen=True, slots=True)
class EventFileName:
    """The parts of a name; ``time`` is in whole seconds since the epoch."""

    time: int
    host: str
    pid: int
    n: int
    suffix: str = ""

    @classmethod
    def new(cls, time: int, suffix: str = "") -> EventFileName:
        """A name for this host and process, with the process's next number."""
        return cls(time, socket.gethostname(), os.getpid(), next(_counter), suffix)

    def at(self, time: int) -> EventFileName:
        """The same name with another time."""
        return replace(self, time=time)

    def __str__(self) -> str:
        return f"{PREFIX}{self.time:010d}.{self.host}.{self.pid}.{self.n}{self.suffix}"


def is_event_file(path: str) -> bool:
    """Whether TensorBoard reads the file at ``path`` (or with this key) as events."""
    return "tfevents" in path.rpartition("/")[2]


def newest_time(names: Iterable[str]) -> int:
    """The latest time field among ``names`` (keys or paths); -1 if there is no event file."""
    times = (_TIME.match(name.rpartition("/")[2]) for name in names)
    return max((int(match.group(1)) for match in times if match), default=-1)
