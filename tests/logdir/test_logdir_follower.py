"""A follower: one object follows one file through faults, replacements, other writers and poor servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from following import EVENTS, MIB, World, big, records, world

from bucketboard.errors import BucketboardError, FencedError, Reason
from bucketboard.logdir.source import Source
from bucketboard.replication.log import State
from bucketboard.replication.replica import LogChanged
from bucketboard.store.capabilities import Capabilities
from bucketboard.testing import Fault, FaultKind, Server

BOTH = pytest.mark.parametrize("server", ["seaweed", "moto"], indirect=True)
KINDS = {
    "lost reply": Fault(FaultKind.LOST_REPLY, times=1),
    "503": Fault(FaultKind.STATUS, times=1),
    "500": Fault(FaultKind.STATUS, times=1, status=500, code="InternalError"),
    "reset": Fault(FaultKind.RESET, times=1),
    "cut reply": Fault(FaultKind.TRUNCATE, times=1),
    "409": Fault(FaultKind.STATUS, times=1, status=409, code="ConditionalRequestConflict"),
    "no such upload": Fault(FaultKind.STATUS, times=1, status=404, code="NoSuchUpload"),
}
ARRIVES = ("lost reply", "cut reply")


def fault(kind: str, operation: str) -> Fault:
    base = KINDS[kind]
    return Fault(base.kind, operation, times=1, status=base.status, code=base.code)


@pytest.fixture
def here(server: Server, bucket: tuple[Any, str], tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "logdir", server, *bucket) as made:
        made.can = Capabilities(True, server.name != "moto", True)
        yield made


def tail_stays_an_append(here: World, follower: Any, log_id: str) -> None:
    """What follows a failure sends what is new, and nothing is taken for another log."""
    for number in range(2):
        here.append(EVENTS, records(1, seed=90 + number))
        before = here.proxy.counts
        outcome, errors = here.until_done(follower)
        assert not errors
        assert not outcome.replaced
        assert outcome.bytes == len(records(1, seed=90 + number))
        sent = (here.proxy.counts - before).total.bytes_sent
        size = len(here.local(EVENTS))
        assert sent < (size if size < 5 * MIB else 0) + 20_000
        assert here.metadata(EVENTS).log_id == log_id
    here.check()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "no such upload"])
@pytest.mark.parametrize("operation", ["PutObject", "HeadObject"])
def test_a_small_file_gets_there_through_a_fault(here: World, kind: str, operation: str) -> None:
    here.put(EVENTS, records(3))
    follower = here.follower()
    here.once(follower)
    log_id = here.metadata(EVENTS).log_id
    here.append(EVENTS, records(2, seed=1))
    if operation == "HeadObject":
        follower = here.follower(row=False)
    injection = here.proxy.inject(fault(kind, operation))
    before = here.proxy.counts
    outcome, _ = here.until_done(follower)
    counts = here.proxy.counts - before
    assert injection.fired == 1
    assert not outcome.replaced
    here.check()
    assert counts["PutObject"].requests == (2 if operation == "PutObject" and kind not in ARRIVES else 1)
    assert here.metadata(EVENTS).log_id == log_id
    tail_stays_an_append(here, follower, log_id)


@pytest.mark.parametrize("kind", ["lost reply", "503", "409"])
@BOTH
def test_the_first_upload_gets_there_through_a_fault(here: World, kind: str) -> None:
    here.put(EVENTS, records(3))
    follower = here.follower()
    here.proxy.inject(fault(kind, "PutObject"))
    outcome, _ = here.until_done(follower)
    assert not outcome.replaced
    here.check()
    assert here.proxy.counts["PutObject"].requests == (1 if kind in ARRIVES else 2)
    tail_stays_an_append(here, follower, here.metadata(EVENTS).log_id)


OPERATIONS = ["CreateMultipartUpload", "UploadPartCopy", "UploadPart", "CompleteMultipartUpload"]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_large_file_grows_through_a_fault(here: World, kind: str, operation: str) -> None:
    here.put(EVENTS, big(6))
    follower = here.follower()
    here.once(follower)
    log_id = here.metadata(EVENTS).log_id
    here.append(EVENTS, records(9, 10_000, seed=1))
    injection = here.proxy.inject(fault(kind, operation))
    before = here.proxy.counts
    outcome, _ = here.until_done(follower)
    counts = here.proxy.counts - before
    assert injection.fired == 1
    assert not outcome.replaced
    here.check()
    assert counts["PutObject"].requests == 0
    again = operation == "UploadPart" or (operation == "CompleteMultipartUpload" and kind not in ARRIVES)
    # Nothing of a part's empty reply can be cut; the closed connection alone may fail the request after it.
    perhaps = operation == "UploadPart" and kind == "cut reply"
    assert counts["UploadPart"].requests in ((1, 2) if perhaps else (1 + again,))
    assert here.metadata(EVENTS).log_id == log_id
    tail_stays_an_append(here, follower, log_id)


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("CreateMultipartUpload", "lost reply"),
        ("UploadPart", "503"),
        ("CompleteMultipartUpload", "lost reply"),
    ],
)
def test_a_process_killed_in_an_upload_leaves_nothing_for_the_next(
    here: World, kind: str, operation: str
) -> None:
    """All that the next one has is the row that was remembered before the upload began."""
    here.put("weights.bin", os.urandom(33 * MIB))
    follower = here.follower("weights.bin")
    here.proxy.inject(fault(kind, operation))
    here.proxy.inject(Fault(FaultKind.RESET, "AbortMultipartUpload"))
    with pytest.raises(BucketboardError):
        here.once(follower, "weights.bin")
    assert here.rows["weights.bin"].strays
    here.proxy.clear()
    later = here.follower("weights.bin")
    assert not later.unchanged(here.found("weights.bin"))
    here.once(later, "weights.bin")
    here.check("weights.bin")
    assert not here.rows["weights.bin"].strays


def test_a_file_sent_in_parts_is_sent_again_whole_after_a_fault(here: World) -> None:
    data = os.urandom(40 * MIB)
    here.put("weights.bin", data)
    follower = here.follower("weights.bin")
    here.proxy.inject(fault("503", "UploadPart"))
    _, errors = here.until_done(follower, "weights.bin")
    assert len(errors) == 1
    here.check("weights.bin")
    assert here.proxy.counts["UploadPart"].bytes_sent <= 2 * len(data) + 20_000


@BOTH
def test_nothing_new_asks_for_nothing(here: World) -> None:
    here.put(EVENTS, records(3))
    follower = here.follower()
    assert here.once(follower).sent
    before = here.proxy.counts
    outcome = here.once(follower)
    assert (outcome.sent, outcome.bytes, outcome.complete) == (False, 0, True)
    assert here.proxy.counts == before


@pytest.mark.parametrize("path", [EVENTS, "config.json"])
@BOTH
def test_a_new_process_asks_once_or_not_at_all(here: World, path: str) -> None:
    here.put(path, records(3))
    here.settle(path)
    here.once(here.follower(path), path, final=True)
    before = here.proxy.counts
    assert here.follower(path).unchanged(here.found(path))
    without = here.follower(path, row=False)
    assert not without.unchanged(here.found(path))
    assert not here.once(without, path, final=True).sent
    assert without.unchanged(here.found(path))
    checking = here.follower(path, checksum=True)
    assert not checking.unchanged(here.found(path))
    assert not here.once(checking, path, final=True).sent
    assert (here.proxy.counts - before).requests == {"HeadObject": 2}


@pytest.mark.parametrize("path", [EVENTS, "config.json"])
@pytest.mark.parametrize("how", ["young when it was sent", "copied"])
def test_what_was_found_equal_is_not_read_again(here: World, path: str, how: str) -> None:
    """Else each sync would read a file for ever that was sent within a clock's tick of its last change."""
    here.put(path, records(3))
    if how != "young when it was sent":
        here.settle(path)
    follower = here.follower(path)
    here.once(follower, path, final=True)
    if how == "copied":
        other = here.root / "other"
        other.write_bytes(here.local(path))
        other.replace(here.root / path)
    here.settle(path)
    before = here.proxy.counts
    later = here.follower(path)
    assert not later.unchanged(here.found(path))
    assert not here.once(later, path, final=True).sent
    assert later.unchanged(here.found(path))
    assert here.follower(path).unchanged(here.found(path))
    assert here.proxy.counts == before


