"""Writers, a bucket, and everything that can happen to them, in any order.

Whatever happens, what is in S3 is what was logged, from its beginning, in order and whole; what was
acknowledged is there; nobody else's object is touched; nothing stays behind; nothing goes backwards.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from memory_s3 import Armed, Killed, MemoryBucket, MemoryS3
from memory_writer import UNIT, PatientUploader, Process, Writer, event, make_small, owner_of

from bucketboard.events.record import crc32c, scan
from bucketboard.replication import recover
from bucketboard.replication.log import State
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.replication.spool import Header, entries
from bucketboard.store import capabilities

PASSING = ["lost", "late", "reset", "masked", "SlowDown", "InternalError", "ConditionalRequestConflict"]
KINDS = st.sampled_from([*PASSING, "ExpiredToken", "NoSuchUpload"])
OPERATIONS = st.sampled_from(
    [
        *(None, "PutObject", "HeadObject", "ListObjectsV2", "CreateMultipartUpload", "UploadPartCopy"),
        *("UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload", "ListMultipartUploads"),
    ]
)
TALLY: dict[str, int] = {}
"""What all examples together did, for whoever wants a table of it."""


def count(what: str, number: int = 1) -> None:
    TALLY[what] = TALLY.get(what, 0) + number


class UploaderMachine(RuleBasedStateMachine):
    base: Path

    def __init__(self) -> None:
        super().__init__()
        self.name = f"model-{uuid4().hex}"
        self.directory = self.base / self.name
        self.directory.mkdir()
        self.clock = [0.0]
        self.writers: list[Writer] = []
        self.dead: list[Writer] = []
        self.foreign: dict[str, bytes] = {}
        self.highest: dict[str, int] = {}
        self.harmed: set[str] = set()
        """Writers whose objects somebody has deleted or overwritten."""
        count("examples")

    def teardown(self) -> None:
        for writer in self.writers + self.dead:
            writer.process.die()
            writer.log.close()
        for thread in threading.enumerate():  # a recovery that gave up may still be writing a header
            if thread.name == "bucketboard-upload":
                thread.join(30)
        count("faults", self.s3.faults if hasattr(self, "s3") else 0)
        count("events", sum(len(writer.appended) for writer in self.writers + self.dead))
        shutil.rmtree(self.directory)

    @initialize(versioned=st.sampled_from([False, False, True]))
    def begin(self, versioned: bool) -> None:
        self.s3 = MemoryS3(UNIT, versioned)

    # What a process does.

    @precondition(lambda self: len([writer for writer in self.writers if writer.live]) < 2)
    @rule(memory=st.booleans(), roll=st.sampled_from([float("inf"), 6 * UNIT]))
    def start(self, memory: bool, roll: float) -> None:
        spool = None if memory else self.directory / "spool"
        if spool:
            spool.mkdir(mode=0o700, exist_ok=True)
        self.writers.append(Writer(self.s3, self.name, spool, self.clock, roll))

    def pick(self, which: int) -> Writer | None:
        living = [writer for writer in self.writers if writer.live]
        return living[which % len(living)] if living else None

    @rule(which=st.integers(0, 1), sizes=st.lists(st.integers(0, 2 * UNIT), min_size=1, max_size=6))
    def append(self, which: int, sizes: list[int]) -> None:
        writer = self.pick(which)
        if writer is not None:
            items = [b"%08d" % (len(writer.appended) + n) + os.urandom(size) for n, size in enumerate(sizes)]
            items = [event(item) for item in items]
            writer.appended += items
            try:
                writer.log.write(items)
            except Killed:
                writer.appended = writer.appended[
                    : writer.log.logged.events
                ]  # the others were in no file yet
                self.bury(writer)

    @rule(which=st.integers(0, 1), times=st.integers(1, 3))
    def upload(self, which: int, times: int) -> None:
        for _ in range(times):
            writer = self.pick(which)
            if writer is not None:
                self.step(writer)

    @rule(
        which=st.integers(0, 1),
        sizes=st.lists(st.integers(0, 2 * UNIT), min_size=2, max_size=6),
        kind=KINDS,
        after=st.integers(0, 2),
        operation=OPERATIONS,
    )
    def grow_through_a_fault(
        self, which: int, sizes: list[int], kind: str, after: int, operation: str | None
    ) -> None:
        """What comes before a failure, while it lasts and after it."""
        self.fault(which, kind, after, operation)
        for size in sizes:
            self.append(which, [size])
            self.upload(which, 1)

    def step(self, writer: Writer) -> None:
        try:
            writer.advance()
        except Killed:
            self.bury(writer)

    @rule(which=st.integers(0, 1))
    def roll(self, which: int) -> None:
        writer = self.pick(which)
        if writer is not None:
            writer.log.seal(State.ROLLED)

    @rule(seconds=st.floats(-1e6, 1e6))
    def clock_jumps(self, seconds: float) -> None:
        self.clock[0] += seconds

    @rule(which=st.integers(0, 1))
    def close(self, which: int) -> None:
        """Faults end at some time, and then everything is stored."""
        writer = self.pick(which)
        if writer is None:
            return
        writer.log.seal(State.CLOSED)
        writer.uploader.begin_close()
        for _ in range(60):
            if writer.uploader.complete or not writer.live:
                break
            self.step(writer)
        if writer.bucket.dead:
            return
        writer.closed = True
        count("closes")
        if not writer.fenced:
            assert writer.uploader.complete, writer.uploader.error
            self.check_complete(writer, len(writer.appended))

    @rule(which=st.integers(0, 1), really=st.sampled_from([False, False, True]))
    def crash(self, which: int, really: bool) -> None:
        writer = self.pick(which)
        if writer is not None and really:
            self.bury(writer)

    def bury(self, writer: Writer) -> None:
        count("kills")
        writer.process.die()
        self.writers.remove(writer)
        self.dead.append(writer)

    @rule(new_process=st.booleans())
    def recover(self, new_process: bool) -> None:
        """Somebody finishes what dead writers have left in the spool."""
        self.rescue(MemoryBucket(self.name, self.s3), new_process)

    @rule(
        new_process=st.booleans(),
        kind=st.sampled_from([*PASSING, "ExpiredToken", "killed", "killed-after"]),
        operation=OPERATIONS,
        after=st.integers(0, 4),
        times=st.integers(1, 4),
        tries=st.integers(1, 3),
        steps=st.one_of(st.just(float("inf")), st.integers(0, 12)),
    )
    def recover_through_faults(
        self,
        *,
        new_process: bool,
        kind: str,
        operation: str | None,
        after: int,
        times: int,
        tries: int,
        steps: float,
    ) -> None:
        """It may break off or die as well; if it says that all is sent, all is."""
        rescuer = MemoryBucket(self.name, self.s3)
        rescuer.armed += [Armed(kind, after if number == 0 else 0, operation) for number in range(times)]
        process = Process(rescuer, steps)
        patient = type("Patient", (PatientUploader,), {"tries": tries})
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(recover, "SpoolStorage", process.storage())
                patch.setattr(recover, "Uploader", patient)
                self.rescue(rescuer, new_process)
        except Killed:
            count("kills")
        process.die()

    def rescue(self, rescuer: MemoryBucket, new_process: bool) -> None:
        doomed = [writer for writer in self.dead if writer.spool is not None and not writer.closed]
        if not doomed:
            return
        if new_process:
            capabilities._known.clear()
        hindered = bool(rescuer.armed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recover, "Bucket", lambda name, settings: rescuer)
            results = recover.recover_logs(self.directory / "spool", wait=30)
        count("recoveries")
        assert {each.state for each in results} <= {"sent", "held", "failed"}
        failed = [each for each in results if each.state == "failed"]
        assert all(each.error for each in failed), failed
        if hindered and failed:
            return
        assert all("somebody else" in each.error for each in failed), failed
        for writer in doomed:
            writer.closed = True
            if writer.id not in self.harmed and not writer.fenced:
                assert not failed or self.foreign
                self.check_complete(writer, len(writer.appended))

    # What happens to it.

    @rule(which=st.integers(0, 1), kind=KINDS, after=st.integers(0, 4), operation=OPERATIONS)
    def fault(self, which: int, kind: str, after: int, operation: str | None) -> None:
        writer = self.pick(which)
        if writer is not None:
            writer.bucket.armed.append(Armed(kind, after, operation))

    @rule(which=st.integers(0, 1), late=st.booleans(), after=st.integers(0, 8), operation=OPERATIONS)
    def dies_at(self, which: int, late: bool, after: int, operation: str | None) -> None:
        writer = self.pick(which)
        if writer is not None:
            writer.bucket.armed.append(Armed("killed-after" if late else "killed", after, operation))

    @rule(which=st.integers(0, 1), steps=st.integers(0, 12))
    def dies_between_files(self, which: int, steps: int) -> None:
        writer = self.pick(which)
        if writer is not None:
            writer.process.steps_left = steps

    @rule()
    def delayed_requests_arrive(self) -> None:
        self.s3.arrive()

    @rule(which=st.integers(0, 5), how=st.sampled_from(["overwrite", "delete"]))
    def somebody_else(self, which: int, how: str) -> None:
        keys = sorted(set(self.s3.objects) - set(self.foreign))
        if not keys:
            return
        key = keys[which % len(keys)]
        self.harmed.add(self.owner(key) or "")
        if how == "delete":
            del self.s3.objects[key]
        else:
            self.s3.foreign(key)
            self.foreign[key] = self.s3.objects[key].body
        count(f"foreign {how}s")

    # What must hold.

    def owner(self, key: str) -> str | None:
        return owner_of(self.s3.objects[key].content)

    def stored(self, writer: Writer) -> list[bytes]:
        """The events of a writer's objects, in the order in which TensorBoard reads them."""
        found = []
        for key in sorted(self.s3.objects):
            if self.owner(key) == writer.id:
                entries = list(scan(self.s3.objects[key].body))
                assert sum(entry.length for entry in entries) == len(self.s3.objects[key].body), "torn"
                found += [bytes(entry.payload) for entry in entries[1:]]
        return found

    def check_complete(self, writer: Writer, events: int) -> None:
        if writer.id in self.harmed:
            return
        self.s3.arrive()
        assert self.stored(writer) == writer.appended[:events]
        mine = [key for key in self.s3.objects if self.owner(key) == writer.id]
        states = [ObjectMetadata.parse(self.s3.objects[key].content.metadata) for key in sorted(mine)]
        if not self.s3.versioned:  # there, what was stored before segments were chosen is not written again
            assert State.LIVE not in {each.state for each in states if each}
        assert not [each for each in self.s3.uploads.values() if owner_of(each.content) == writer.id], (
            "uploads"
        )
        assert not [each for each in self.spooled() if each.writer_id == writer.id], "files in the spool"

    def spooled(self) -> Iterator[Header]:
        return (Header.load(path.with_suffix(".json")) for path in entries(self.directory / "spool"))

    @invariant()
    def objects_say_what_they_hold(self) -> None:
        if not hasattr(self, "s3"):
            return
        for key, each in self.s3.objects.items():
            metadata = ObjectMetadata.parse(each.content.metadata)
            if metadata is not None:
                assert (metadata.length, metadata.crc32c) == (len(each.body), crc32c(each.body))
                assert key not in self.foreign

    @invariant()
    def what_is_foreign_stays(self) -> None:
        for key, body in self.foreign.items():
            assert self.s3.objects[key].body == body

    @invariant()
    def what_is_stored_is_a_prefix_that_grows(self) -> None:
        for writer in self.writers + self.dead:
            if writer.id in self.harmed:
                continue
            found = self.stored(writer)
            assert found == writer.appended[: len(found)]
            assert len(found) >= self.highest.get(writer.id, 0)
            self.highest[writer.id] = len(found)
            if not writer.closed:
                assert writer.log.stored.events <= len(found)
            assert writer.log.dropped == 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[UploaderMachine]:
    """With megabytes and seconds made small."""
    make_small(monkeypatch)
    return type("Machine", (UploaderMachine,), {"base": tmp_path})


def test_whatever_happens_what_was_logged_is_stored(machine: type[UploaderMachine]) -> None:
    run(machine, examples=50)


@pytest.mark.slow
@pytest.mark.skipif("MODEL_EXAMPLES" not in os.environ, reason="it is long: make reliability runs it")
@pytest.mark.timeout(3600)
def test_whatever_happens_for_much_longer(machine: type[UploaderMachine]) -> None:
    run(machine, examples=int(os.environ["MODEL_EXAMPLES"]))


def run(machine: type[UploaderMachine], *, examples: int, steps: int = 40) -> None:
    if "MODEL_SEED" in os.environ:
        machine = hypothesis.seed(int(os.environ["MODEL_SEED"]))(machine)
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,  # the same examples with every run, or those of a seed
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
