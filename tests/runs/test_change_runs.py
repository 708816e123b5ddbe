"""Runs are removed, brought back, moved and pruned, as they were and not while they are written."""

from __future__ import annotations

from threading import Thread
from typing import Any

import pytest
from changing import EVENTS, SECOND, Runs

import bucketboard
from bucketboard.errors import BucketboardError, InvalidError
from bucketboard.replication.log import State
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server

several = pytest.mark.parametrize("server", ["seaweed", "moto", "rclone"], indirect=True)


@pytest.fixture
def runs(server: Server, bucket: tuple[Any, str]) -> Runs:
    return Runs(server, *bucket)


def described(runs: Runs, prefix: str) -> dict[str, tuple[dict[str, str], str, list[dict[str, str]]]]:
    """Metadata, content type and tags of each object, by key."""
    found = {}
    for key in runs.objects(prefix):
        head = runs.client.head_object(Bucket=runs.bucket, Key=key)
        tags = runs.client.get_object_tagging(Bucket=runs.bucket, Key=key)["TagSet"]
        found[key] = head["Metadata"], head["ContentType"], tags
    return found


@several
def test_a_removed_run_comes_back_as_it_was(server: Server, runs: Runs) -> None:
    before = runs.fill("exp", "a b")
    report = bucketboard.rm(runs.url("exp/a"), endpoint_url=server.endpoint)
    assert (report.runs, report.objects, report.left) == (["."], 3, [])
    kept = {key: body for key, body in before.items() if key.startswith("exp/b/")}
    assert runs.objects("exp/b") == kept
    assert runs.objects("exp/a") == {}
    trashed = runs.objects("exp/.bucketboard-trash/")
    assert sorted(trashed.values()) == sorted(body for key, body in before.items() if key not in kept)
    assert not any("tfevents" in key for key in trashed)
    [entry] = bucketboard.trash(runs.url("exp"), endpoint_url=server.endpoint)
    assert (entry.id, entry.runs, entry.size) == (report.id, ("a",), report.bytes)
    back = bucketboard.undelete(runs.url("exp"), entry.id, endpoint_url=server.endpoint)
    assert (back.runs, back.objects) == (["a"], 3)
    assert runs.objects() == before


@pytest.mark.parametrize("server", ["seaweed", "moto"], indirect=True)
def test_metadata_and_tags_go_to_the_trash_and_come_back(server: Server, runs: Runs) -> None:
    runs.fill("exp", "a 100%25", tags="team=vision&cost=4 2")
    before = described(runs, "exp/")
    report = bucketboard.rm(runs.url("exp"), endpoint_url=server.endpoint)
    assert sorted(map(str, described(runs, "").values())) == sorted(map(str, before.values()))
    bucketboard.undelete(runs.url("exp"), report.id, endpoint_url=server.endpoint)
    assert described(runs, "") == before


@several
def test_a_moved_run_is_the_same_elsewhere(server: Server, runs: Runs) -> None:
    before = runs.fill("exp", "a b/train b/validation")
    runs.put("exp/b/notes.txt", b"in no run")
    report = bucketboard.mv(runs.url("exp/b"), runs.url("old/2026/b"), endpoint_url=server.endpoint)
    assert (report.runs, report.objects, report.left) == (["train", "validation"], 7, [])
    expected = {key.replace("exp/b/", "old/2026/b/"): body for key, body in before.items()}
    assert runs.objects() == {**expected, "old/2026/b/notes.txt": b"in no run"}


def test_nothing_is_moved_onto_something(server: Server, runs: Runs) -> None:
    before = {**runs.fill("exp", "a b")}
    with pytest.raises(InvalidError, match=r"there is something at s3://.*/exp/b already"):
        bucketboard.mv(runs.url("exp/a"), runs.url("exp/b"), endpoint_url=server.endpoint)
    with pytest.raises(InvalidError, match="one is in the other"):
        bucketboard.mv(runs.url("exp"), runs.url("exp/c"), endpoint_url=server.endpoint)
    with pytest.raises(InvalidError, match="another bucket"):
        bucketboard.mv(runs.url("exp"), "s3://other/exp", endpoint_url=server.endpoint)
    assert runs.objects() == before