@pytest.mark.parametrize("path", [EVENTS, "config.json"])
@pytest.mark.parametrize("data", [records(3, seed=5), records(2), b""])
@pytest.mark.parametrize("same_process", [True, False])
def test_a_file_that_is_another_replaces_its_object(
    here: World, path: str, data: bytes, same_process: bool
) -> None:
    here.put(path, records(3))
    follower = here.follower(path)
    here.once(follower, path, final=True)
    before = here.metadata(path).log_id
    (here.root / "other").write_bytes(data)
    (here.root / "other").replace(here.root / path)
    if not same_process:
        follower = here.follower(path, row=False)
    outcome = here.once(follower, path, final=True)
    assert outcome.replaced
    assert outcome.sent
    assert outcome.complete
    here.check(path)
    assert here.metadata(path).log_id != before


@pytest.mark.parametrize("same_process", [True, False])
def test_a_large_file_that_is_another_replaces_its_object(here: World, same_process: bool) -> None:
    here.put(EVENTS, big(6))
    follower = here.follower()
    here.once(follower)
    here.put(EVENTS, big(6, seed=1) + records(1))  # in place: the same inode
    if not same_process:
        follower = here.follower()
    assert here.once(follower).replaced
    here.check()
    tail_stays_an_append(here, follower, here.metadata(EVENTS).log_id)


