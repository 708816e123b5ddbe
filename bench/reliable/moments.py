"""When a process is killed: at a random moment, or while one certain request of its is under way."""

from __future__ import annotations

import contextlib
import random
import time

from bucketboard.testing import Fault, FaultKind
from bucketboard.testing.faults import Injection
from promised import Place

IN_A_REQUEST = 0.4
"""The share of kills that wait for a request."""
_PATIENCE = 3.0
_WHOLE = ("ListObjectsV2", "PutObject")
_PARTS = ("CreateMultipartUpload", "UploadPartCopy", "UploadPart", "CompleteMultipartUpload")
_UNKNOWN = "CreateMultipartUpload"
"""Nobody could know of an upload that is begun when everything is over."""


class Moments:
    """Chooses moments. A request that was under way arrives when its sender is dead, or a life later."""

    def __init__(self, there: Place, chance: random.Random) -> None:
        self._there = there
        self._chance = chance
        self._late: Injection | None = None
        self.in_requests = 0

    def prepare(self, *, large: bool) -> Injection | None:
        """Before the process starts: what is to hold one of its requests, if that is the moment.

        ``large``: it has objects that are sent in parts.
        """
        if self._chance.random() > IN_A_REQUEST:
            return None
        operation = self._chance.choice((*_WHOLE, *_PARTS) if large else _WHOLE)
        fault = Fault(FaultKind.HOLD, operation=operation, nth=self._chance.choice([1, 1, 2, 3]))
        return self._there.proxy.inject(fault)

    def wait(self, held: Injection | None, seconds: float) -> None:
        """Until the moment has come: the request, or up to ``seconds`` by chance."""
        if held is None:
            time.sleep(self._chance.random() * seconds)
        else:
            with contextlib.suppress(TimeoutError):  # it sends no such request
                held.wait_fired(timeout=_PATIENCE)
                self.in_requests += 1

    def over(self, held: Injection | None) -> None:
        """The process is dead."""
        self._release(self._late, still=held)
        self._late = None
        if held is not None and held.fault.operation != _UNKNOWN and self._chance.random() < 0.3:
            self._late = held
        else:
            self._release(held)

    def end(self) -> None:
        """Let what is still held arrive."""
        self.over(None)

    def _release(self, held: Injection | None, still: Injection | None = None) -> None:
        """Let go on what ``held`` holds, until all but what ``still`` holds is answered."""
        if held is None:
            return
        held.remove()
        deadline = time.monotonic() + 60
        while True:
            total = self._there.proxy.counts.total
            if total.requests - sum(total.statuses.values()) <= (still.fired if still else 0):
                return
            if time.monotonic() > deadline:
                raise TimeoutError("a request that was let go is not answered")
            time.sleep(0.005)
