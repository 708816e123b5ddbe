"""Faults for a proxy to commit: what, on which requests, how often."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from random import Random
from threading import Condition
from xml.sax.saxutils import escape

from bucketboard.testing.operations import Request

Headers = list[tuple[bytes, bytes]]


class FaultKind(Enum):
    """What happens to a request. `REFUSE`, `RESET`, `HANG` and `STATUS` keep it from the server."""

    REFUSE = "refuse"
    """The connection is closed without a reply."""
    RESET = "reset"
    """The connection is reset (RST) before anything is forwarded."""
    HANG = "hang"
    """The request is read and never answered; the connection is reset when the fault is removed."""
    STATUS = "status"
    """The proxy itself replies, with an S3 error document."""
    LOST_REPLY = "lost_reply"
    """The server does what was asked, then the connection is reset without a reply."""
    TRUNCATE = "truncate"
    """The reply's head and half of its body are passed on, then the connection is reset."""
    MASK = "mask"
    """The server does what was asked and the client is told otherwise, as by `STATUS`; a refusal passes as it
    is. So answers a gateway that lost the reply, asked again and passes on what it was told then."""
    CORRUPT = "corrupt"
    """One byte in the middle of the reply's body is another; its length is right."""
    CORRUPT_UPLOAD = "corrupt_upload"
    """One byte in the middle of the request's body reaches the server as another."""
    STALE = "stale"
    """The first matching request passes; later ones with the same target are answered as it was."""
    SLOW = "slow"
    """The request waits for `Fault.delay` seconds."""
    HOLD = "hold"
    """The request waits until the fault is removed, then goes on: for tests of races."""


@dataclass(frozen=True)
class Fault:
    """A fault and the requests it hits.

    *operation* is a name or several, *key* a glob (``*`` matches ``/`` too), *when* any further condition.
    Of the matching requests it hits the *nth* (from 1) and those after it, at most *times* of them (once
    when only *nth* is given), each with *probability*. *status*, *code*, *headers* and *details* (further
    elements of the document) make the reply of `FaultKind.STATUS` and `FaultKind.MASK`; a status of 200 gives
    an error document inside a success, as S3 can. `bucketboard.testing.answers` has S3's own by name.
    """

    kind: FaultKind
    operation: str | tuple[str, ...] | None = None
    key: str | None = None
    nth: int | None = None
    times: int | None = None
    probability: float = 1.0
    status: int = 503
    code: str = "SlowDown"
    delay: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    when: Callable[[Request], bool] | None = None

    def matches(self, request: Request) -> bool:
        """Whether *request* is one that this fault may hit."""
        operations = (self.operation,) if isinstance(self.operation, str) else self.operation
        return (
            (operations is None or request.operation in operations)
            and (self.key is None or fnmatchcase(request.key, self.key))
            and (self.when is None or self.when(request))
        )

    def document(self, request: Request) -> bytes:
        """The S3 error document of a `FaultKind.STATUS` or `FaultKind.MASK`."""
        details = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in self.details.items())
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{escape(self.code)}</Code><Message>Injected fault.</Message>"
            f"<Resource>{escape(f'/{request.bucket}/{request.key}')}</Resource>{details}"
            "<RequestId>INJECTED</RequestId></Error>"
        ).encode()


@dataclass(frozen=True)
class Reply:
    """A server's whole reply."""

    status: int
    reason: bytes
    headers: Headers
    body: bytes


class Injection:
    """A fault at work in a proxy; its methods may be called from any thread."""

    def __init__(self, fault: Fault, seed: str, on_remove: Callable[[Injection], None]) -> None:
        self.fault = fault
        self._seed = seed
        self._on_remove = on_remove
        self._seen = 0
        self._fired = 0
        self._occurrences: Counter[tuple[str, str]] = Counter()
        self._changed = Condition()
        # Used in the proxy's loop alone.
        self.released = asyncio.Event()
        self.replies: dict[str, Reply] = {}

    @property
    def fired(self) -> int:
        """How many requests it has hit."""
        return self._fired

    def wait_fired(self, count: int = 1, timeout: float = 30.0) -> None:
        """Wait until it has hit *count* requests; `TimeoutError` when it has not in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._fired >= count, timeout):
                raise TimeoutError(f"{self.fault} hit {self._fired} of {count} requests in {timeout:g} s")

    def remove(self) -> None:
        """Hit no more requests, and release those that hang or are held."""
        self._on_remove(self)

    def fires(self, request: Request) -> bool:
        """Decide about *request*, and count it."""
        if not self.fault.matches(request):
            return False
        with self._changed:
            self._seen += 1
            times = self.fault.times if self.fault.times is not None or self.fault.nth is None else 1
            if self._seen < (self.fault.nth or 1) or (times is not None and self._fired >= times):
                return False
            if not self._lucky(request):
                return False
            self._fired += 1
            self._changed.notify_all()
            return True

    def _lucky(self, request: Request) -> bool:
        # Drawn from the request's identity, not from one stream: so the order in which concurrent
        # requests arrive changes nothing.
        if self.fault.probability >= 1:
            return True
        identity = (request.operation, request.key)
        self._occurrences[identity] += 1
        draw = Random(f"{self._seed}/{identity}/{self._occurrences[identity]}").random()
        return draw < self.fault.probability