def test_what_is_there_again_is_not_overwritten_by_what_comes_back(server: Server, runs: Runs) -> None:
    runs.fill("exp", "a")
    report = bucketboard.rm(runs.url("exp/a"), endpoint_url=server.endpoint)
    runs.put(f"exp/a/{EVENTS}", b"another one")
    before = runs.objects()
    with pytest.raises(InvalidError, match="is there again; nothing was changed"):
        bucketboard.undelete(runs.url("exp"), report.id, endpoint_url=server.endpoint)
    assert runs.objects() == before


def test_removed_for_good_nothing_is_left(server: Server, runs: Runs) -> None:
    kept = runs.fill("exp", "b")
    runs.fill("exp", "a")
    report = bucketboard.rm(runs.url("exp/a"), now=True, endpoint_url=server.endpoint)
    assert (report.objects, report.target) == (3, "")
    assert runs.objects() == kept


def test_the_trash_is_emptied_by_age(server: Server, runs: Runs) -> None:
    kept = runs.fill("exp", "b")
    runs.fill("exp", "a")
    removed = bucketboard.rm(runs.url("exp/a"), endpoint_url=server.endpoint)
    young = bucketboard.empty_trash(runs.url("exp"), older_than=3600, endpoint_url=server.endpoint)
    assert (young.objects, len(bucketboard.trash(runs.url("exp"), endpoint_url=server.endpoint))) == (0, 1)
    report = bucketboard.empty_trash(runs.url("exp"), endpoint_url=server.endpoint)
    assert (report.objects, report.bytes) == (3, removed.bytes)
    assert runs.objects() == kept


def test_prune_keeps_the_last_and_the_young(server: Server, runs: Runs) -> None:
    for name in "c a b":
        runs.fill("exp", name)
    endpoint = {"endpoint_url": server.endpoint}
    assert bucketboard.prune(runs.url("exp"), older_than=3600, **endpoint).objects == 0
    assert bucketboard.prune(runs.url("exp"), keep_last=3, **endpoint).objects == 0
    both = bucketboard.prune(runs.url("exp"), keep_last=0, older_than=3600, **endpoint)
    assert both.objects == 0
    report = bucketboard.prune(runs.url("exp"), keep_last=1, older_than=0, **endpoint)
    assert len(report.runs) == 2
    assert len({key.split("/")[1] for key in runs.objects("exp/") if EVENTS in key}) == 1
    with pytest.raises(InvalidError, match="told which runs"):
        bucketboard.prune(runs.url("exp"), **endpoint)


@pytest.mark.parametrize("name", ["rm", "mv", "prune", "archive"])
def test_a_run_that_is_being_written_is_left_alone_unless_forced(
    name: str, server: Server, runs: Runs
) -> None:
    runs.fill("exp", "a")
    runs.put(f"exp/b/{SECOND}", b"growing", state=State.LIVE)
    before = runs.objects()
    arguments = {"mv": [runs.url("old")]}.get(name, [])
    options: dict[str, Any] = {"keep_last": 0} if name == "prune" else {}
    with FaultProxy(server.endpoint) as proxy:
        with pytest.raises(InvalidError, match="being written now: b; nothing was changed"):
            getattr(bucketboard, name)(runs.url("exp"), *arguments, **options, endpoint_url=proxy.url)
        assert proxy.counts.requests.keys() == {"ListObjectsV2", "HeadObject"}
        assert proxy.counts["HeadObject"].requests == 2  # of each run that was written to lately, one
    assert runs.objects() == before
    forced = getattr(bucketboard, name)(
        runs.url("exp"), *arguments, **options, force=True, endpoint_url=server.endpoint
    )
    assert forced.objects == 4


@pytest.mark.parametrize("name", ["rm", "mv", "prune", "archive", "undelete", "empty_trash"])
def test_a_dry_run_tells_what_would_be_done_and_only_reads(name: str, server: Server, runs: Runs) -> None:
    runs.fill("exp", "a b")
    removed = bucketboard.rm(runs.url("exp/a"), endpoint_url=server.endpoint)
    before = runs.objects()
    arguments = {"mv": [runs.url("old")], "undelete": [removed.id]}.get(name, [])
    options: dict[str, Any] = {"keep_last": 0} if name == "prune" else {}
    with FaultProxy(server.endpoint) as proxy:
        report = getattr(bucketboard, name)(
            runs.url("exp"), *arguments, **options, dry_run=True, endpoint_url=proxy.url
        )
        assert proxy.counts.requests.keys() <= {"ListObjectsV2", "HeadObject"}
    assert (report.dry_run, len(report.runs), report.objects) == (True, 1, 3)
    assert runs.objects() == before