@BOTH
def test_a_torn_end_stays_until_it_is_asked_for(here: World) -> None:
    data = records(4)
    here.put(EVENTS, data[:-5])
    follower = here.follower()
    outcome = here.once(follower)
    assert (outcome.complete, outcome.bytes) == (False, len(records(3)))
    assert "the file ends within a record" in outcome.damage
    assert here.stored(EVENTS) == records(3)
    outcome = here.once(follower, final=True)
    assert (outcome.complete, outcome.bytes) == (True, len(data) - 5 - len(records(3)))
    here.check()
    assert here.metadata(EVENTS).damaged == len(records(3))
    assert here.metadata(EVENTS).state is State.CLOSED
    here.append(EVENTS, data[-5:])
    outcome = here.once(follower)
    assert not outcome.replaced
    assert not outcome.damage
    here.check()
    assert here.metadata(EVENTS).damaged is None
    assert here.metadata(EVENTS).state is State.LIVE
    assert here.once(follower, final=True).sent
    assert here.metadata(EVENTS).state is State.CLOSED
    assert not here.once(follower, final=True).sent


def test_an_object_deleted_in_between_is_written_again(here: World) -> None:
    for data in (records(3), big(6)):
        here.put(EVENTS, data)
        follower = here.follower()
        here.once(follower)
        here.delete(EVENTS)
        here.append(EVENTS, records(1, seed=1))
        _outcome, errors = here.until_done(follower)
        assert len(errors) <= 1
        here.check()
        here.delete(EVENTS)


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("known", [True, False])
def test_somebody_else_s_object_is_left_alone_once_we_wrote(here: World, size: str, known: bool) -> None:
    here.put(EVENTS, records(3) if size == "small" else big(6))
    follower = here.follower()
    here.once(follower)
    if not known:  # it has to look first
        here.append(EVENTS, records(1, seed=2))
        here.proxy.inject(fault("reset", "PutObject" if size == "small" else "CreateMultipartUpload"))
        with pytest.raises(BucketboardError):
            here.once(follower)
    here.foreign(EVENTS, b"mine")
    here.append(EVENTS, records(1, seed=1))
    before = here.proxy.counts
    for _ in range(3):
        with pytest.raises(FencedError, match=r"changed by somebody else"):
            here.once(follower)
    assert here.stored(EVENTS) == b"mine"
    assert here.uploads() == []
    assert (here.proxy.counts - before)["PutObject"].requests <= 1


def test_an_object_that_came_after_the_listing_is_looked_at(here: World) -> None:
    here.put(EVENTS, records(3))
    early = here.follower()
    here.foreign(EVENTS, records(2))
    outcome = here.once(early)
    assert not outcome.replaced  # it is the file's beginning
    here.check()
    here.delete(EVENTS)
    early = here.follower()
    here.foreign(EVENTS, b"other")
    outcome = here.once(early)
    assert outcome.replaced == "the object's 5 bytes are not how the file begins"
    here.check()


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("kind", ["409", "no such upload", "lost reply"])
def test_what_another_tool_uploaded_grows_through_a_fault(here: World, size: str, kind: str) -> None:
    data = records(3) if size == "small" else big(6)
    here.foreign(EVENTS, data)
    here.put(EVENTS, data + records(2, seed=1))
    follower = here.follower()
    here.proxy.inject(fault(kind, "PutObject" if size == "small" else "CompleteMultipartUpload"))
    outcome, _ = here.until_done(follower)
    assert not outcome.replaced
    here.check()


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("kind", ["409", "no such upload", "lost reply"])
def test_what_an_earlier_process_stored_grows_through_a_fault(here: World, size: str, kind: str) -> None:
    data = records(3) if size == "small" else big(6)
    here.put(EVENTS, data)
    here.once(here.follower())
    log_id = here.metadata(EVENTS).log_id
    here.append(EVENTS, records(2, seed=1))
    for row in (True, False):
        follower = here.follower(row=row)
        here.proxy.inject(fault(kind, "PutObject" if size == "small" else "CompleteMultipartUpload"))
        outcome, _ = here.until_done(follower)
        assert not outcome.replaced
        here.check()
        assert here.metadata(EVENTS).log_id == log_id
        here.append(EVENTS, records(2, seed=2))


