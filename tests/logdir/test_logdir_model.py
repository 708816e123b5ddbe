"""A directory, a bucket and everything that can happen to them, in any order: after a sync they are equal.

At every moment each object of ours is whole, begins its file and never gets shorter, what somebody else wrote
over it stays, and an index claims nothing that its objects do not hold.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
from botocore.config import Config
from claims import check_claims
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bucketboard.events.event import ScalarEncoder
from bucketboard.events.filename import is_event_file
from bucketboard.events.record import crc32c, frame, scan
from bucketboard.index import BucketObjects, update
from bucketboard.logdir import pace, replicator
from bucketboard.logdir.cache import Cache
from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.publish import publish_index
from bucketboard.logdir.replicator import Replicator
from bucketboard.logdir.report import SyncReport
from bucketboard.replication.log import State
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.source import BucketSource
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server

E1, E2, E3 = "run/events.out.tfevents.1", "run/events.out.tfevents.2", "events.out.tfevents.1"
PATHS = [E1, E2, E3, "run/config.json", "weights.bin"]
OUT = ".bucketboard/index"
PATH = st.sampled_from(PATHS)
SCALARS = st.builds(
    lambda *scalar: ScalarEncoder().record(*scalar)[12:-4],
    st.sampled_from(["loss", "lr"]),
    st.floats(width=32),
    st.integers(0, 9),
    st.floats(0, 9),
)
PAYLOADS = st.lists(st.one_of(SCALARS, st.binary(max_size=30)), max_size=4)
TRANSIENT = st.sampled_from([FaultKind.LOST_REPLY, FaultKind.STATUS, FaultKind.RESET, FaultKind.TRUNCATE])
LARGE = (5 << 20) + 1000
THREADS = ("bucketboard-send", "bucketboard-look", "bucketboard-sync")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.002)


def threads_at_work() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in THREADS]


class SyncMachine(RuleBasedStateMachine):
    """Files change, processes are killed, servers fail, others write: what a sync leaves must be right."""

    proxy: FaultProxy
    server: str
    client: Any
    base: Path

    def __init__(self) -> None:
        super().__init__()
        self.id = uuid4().hex
        self.bucket = f"model-{self.id}"
        self.root = self.base / self.id / "runs"
        self.root.mkdir(parents=True)
        self.url = S3Url.parse(f"s3://{self.bucket}/exp")
        self.cache = self.base / self.id / "cache"
        self.client.create_bucket(Bucket=self.bucket)
        self.live: Replicator | None = None
        self.aged = 0
        self.changed: set[str] = set()
        """Paths whose file or object was not only appended to since they were seen to be equal."""
        self.foreign: dict[str, bytes] = {}
        """What somebody else wrote over an object of the replication that is under way."""
        self.rivals = False
        """Whether another process replicated the same while this one did."""
        self.longest: dict[str, int] = {}

    def teardown(self) -> None:
        if self.live is not None:
            self.live.stop()
        self.proxy.clear()
        wait_for(lambda: not threads_at_work(), "threads end")
        shutil.rmtree(self.base / self.id)
        for key in self.objects():
            self.client.delete_object(Bucket=self.bucket, Key=key)

    # What is there.

    def files(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file()
        }

    def stored(self) -> dict[str, tuple[str, bytes, ObjectMetadata | None]]:
        """ETag, bytes and metadata of each object."""
        found = {}
        for each in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", ()):
            answer = self.client.get_object(Bucket=self.bucket, Key=each["Key"])
            metadata = ObjectMetadata.parse({name.lower(): text for name, text in answer["Metadata"].items()})
            found[each["Key"]] = (answer["ETag"], answer["Body"].read(), metadata)
        return found

    def objects(self) -> dict[str, tuple[bytes, ObjectMetadata | None]]:
        return {key: (body, metadata) for key, (_, body, metadata) in self.stored().items()}

    def check_objects(self) -> None:
        """What holds at every moment, also in the midst of a replication."""
        objects, files = self.objects(), self.files()
        for path, body in self.foreign.items():
            assert objects[f"exp/{path}"][0] == body
        for path in PATHS:
            body, metadata = objects.get(f"exp/{path}", (b"", None))
            if path in self.changed or path in self.foreign:
                self.longest.pop(path, None)
                continue
            assert files.get(path, b"").startswith(body)
            if not (self.rivals and self.longest.get(path, 0) > LARGE):  # moto heeds no condition there
                assert len(body) >= self.longest.get(path, 0)
            self.longest[path] = len(body)
            if metadata is None:
                continue
            assert (metadata.length, metadata.crc32c) == (len(body), crc32c(body))
            if is_event_file(path) and metadata.state is State.LIVE and metadata.damaged is None:
                assert sum(entry.length for entry in scan(body)) == len(body), "not whole records"

    def check_index(self) -> None:
        """What the index says is so."""
        objects = BucketObjects(Bucket(self.bucket, Settings(endpoint_url=self.server)), "exp/")
        found = self.stored()
        check_claims(objects, {key.removeprefix("exp/"): each for key, each in found.items()})

    def check(self, report: SyncReport, *, deleted: bool) -> None:
        assert report.complete, report.failed
        assert {path for path, _ in report.replaced} <= self.changed
        files = {path: data for path, data in self.files().items() if path != OUT}
        self.longest = {}
        self.changed -= files.keys()  # an object whose file is not there may still be replaced by one
        objects = self.objects()
        for path, data in files.items():
            body, metadata = objects[f"exp/{path}"]
            assert body == data, path
            if metadata is not None:
                assert (metadata.length, metadata.crc32c) == (len(data), crc32c(data))
        for body, metadata in objects.values():
            if metadata is not None:
                assert (metadata.length, metadata.crc32c) == (len(body), crc32c(body))
        if self.index_keys(objects):
            self.check_index()
        assert f"exp/{OUT}" not in objects
        assert objects["other/object"][0] == b"not ours"
        if deleted:
            below = {key for key in objects if key.startswith("exp/")} - self.index_keys(objects)
            assert below == {f"exp/{path}" for path in files}
        uploads = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())
        assert [each["Key"] for each in uploads] == []

    def index_keys(self, keys: Iterable[str]) -> set[str]:
        return {key for key in keys if key.startswith("exp/.bucketboard/v1/")}

    def replicator(self, **options: Any) -> Replicator:
        options = {"cache": self.cache, **options}
        return Replicator(
            self.root,
            self.url,
            SyncOptions(upload_every=0.02, settle=0.02, **options),
            Settings(endpoint_url=self.proxy.url, timeout=10.0),
        )

    def synced(self, **options: Any) -> SyncReport:
        report = self.replicator(**options).finish()
        wait_for(lambda: not threads_at_work(), "threads end")
        return report

    def second_sync_asks_for_a_listing_only(self) -> None:
        before = self.proxy.counts
        report = self.synced()
        counts = self.proxy.counts - before
        assert counts.requests == {"ListObjectsV2": 1}
        assert counts.total.bytes_sent == 0
        assert (report.files, report.bytes, report.complete) == (0, 0, True)

    # What happens to files.

    @initialize()
    def begin(self) -> None:
        self.write(OUT, b"takes no part")
        self.client.put_object(Bucket=self.bucket, Key="other/object", Body=b"not ours")

    def write(self, path: str, data: bytes, mode: str = "wb") -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        with open(self.root / path, mode) as file:
            file.write(data)

    @rule(path=PATH, payloads=PAYLOADS)
    def append(self, path: str, payloads: list[bytes]) -> None:
        self.write(path, b"".join(map(frame, payloads)), "ab")

    @rule(path=PATH, data=st.binary(min_size=1, max_size=20))
    def tear(self, path: str, data: bytes) -> None:
        self.write(path, frame(data)[: -(len(data) % 15 + 1)], "ab")

    @rule(path=PATH, payload=st.binary(max_size=20), cut=st.integers(1, 17))
    def tear_then_complete(self, path: str, payload: bytes, cut: int) -> None:
        record = frame(payload)
        self.write(path, record[:cut], "ab")
        if self.live is None:
            self.synced()
        self.write(path, record[cut:], "ab")

    @precondition(lambda self: sum(map(len, self.files().values())) < LARGE)
    @rule(path=st.sampled_from([E1, "weights.bin"]))
    def grow_large(self, path: str) -> None:
        self.write(path, frame(os.urandom(LARGE)), "ab")

    @rule(path=PATH, payloads=PAYLOADS, in_place=st.booleans())
    def replace(self, path: str, payloads: list[bytes], in_place: bool) -> None:
        data = b"".join(map(frame, payloads))
        self.changed.add(path)
        if in_place:
            self.write(path, data)
        else:
            (self.base / self.id / "new").write_bytes(data)
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.base / self.id / "new").replace(self.root / path)

    @rule(path=PATH, at=st.integers(0, 80), value=st.integers(0, 255))
    def damage(self, path: str, at: int, value: int) -> None:
        self.changed.add(path)
        with contextlib.suppress(FileNotFoundError), open(self.root / path, "r+b") as file:
            if at < os.fstat(file.fileno()).st_size:
                file.seek(at)
                file.write(bytes([value]))

    @rule(path=PATH, length=st.integers(0, 100))
    def truncate(self, path: str, length: int) -> None:
        self.changed.add(path)
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.root / path, min(length, (self.root / path).stat().st_size))

    @rule(path=PATH)
    def delete(self, path: str) -> None:
        self.changed.add(path)
        self.foreign.pop(path, None)  # a new file of this name compares what is there
        (self.root / path).unlink(missing_ok=True)

    @rule(path=PATH, other=PATH)
    def rename(self, path: str, other: str) -> None:
        self.changed |= {path, other}
        self.foreign.pop(path, None)
        self.foreign.pop(other, None)
        if (self.root / path).exists():
            (self.root / other).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).replace(self.root / other)

    @rule(jump=st.sampled_from([-10, -10, 10_000, -1_000_000]))
    def clock_jumps(self, jump: int) -> None:
        """Files are from the future, or so old that times can be trusted; never twice the same."""
        for path in PATHS:
            with contextlib.suppress(FileNotFoundError):
                self.aged += 1
                then = time.time_ns() + jump * 1_000_000_000 - self.aged
                os.utime(self.root / path, ns=(then, then))

    # What happens to the bucket and the cache.

    @precondition(lambda self: self.live is None)
    @rule(path=PATH, how=st.sampled_from(["other", "begins", "same", "longer", "delete", "corrupt"]))
    def somebody_else_writes(self, path: str, how: str) -> None:
        key = f"exp/{path}"
        self.changed.add(path)
        local = self.files().get(path, b"")
        if how == "delete":
            self.client.delete_object(Bucket=self.bucket, Key=key)
            return
        if how == "corrupt":  # as a tool that keeps metadata
            known = self.objects().get(key)
            if known is None or known[1] is None or not known[0]:
                return
            body = bytes([known[0][0] ^ 1]) + known[0][1:]
            self.client.put_object(Bucket=self.bucket, Key=key, Body=body)
            return
        body = {"other": b"other", "begins": local[: len(local) // 2], "same": local, "longer": local + b"x"}[
            how
        ]
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    @precondition(lambda self: self.live is None)
    @rule(path=st.sampled_from([E2, E3]), payloads=PAYLOADS, at_once=st.booleans())
    def somebody_else_writes_meanwhile(self, path: str, payloads: list[bytes], at_once: bool) -> None:
        """Over an object that the replication under way has written, and then has more for."""
        self.replace(path, [b"opens it", *payloads, os.urandom(8)], in_place=False)
        self.start()
        live = self.live
        assert live is not None

        def written() -> bool:
            entry = live._agenda.entries.get(path)
            body, _ = self.objects().get(f"exp/{path}", (b"", None))
            return entry is not None and entry.follower.live and body == self.files()[path]

        wait_for(written, "it is there")
        self.foreign[path] = b"not ours"
        self.client.put_object(Bucket=self.bucket, Key=f"exp/{path}", Body=self.foreign[path])
        self.append(path, payloads)
        self.wait_a_little()
        if at_once:
            self.finish()

    @precondition(lambda self: self.live is None)
    @rule(how=st.sampled_from(["delete", "empty", "garbage", "half"]))
    def cache_suffers(self, how: str) -> None:
        if how == "delete":
            self.cache.unlink(missing_ok=True)
        elif self.cache.exists():
            data = self.cache.read_bytes()
            kept = {"empty": b"", "garbage": os.urandom(len(data)), "half": data[: len(data) // 2]}
            self.cache.write_bytes(kept[how])

    # Syncs.

    @precondition(lambda self: self.live is None)
    @rule(delete=st.booleans(), checksum=st.booleans(), jobs=st.sampled_from([1, 8]), publish=st.booleans())
    def sync(self, delete: bool, checksum: bool, jobs: int, publish: bool) -> None:
        options = {"delete": delete, "checksum": checksum, "jobs": jobs, "publish_index": publish}
        self.check(self.synced(**options), deleted=delete)
        self.second_sync_asks_for_a_listing_only()

    @precondition(lambda self: self.live is None)
    @rule(kind=TRANSIENT, nth=st.integers(1, 8), times=st.integers(1, 3))
    def sync_through_faults(self, kind: FaultKind, nth: int, times: int) -> None:
        self.proxy.inject(Fault(kind, nth=nth, times=times))
        report = self.synced(publish_index=True)
        self.proxy.clear()
        self.check(report, deleted=False)
        self.second_sync_asks_for_a_listing_only()

    @precondition(lambda self: self.live is None)
    @rule(nth=st.integers(1, 9))
    def sync_killed(self, nth: int) -> None:
        """In its nth request, which the server may still carry out."""
        kind = FaultKind.HANG if nth % 2 else FaultKind.LOST_REPLY
        doomed = self.replicator()
        hit = self.proxy.inject(Fault(kind, nth=nth, times=1))
        thread = threading.Thread(target=doomed.finish, daemon=True)
        thread.start()
        wait_for(lambda: bool(hit.fired) or not thread.is_alive(), "it is hit or done")
        self.kill(doomed)
        thread.join(60)
        self.check_objects()

    def kill(self, doomed: Replicator) -> None:
        """From one moment on nothing of it reaches the server or the cache."""
        doomed._cache._abandon()
        self.proxy.down()
        try:
            doomed.stop()
            self.proxy.clear()
            wait_for(lambda: not threads_at_work(), "threads end")
        finally:
            self.proxy.up()

    # A replication that follows.

    @precondition(lambda self: self.live is None)
    @rule()
    def start(self) -> None:
        self.live = self.replicator()
        self.live.start()

    @precondition(lambda self: self.live is not None)
    @rule(kind=TRANSIENT, nth=st.integers(1, 4), times=st.integers(1, 3))
    def faults(self, kind: FaultKind, nth: int, times: int) -> None:
        self.proxy.inject(Fault(kind, nth=nth, times=times))

    @precondition(lambda self: self.live is not None)
    @rule()
    def wait_a_little(self) -> None:
        """Until it has asked for something, or for as long as it takes to look at everything again."""
        before, until = self.proxy.counts, time.monotonic() + 0.3
        wait_for(lambda: self.proxy.counts != before or time.monotonic() > until, "it does something")
        self.check_objects()

    @precondition(lambda self: self.live is None)
    @rule(path=st.sampled_from([E1, E3]), kind=TRANSIENT, operation=st.sampled_from(["PutObject", None]))
    def grows_through_a_fault(self, path: str, kind: FaultKind, operation: str | None) -> None:
        """What comes before a failure, while it lasts and after it, in one process."""
        self.start()
        for number in range(4):
            if number == 1:
                self.proxy.inject(Fault(kind, operation, times=1))
            self.write(path, frame(b"grows %d" % number), "ab")
            self.wait_a_little()
        self.finish()

    @precondition(lambda self: self.live is not None and not self.foreign and not self.rivals)
    @rule()
    def another_process(self) -> None:
        """Replicates the same at the same time. Each leaves alone what it sees the other write."""
        rival = self.replicator(cache=self.cache.with_name("rival"))
        self.rivals = True
        self.check_left_alone(rival.finish())

    @precondition(lambda self: self.live is not None)
    @rule()
    def finish(self) -> None:
        assert self.live is not None
        live, self.live = self.live, None
        report = live.finish()
        self.proxy.clear()
        wait_for(lambda: not threads_at_work(), "threads end")
        if self.foreign or self.rivals:
            self.check_left_alone(report)
            self.let_go()
            report = self.synced()
        self.check(report, deleted=False)
        self.second_sync_asks_for_a_listing_only()

    def check_left_alone(self, report: SyncReport) -> None:
        self.check_objects()
        assert all("somebody else" in why for _, why in report.failed), report.failed
        assert self.rivals or {path for path, _ in report.failed} <= self.foreign.keys()

    def let_go(self) -> None:
        """The next replication compares what is there, whoever wrote it."""
        self.changed |= self.foreign.keys()
        self.foreign, self.rivals = {}, False

    @precondition(lambda self: self.live is not None)
    @rule()
    def killed(self) -> None:
        assert self.live is not None
        live, self.live = self.live, None
        self.kill(live)
        self.check_objects()
        self.let_go()

    # An index.

    @rule(of=st.sampled_from(["files", "objects"]), synced=st.booleans())
    def publish(self, of: str, synced: bool) -> None:
        """At any moment, of what the cache says then, whatever became of the files; or of the objects."""
        if synced and self.live is None:
            self.synced()
        bucket = Bucket(self.bucket, Settings(endpoint_url=self.server))
        if of == "objects":
            update(BucketSource(self.url, bucket), BucketObjects(bucket, self.url.prefix))
        elif self.live is not None:
            publish_index(self.root, self.url, bucket, dict(self.live._cache.rows), {})
        else:
            cache = Cache(self.cache)
            cache.close()
            publish_index(self.root, self.url, bucket, cache.rows, {})
        self.check_index()


@pytest.fixture
def machine(
    moto_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[type[SyncMachine]]:
    monkeypatch.setattr(pace, "_FIRST", 0.01)
    monkeypatch.setattr(replicator, "_SCAN_EVERY", 0.1)
    monkeypatch.setattr(replicator, "_SCAN_SHARE", 3)
    # moto answers 500 when it is asked for an object that is just being replaced.
    client = moto_server.client(config=Config(retries={"total_max_attempts": 5, "mode": "standard"}))
    with FaultProxy(moto_server.endpoint) as proxy:
        parts = {"proxy": proxy, "server": moto_server.endpoint, "client": client, "base": tmp_path}
        yield type("Machine", (SyncMachine,), parts)
    client.close()


# A proxy that goes down lets go of its connections without ceremony.
unceremonious = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@unceremonious
@pytest.mark.timeout(600)
def test_whatever_happens_a_sync_makes_them_equal(machine: type[SyncMachine]) -> None:
    run(machine, examples=7, steps=20)


@unceremonious
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_whatever_happens_for_longer(machine: type[SyncMachine]) -> None:
    run(machine, examples=int(os.environ.get("MODEL_EXAMPLES", "100")), steps=40)


def run(machine: type[SyncMachine], *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        ),
    )
