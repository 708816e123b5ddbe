"""What went through a proxy, counted per S3 operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

from bucketboard.testing.operations import Request

NO_REPLY = 0
"""The status counted for a request whose connection ended without a reply."""


@dataclass(frozen=True)
class Tally:
    """Requests, body bytes from and to the client, and replies by status (`NO_REPLY`: none)."""

    requests: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    statuses: Mapping[int, int] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        return self._combined(other, 1)

    def __sub__(self, other: Tally) -> Tally:
        return self._combined(other, -1)

    def _combined(self, other: Tally, sign: int) -> Tally:
        statuses = {
            status: count
            for status in sorted({*self.statuses, *other.statuses})
            if (count := self.statuses.get(status, 0) + sign * other.statuses.get(status, 0))
        }
        return Tally(
            self.requests + sign * other.requests,
            self.bytes_sent + sign * other.bytes_sent,
            self.bytes_received + sign * other.bytes_received,
            statuses,
        )


@dataclass(frozen=True)
class Counts:
    """A snapshot: ``counts["PutObject"].requests``, ``counts.total.bytes_sent``, ``later - earlier``."""

    operations: Mapping[str, Tally] = field(default_factory=dict)

    def __getitem__(self, operation: str) -> Tally:
        return self.operations.get(operation, Tally())

    def __sub__(self, earlier: Counts) -> Counts:
        names = sorted({*self.operations, *earlier.operations})
        differences = {name: self[name] - earlier[name] for name in names}
        return Counts({name: tally for name, tally in differences.items() if tally != Tally()})

    @property
    def requests(self) -> dict[str, int]:
        """The number of requests of each operation that occurred."""
        return {name: tally.requests for name, tally in self.operations.items() if tally.requests}

    @property
    def total(self) -> Tally:
        """All operations together."""
        return sum(self.operations.values(), Tally())


@dataclass(frozen=True)
class Recorded:
    """A finished request: what was asked, how many body bytes went each way, the status the client saw."""

    request: Request
    status: int
    bytes_sent: int
    bytes_received: int

    @property
    def operation(self) -> str:
        """The S3 operation."""
        return self.request.operation

    @property
    def key(self) -> str:
        """The object's key, empty for an operation on a bucket."""
        return self.request.key

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, names in lower case."""
        return self.request.headers


class Meter:
    """Counts under a lock: a request at its head, bytes and a status before the client gets them."""

    def __init__(self, record: bool) -> None:
        self._lock = Lock()
        self._numbers: dict[str, Counter[str]] = {}
        self._statuses: dict[str, Counter[int]] = {}
        self._recorded: list[Recorded] | None = [] if record else None

    def add(self, operation: str, *, requests: int = 0, sent: int = 0, received: int = 0) -> None:
        """Add to the numbers of *operation*."""
        with self._lock:
            numbers = self._numbers.setdefault(operation, Counter())
            numbers["requests"] += requests
            numbers["bytes_sent"] += sent
            numbers["bytes_received"] += received

    def reply(self, operation: str, status: int) -> None:
        """Count a status the client is about to see."""
        with self._lock:
            self._statuses.setdefault(operation, Counter())[status] += 1

    def record(self, recorded: Recorded) -> None:
        """Keep a finished request, when asked to keep them."""
        if self._recorded is not None:
            with self._lock:
                self._recorded.append(recorded)

    @property
    def counts(self) -> Counts:
        """The numbers of this moment."""
        with self._lock:
            return Counts(
                {
                    name: Tally(**numbers, statuses=dict(self._statuses.get(name, {})))
                    for name, numbers in sorted(self._numbers.items())
                }
            )

    @property
    def recorded(self) -> tuple[Recorded, ...]:
        """The finished requests of this moment, in the order they finished."""
        with self._lock:
            return tuple(self._recorded or ())
