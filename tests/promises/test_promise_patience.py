"""How long an uploader waits after a failure, with a clock of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from bucketboard.errors import UnavailableError
from bucketboard.replication.log import EventLog, LogFile
from bucketboard.replication.options import Options
from bucketboard.replication.storage import MemoryStorage
from bucketboard.replication.uploader import Target, Uploader
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.testing import Fault, FaultKind
from promised import Place, blob

FILES = 20


class Waiting:
    """An uploader with many rolled files before it, and what it waits."""

    def __init__(self, place: Place) -> None:
        self.now = 0.0
        self.log = EventLog(
            lambda _: LogFile.new(uuid.uuid4().hex, MemoryStorage()),
            roll_size=1000,
            limit=float("inf"),
            report=lambda error: None,
        )
        for step in range(FILES):
            self.log.write([blob(step, 1000)])
        target = Target(Bucket(place.bucket, Settings(endpoint_url=place.proxy.url)), "exp/run/")
        self.uploader = Uploader(self.log, target, Options(), lambda error: None, clock=lambda: self.now)

    def wait(self) -> float:
        """Fail once, and wait as long as told."""
        with pytest.raises(UnavailableError):
            self.uploader.advance()
        waited = self.uploader.due() - self.now
        self.now = self.uploader.due()
        return waited


def test_failures_with_progress_between_them_do_not_add_up(new_place: Callable[..., Place]) -> None:
    """Of many files that wait now and then one fails: they are all sent within seconds."""
    place = new_place("moto")
    waiting = Waiting(place)
    for nth in (3, 6, 9, 12, 15, 18):
        place.proxy.inject(Fault(FaultKind.STATUS, operation="PutObject", nth=nth))
    waits = [waiting.wait() for _ in range(6)]
    waiting.uploader.advance()
    assert len(place.event_keys()) == FILES
    assert max(waits) <= 0.75


def test_failures_without_progress_double_what_is_waited(new_place: Callable[..., Place]) -> None:
    place = new_place("moto")
    waiting = Waiting(place)
    place.proxy.down()
    waits = [waiting.wait() for _ in range(5)]
    assert all(2**n / 4 <= wait <= 3 * 2**n / 4 for n, wait in enumerate(waits))
