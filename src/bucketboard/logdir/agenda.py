"""What is to be done about which file, and when."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from bucketboard.errors import BucketboardError, CorruptDataError, FencedError, InvalidError
from bucketboard.events.filename import is_event_file
from bucketboard.logdir.follower import Follower
from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.pace import Backoff
from bucketboard.logdir.tree import Found
from bucketboard.replication.plan import MAX_TAIL
from bucketboard.replication.replica import PARTS_AT_ONCE

__all__ = ["NEVER", "Agenda", "Entry"]

NEVER = float("inf")
_WHOLE_EVERY = 3600.0
_MOST_WEIGHT = 256 << 20


@dataclass(slots=True, eq=False)
class Entry:
    """A file of the directory. Times are the replicator's clock, in seconds; ``due`` is the next pass's."""

    found: Found
    follower: Follower
    first_seen: float
    changed_at: float
    due: float = NEVER
    busy: bool = False
    taken: int = 0
    """Its weight when it became busy."""
    done: bool = False
    """Whether the final pass is through with it."""
    last_start: float = float("-inf")
    last_duration: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)
    error: BucketboardError | None = None

    @property
    def path(self) -> str:
        """The file's path, relative to the directory."""
        return self.found.path

    @property
    def events(self) -> bool:
        """Whether it is an event file."""
        return is_event_file(self.found.path)

    @property
    def holds_back(self) -> bool:
        """Whether later event files of its directory have to wait: it could not be sent, and still may."""
        hopeless = isinstance(self.error, InvalidError | FencedError | CorruptDataError)
        return self.events and self.backoff.failures > 0 and not hopeless and not self.done

    @property
    def weight(self) -> int:
        """The most bytes of it that sending holds in memory at once."""
        return min(self.found.size, PARTS_AT_ONCE * MAX_TAIL)

    def due_after_change(self, options: SyncOptions, now: float) -> float:
        """When what is new should go up while the directory is followed."""
        interval = options.cadence.interval(
            age=now - self.first_seen,
            resent=self.follower.resent if self.events else self.found.size,
            last_duration=self.last_duration,
        )
        if self.follower.whole:
            interval = max(interval, _WHOLE_EVERY)
        due = self.last_start + interval
        return due if self.events else max(due, self.changed_at + options.settle)


class Agenda:
    """The files by path, and which of them is next: the earliest due, event files first, by name.

    With ``in_order``, event files of one directory go up one after the other, in the order of their names:
    TensorBoard goes on to a run's next file for good when it sees one. One that fails holds back later ones.
    """

    def __init__(self, *, in_order: bool = True) -> None:
        self.entries: dict[str, Entry] = {}
        self.in_order = in_order
        self._heap: list[tuple[float, bool, str]] = []
        self._busy_lanes: set[str] = set()
        self._held: dict[str, list[Entry]] = {}
        self._holding: set[Entry] = set()
        self._weight = 0

    def plan(self, entry: Entry, due: float) -> None:
        """The next pass over a file is due then, whatever was planned before."""
        entry.due = due
        if due != NEVER and not entry.busy:
            heapq.heappush(self._heap, (due, not entry.events, entry.path))

    def next_due(self) -> float:
        """When the next pass is due; never, while there is no room for what it holds in memory."""
        self._drop_outdated()
        if not self._heap:
            return NEVER
        due, _, path = self._heap[0]
        fits = not self._weight or self._weight + self.entries[path].weight <= _MOST_WEIGHT
        return due if fits else NEVER

    def take(self, now: float) -> Entry | None:
        """The next file whose pass is due, now busy until it is released; None if there is none."""
        while self.next_due() <= now:
            entry = self.entries[heapq.heappop(self._heap)[2]]
            lane = self._lane(entry)
            if lane in self._busy_lanes or self._is_held_back(entry, lane):
                self._held.setdefault(lane, []).append(entry)
                continue
            if lane:
                self._busy_lanes.add(lane)
            entry.busy, entry.due = True, NEVER
            entry.taken = entry.weight
            self._weight += entry.taken
            return entry
        return None

    def release(self, entry: Entry) -> None:
        """Its pass is over; what was planned meanwhile holds."""
        entry.busy = False
        self._weight -= entry.taken
        lane = self._lane(entry)
        self._busy_lanes.discard(lane)
        (self._holding.add if entry.holds_back else self._holding.discard)(entry)
        freed: list[Entry] = [*self._held.pop(lane, []), entry]
        for waiting in freed:
            if self.entries.get(waiting.path) is waiting:
                self.plan(waiting, waiting.due)

    def remove(self, path: str) -> None:
        """The file is there no more."""
        entry = self.entries.pop(path, None)
        if entry in self._holding:
            self._holding.remove(entry)
            for waiting in self._held.pop(self._lane(entry), []):
                self.plan(waiting, waiting.due)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self.entries.values()))

    def _is_held_back(self, entry: Entry, lane: str) -> bool:
        return bool(lane) and any(
            other.path < entry.path and self._lane(other) == lane for other in self._holding
        )

    def _lane(self, entry: Entry) -> str:
        return f"{entry.path.rpartition('/')[0]}/" if self.in_order and entry.events else ""

    def _drop_outdated(self) -> None:
        while self._heap:
            due, _, path = self._heap[0]
            entry = self.entries.get(path)
            if entry is not None and entry.due == due and not entry.busy:
                return
            heapq.heappop(self._heap)