def test_a_file_that_is_written_to_is_no_snapshot(here: World) -> None:
    here.put("config.json", b"{}")
    follower = here.follower("config.json")
    source = Source(here.root, here.found("config.json"))
    here.append("config.json", b"more")
    with pytest.raises(LogChanged):
        follower.advance(source, final=True)
    assert here.proxy.counts["PutObject"].requests == 0
    here.once(follower, "config.json")
    here.check("config.json")


@BOTH
def test_an_empty_file_is_stored_once(here: World) -> None:
    for path in ("empty", EVENTS):
        here.put(path, b"")
        here.settle(path)
        follower = here.follower(path)
        assert here.once(follower, path, final=True).sent
        here.check(path)
        assert not here.once(follower, path, final=True).sent
        assert here.follower(path).unchanged(here.found(path))


def test_dry_runs_write_nothing(here: World) -> None:
    here.put(EVENTS, records(3))
    follower = here.follower(dry_run=True)
    outcome = here.once(follower, final=True)
    assert (outcome.sent, outcome.bytes) == (True, len(records(3)))
    assert here.proxy.counts.requests == {}


def test_a_versioned_bucket_gets_whole_files(here: World) -> None:
    """Each replaced version is kept and paid for: so seldom, and never by appending."""
    here.client.put_bucket_versioning(Bucket=here.name, VersioningConfiguration={"Status": "Enabled"})
    here.can = Capabilities()
    here.put(EVENTS, records(3))
    follower = here.follower()
    assert follower.whole == ""
    here.once(follower)
    assert "version" in follower.whole
    assert here.can.versioned
    here.append(EVENTS, records(3, seed=1))
    outcome = here.once(follower)
    assert outcome.bytes == len(records(3))
    here.check()
    grow = here.follower(append="grow")
    here.append(EVENTS, records(1, seed=2))
    here.once(grow)
    assert grow.whole == ""
    for each in here.client.list_object_versions(Bucket=here.name)["Versions"]:
        here.client.delete_object(Bucket=here.name, Key=each["Key"], VersionId=each["VersionId"])


@pytest.mark.parametrize("server", ["rclone"], indirect=True)
def test_without_part_copies_files_are_sent_whole(here: World) -> None:
    here.can = Capabilities()
    here.put(EVENTS, big(6))
    follower = here.follower()
    here.once(follower)
    here.append(EVENTS, records(1, seed=1))
    outcome, errors = here.until_done(follower)
    assert not errors
    assert outcome.bytes == len(records(1, seed=1))
    assert follower.whole
    assert here.stored(EVENTS) == here.local(EVENTS)
    assert here.uploads() == []


@pytest.mark.parametrize("server", ["juicefs", "rclone"], indirect=True)
@pytest.mark.parametrize("path", [EVENTS, "config.json"])
def test_without_conditions_somebody_else_is_detected(here: World, path: str) -> None:
    """By a HEAD before each write, as soon as a first write has shown what the server ignores."""
    here.can = Capabilities()
    here.put(path, records(3))
    follower = here.follower(path)
    here.once(follower, path)
    here.put(path, records(4))
    here.once(follower, path)
    assert here.stored(path) == here.local(path)
    here.foreign(path, b"mine")
    here.put(path, records(5))
    with pytest.raises(FencedError):
        here.once(follower, path)
    assert here.stored(path) == b"mine"


@pytest.mark.parametrize("server", ["juicefs"], indirect=True)
def test_without_conditions_faults_are_got_through(here: World) -> None:
    here.can = Capabilities()
    here.put(EVENTS, records(3))
    follower = here.follower()
    for number, kind in enumerate(("lost reply", "503", "reset")):
        here.append(EVENTS, records(1, seed=number))
        here.proxy.inject(fault(kind, "PutObject"))
        here.until_done(follower)
        assert here.stored(EVENTS) == here.local(EVENTS)


@pytest.fixture
def poor(here: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """An identity that may write, and neither list nor read."""
    identity = here.server.as_identity("writer")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", identity.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", identity.secret_key)
    return here


@pytest.mark.parametrize("path", [EVENTS, "config.json"])
def test_who_may_not_look_replaces_nothing_of_others(poor: World, path: str) -> None:
    poor.put(path, records(3))
    poor.foreign(path, b"mine")
    with pytest.raises(BucketboardError) as caught:
        poor.once(poor.blind(path), path)
    assert caught.value.reason is Reason.DENIED
    assert poor.stored(path) == b"mine"


def test_who_may_not_look_writes_what_is_new(poor: World) -> None:
    poor.put(EVENTS, records(3))
    follower = poor.blind()
    poor.once(follower)
    poor.check()
    poor.append(EVENTS, big(6))
    poor.once(follower)
    poor.append(EVENTS, records(2, seed=1))
    poor.once(follower)  # which copies of parts would need to read
    assert follower.whole
    poor.check()
