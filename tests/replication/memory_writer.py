"""Processes that write to a bucket in memory, in steps, and may die between any two of them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from memory_s3 import Killed, MemoryBucket, MemoryS3

from bucketboard.errors import BucketboardError, FencedError
from bucketboard.replication import log as log_module
from bucketboard.replication import plan, replica, uploader
from bucketboard.replication.log import EventLog, LogFile
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.replication.options import Options
from bucketboard.replication.spool import Header, SpoolStorage
from bucketboard.replication.storage import MemoryStorage
from bucketboard.replication.uploader import Target, Uploader
from bucketboard.store.bucket import Content

UNIT = 400
"""The least a part may have here: five megabytes' stand-in, so that every way of growing takes few bytes."""


@dataclass
class Process:
    """What is gone, and what is let go of, when a process dies: also between two changes of its files."""

    bucket: MemoryBucket
    steps_left: float = float("inf")
    held: list[SpoolStorage] = field(default_factory=list)

    def step(self) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            self.bucket.dead = True
        if self.bucket.dead:
            raise Killed

    def die(self) -> None:
        self.bucket.dead = True
        for storage in self.held:
            storage.close()  # as the kernel does; nothing is removed

    def storage(self) -> type[SpoolStorage]:
        return type("Mortal", (MortalStorage,), {"process": self})


class MortalStorage(SpoolStorage):
    """A spooled file of a process that may die before, while and after it makes or removes one."""

    process: ClassVar[Process]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.process.held.append(self)

    @classmethod
    def create(cls, directory: Path, header: Header) -> SpoolStorage:
        cls.process.step()
        storage = super().create(directory, header)
        cls.process.step()
        return storage

    def note(self, **facts: Any) -> None:
        self.process.step()
        super().note(**facts)

    def remove(self) -> None:
        self.process.step()
        self.path.unlink(missing_ok=True)
        self.process.step()
        super().remove()
        self.process.step()


class PatientUploader(Uploader):
    """Tries so often, in the caller's thread, and then gives up."""

    tries: ClassVar[int]

    def start(self) -> None:
        pass

    def close(self, timeout: float) -> bool:
        self.begin_close()
        for _ in range(self.tries):
            if self.due() < float("inf"):
                with contextlib.suppress(BucketboardError):
                    self.advance()
        return super().close(0.0)


class Writer:
    """One process that logs: its log, its uploader, its view of the bucket, and what it was given to keep."""

    def __init__(
        self, s3: MemoryS3, bucket: str, spool: Path | None, clock: list[float], size: float
    ) -> None:
        self.id = uuid4().hex
        self.bucket = MemoryBucket(bucket, s3)
        self.process = Process(self.bucket)
        self.spool = spool
        self.appended: list[bytes] = []
        self.errors: list[BucketboardError] = []
        self.sequence = 0
        self.fenced = self.closed = False
        self.log = EventLog(self.new_file, roll_size=size, limit=float("inf"), report=self.errors.append)
        self.target = Target(self.bucket, "exp/run/", user={"writer": self.id})
        options = Options(upload_every=1.0)
        self.uploader = Uploader(self.log, self.target, options, self.errors.append, clock=lambda: clock[0])

    def new_file(self, _: int) -> LogFile:
        log_id = uuid4().hex
        if self.spool is None:
            return LogFile.new(log_id, MemoryStorage())
        header = Header(
            log_id, self.id, self.sequence, self.bucket.name, "exp/run/", metadata={"writer": self.id}
        )
        self.sequence += 1
        return LogFile.new(log_id, self.process.storage().create(self.spool, header))

    def advance(self) -> None:
        try:
            self.uploader.advance()
        except FencedError:
            self.fenced = True
        except BucketboardError:
            pass

    @property
    def live(self) -> bool:
        return not (self.closed or self.fenced or self.bucket.dead)


def owner_of(content: Content) -> str | None:
    metadata = ObjectMetadata.parse(content.metadata)
    return metadata.user.get("writer") if metadata else None


def event(text: bytes) -> bytes:
    """A serialised event that holds ``text`` as a file's version, and no tag."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=1.0, step=1, file_version=text.hex()).SerializeToString()  # type: ignore[no-any-return]


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let megabytes and seconds be small."""
    small: dict[tuple[Any, str], Any] = {
        (plan, "MIN_PART"): UNIT,
        (replica, "MIN_PART"): UNIT,
        (plan, "COPY_RANGE"): 5 * UNIT,
        (plan, "MAX_TAIL"): 3 * UNIT,
        (uploader, "MAX_TAIL"): 3 * UNIT,
        (plan, "MAX_PUT"): 4 * UNIT,
        (log_module, "_BOUNDARY_SPACING"): UNIT // 8,
        (uploader, "_BACKOFF_FIRST"): 0.0005,
        (uploader, "_BACKOFF_MOST"): 0.001,
    }
    for (module, name), value in small.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setitem(replica.Replica.__init__.__kwdefaults__, "most", 3 * UNIT)