@pytest.mark.parametrize("operation", ["PutObject", "CopyObject", "DeleteObject"])
def test_what_is_denied_changes_nothing(operation: str, server: Server, runs: Runs) -> None:
    before = runs.fill("exp", "a b")
    with FaultProxy(server.endpoint) as proxy:
        # Copies and journals are denied by name: undoing a copy takes another PUT and a DELETE.
        key = {"PutObject": "*/.bucketboard-journal/*", "CopyObject": "*"}.get(operation, "exp/a/*")
        times = 1 if operation == "PutObject" else None
        proxy.inject(Fault(FaultKind.STATUS, operation, key, status=403, code="AccessDenied", times=times))
        with pytest.raises(BucketboardError, match=r"AccessDenied|denied|permi"):
            bucketboard.rm(runs.url("exp"), endpoint_url=proxy.url)
    assert runs.objects() == before


def test_an_identity_that_may_only_read_changes_nothing(
    server: Server, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = runs.fill("exp", "a b")
    reader = server.as_identity("reader")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", reader.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", reader.secret_key)
    with FaultProxy(server.endpoint) as proxy, pytest.raises(InvalidError, match="DeleteObject") as raised:
        bucketboard.rm(runs.url("exp"), endpoint_url=proxy.url)
    assert "s3:DeleteObject" in raised.value.hint
    assert runs.objects() == before


@pytest.mark.parametrize("server", ["seaweed", "moto"], indirect=True)
def test_a_run_that_is_written_to_meanwhile_is_left_whole_and_the_others_go(
    server: Server, runs: Runs
) -> None:
    before = runs.fill("exp", "a b c")
    with FaultProxy(server.endpoint) as proxy:
        # Held before it is copied: its ETag and, in c, a file that nobody has listed.
        held = proxy.inject(Fault(FaultKind.HOLD, "CopyObject", times=1))
        reports: list[bucketboard.ChangeReport] = []
        thread = Thread(
            target=lambda: reports.append(bucketboard.rm(runs.url("exp"), endpoint_url=proxy.url))
        )
        thread.start()
        held.wait_fired()
        before[f"exp/b/{EVENTS}"] += b"more"
        runs.put(f"exp/b/{EVENTS}", before[f"exp/b/{EVENTS}"])
        before["exp/c/new"] = b"new"
        runs.put("exp/c/new", b"new")
        held.remove()
        thread.join()
    [report] = reports
    assert report.runs == ["a"]
    assert {left.run: left.reason for left in report.left} == {
        "b": "it was written to meanwhile",
        "c": "it was written to meanwhile",
    }
    kept = {key: body for key, body in before.items() if not key.startswith("exp/a/")}
    stored = runs.objects()
    assert {key: body for key, body in stored.items() if "bucketboard" not in key} == kept
    assert len(stored) == len(kept) + 3


def test_what_is_written_at_the_last_moment_is_not_deleted(server: Server, runs: Runs) -> None:
    runs.fill("exp", "a")
    with FaultProxy(server.endpoint) as proxy:
        held = proxy.inject(Fault(FaultKind.HOLD, "DeleteObjects", times=1))
        reports: list[bucketboard.ChangeReport] = []
        thread = Thread(
            target=lambda: reports.append(bucketboard.rm(runs.url("exp/a"), endpoint_url=proxy.url))
        )
        thread.start()
        held.wait_fired()
        runs.put(f"exp/a/{SECOND}", b"newer than what was copied")
        held.remove()
        thread.join()
    assert runs.objects("exp/a/") == {f"exp/a/{SECOND}": b"newer than what was copied"}
    [left] = reports[0].left
    assert "what is new stays" in left.reason
    assert len(runs.objects("exp/.bucketboard-trash/")) == 3
