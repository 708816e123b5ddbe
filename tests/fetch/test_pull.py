"""Pulling from real servers: what arrives, in how many requests, and how files change in place."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pulling import EVENTS, MIB, content, noise, our_metadata, put, put_in_parts, records

import bucketboard
from bucketboard import InvalidError, UnavailableError
from bucketboard.fetch.download import PART
from bucketboard.fetch.file import PulledFile
from bucketboard.replication.log import State
from bucketboard.store.bucket import Content
from bucketboard.store.fast import FastBucket
from bucketboard.store.settings import Settings
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server

every = pytest.mark.parametrize("server", ["seaweed", "moto", "juicefs", "rclone"], indirect=True)
TREE = {
    f"run1/{EVENTS}": records(0, 100),
    f"run2/deep/{EVENTS}": records(100, 3000),
    "run1/a b/c+d%2F é.tsv": b"tab\t",
    "run1/empty": b"",
    "checkpoint.bin": noise(1, 300_000),
}


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.endpoint, record=True) as proxy:
        yield proxy


class Puller:
    """Pulls s3://bucket/exp into a directory through a proxy, and counts."""

    def __init__(self, proxy: FaultProxy, bucket: tuple[Any, str], target: Path) -> None:
        self.proxy, self.bucket, self.target = proxy, bucket, target
        self.requests: dict[str, int] = {}

    def __call__(self, **options: Any) -> bucketboard.PullReport:
        before = self.proxy.counts
        report = bucketboard.pull(
            f"s3://{self.bucket[1]}/exp", self.target, endpoint_url=self.proxy.url, **options
        )
        self.requests = (self.proxy.counts - before).requests
        return report

    def ranges(self) -> list[str]:
        gets = [each for each in self.proxy.requests if each.operation == "GetObject"]
        return [each.headers.get("range", "whole") for each in gets]


@pytest.fixture
def puller(proxy: FaultProxy, bucket: tuple[Any, str], tmp_path: Path) -> Puller:
    return Puller(proxy, bucket, tmp_path / "target")


def forget(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "cache")


@every
def test_all_that_is_below_the_prefix_arrives_and_stays(
    puller: Puller, bucket: tuple[Any, str], tmp_path: Path
) -> None:
    for path, body in TREE.items():
        put(bucket, f"exp/{path}", body)
    for key in ("exp2/other", "exp/.bucketboard/v1/index", "exp/run1/.bucketboard-trash/x"):
        put(bucket, key, b"not asked for")
    report = puller()
    assert content(puller.target) == TREE
    assert (report.files, report.bytes, report.complete) == (len(TREE), sum(map(len, TREE.values())), True)
    assert puller.requests == {"ListObjectsV2": 1, "GetObject": len(TREE)}
    assert report.requests == len(TREE) + 1

    report = puller()
    assert (report.files, report.skipped) == (0, len(TREE))
    assert puller.requests == {"ListObjectsV2": 1}

    forget(tmp_path)  # then the files themselves are looked at, and at most asked about
    report = puller()
    assert (report.files, report.skipped, report.bytes) == (0, len(TREE), 0)
    assert puller.requests.get("GetObject") is None
    assert puller.requests.get("HeadObject", 0) <= len(TREE)
    puller()
    assert puller.requests == {"ListObjectsV2": 1}


def test_large_objects_come_in_parallel_ranges(puller: Puller, bucket: tuple[Any, str]) -> None:
    body = noise(2, 3 * PART + 5)
    put_in_parts(bucket, "exp/large", body, 5 * MIB)
    put(bucket, f"exp/{EVENTS}", body)
    puller()
    assert content(puller.target) == {"large": body, EVENTS: body}
    expected = [f"bytes={start}-{min(start + PART, len(body)) - 1}" for start in range(0, len(body), PART)]
    assert sorted(puller.ranges()) == sorted(expected * 2)


@pytest.mark.parametrize("log", ["log-1", None])
def test_an_event_file_that_grew_is_appended_to_in_place(
    log: str | None, puller: Puller, bucket: tuple[Any, str], tmp_path: Path
) -> None:
    old, new = records(0, 500), records(0, 700)
    put(bucket, f"exp/run/{EVENTS}", old, log=log)
    puller()
    path = puller.target / "run" / EVENTS
    inode = path.stat().st_ino
    with path.open("rb") as reader:
        assert reader.read() == old
        put(bucket, f"exp/run/{EVENTS}", new, log=log)
        seen: list[PulledFile] = []
        report = puller(on_file=seen.append)
        assert reader.read() == new[len(old) :]
    assert puller.requests == {"ListObjectsV2": 1, "GetObject": 1}
    assert puller.ranges()[-1] == f"bytes={len(old)}-{len(new) - 1}"
    assert seen == [PulledFile(f"run/{EVENTS}", "appended", len(new) - len(old))]
    assert report.bytes == len(new) - len(old)
    assert (path.stat().st_ino, path.read_bytes()) == (inode, new)

    put(bucket, f"exp/run/{EVENTS}", newer := records(0, 800), log=log)
    forget(tmp_path)
    puller()
    assert puller.ranges()[-1] == f"bytes={len(new)}-{len(newer) - 1}"
    assert (path.stat().st_ino, path.read_bytes()) == (inode, newer)


@pytest.mark.parametrize(("size", "gets"), [(5 * MIB, 1), (6 * MIB, 3)], ids=["known", "unknown"])
def test_a_strangers_file_in_parts_grows_in_place_too(
    size: int, gets: int, puller: Puller, bucket: tuple[Any, str]
) -> None:
    whole = noise(3, 13 * MIB)
    put_in_parts(bucket, f"exp/{EVENTS}", whole[: 11 * MIB], size)
    puller()
    path = puller.target / EVENTS
    inode = path.stat().st_ino
    put_in_parts(bucket, f"exp/{EVENTS}", whole, size)
    report = puller()
    # Where the ETag can't be computed, all is fetched once more and compared.
    assert puller.requests == {"ListObjectsV2": 1, "GetObject": gets}
    assert (path.stat().st_ino, path.read_bytes() == whole, report.replaced) == (inode, True, [])


@pytest.mark.parametrize("log", ["log-2", None])
@pytest.mark.parametrize("count", [100, 500, 900], ids=["shorter", "equal", "longer"])
def test_an_event_file_with_other_events_is_replaced_at_once_and_it_is_said(
    count: int,
    log: str | None,
    puller: Puller,
    bucket: tuple[Any, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    old = records(0, 500)
    put(bucket, f"exp/run/{EVENTS}", old, log=log and "log-1")
    puller()
    path = puller.target / "run" / EVENTS
    other = records(500, 500 + count)
    put(bucket, f"exp/run/{EVENTS}", other, log=log)
    with path.open("rb") as reader:
        report = puller()
        assert reader.read() == old  # whoever has it open keeps what it was
    assert path.read_bytes() == other
    assert report.replaced == [f"run/{EVENTS}"]
    assert "replaced" in caplog.text


def test_the_same_bytes_with_another_state_cost_one_head(puller: Puller, bucket: tuple[Any, str]) -> None:
    body = noise(4, 11 * MIB)
    put_in_parts(bucket, f"exp/{EVENTS}", body, 6 * MIB, log="log-1")
    puller()
    put_in_parts(bucket, f"exp/{EVENTS}", body, 7 * MIB, log="log-1")
    report = puller()
    assert puller.requests == {"ListObjectsV2": 1, "HeadObject": 1}
    assert (report.files, report.skipped) == (0, 1)
    puller()
    assert puller.requests == {"ListObjectsV2": 1}


def test_a_writers_own_objects_are_followed(puller: Puller, bucket: tuple[Any, str]) -> None:
    writer = bucketboard.EventFileWriter(
        f"s3://{bucket[1]}/exp/run", endpoint_url=puller.proxy.url, spool=None, upload_every=0.01
    )
    for step in range(5):
        writer.add_scalar("loss", 0.5, step, 1e9)
        writer.sync(30)
        puller()
        assert puller.requests["GetObject"] == 1
    writer.close()
    puller()
    client, name = bucket
    [entry] = client.list_objects_v2(Bucket=name)["Contents"]
    body = client.get_object(Bucket=name, Key=entry["Key"])["Body"].read()
    assert content(puller.target) == {entry["Key"].removeprefix("exp/"): body}


def test_other_files_are_replaced_at_once_with_the_objects_time(
    puller: Puller, bucket: tuple[Any, str]
) -> None:
    put(bucket, "exp/run/config.json", b"old")
    puller()
    path = puller.target / "run/config.json"
    with path.open("rb") as reader:
        put(bucket, "exp/run/config.json", b"new and longer")
        seen: list[PulledFile] = []
        puller(on_file=seen.append)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"
    assert [file.action for file in seen] == ["updated"]
    client, name = bucket
    time = client.head_object(Bucket=name, Key="exp/run/config.json")["LastModified"]
    assert int(path.stat().st_mtime) == int(time.timestamp())


def test_a_file_that_somebody_changed_here_is_made_right(puller: Puller, bucket: tuple[Any, str]) -> None:
    put(bucket, "exp/a", b"aaaa")
    put(bucket, f"exp/{EVENTS}", records(0, 9))
    puller()
    (puller.target / "a").write_bytes(b"bbbb")
    (puller.target / EVENTS).write_bytes(records(0, 9)[:-3])
    puller()
    assert content(puller.target) == {"a": b"aaaa", EVENTS: records(0, 9)}


@pytest.mark.parametrize("log", ["log-1", None])
def test_a_local_event_file_that_is_ahead_of_its_object_is_left_alone(
    log: str | None, puller: Puller, bucket: tuple[Any, str]
) -> None:
    put(bucket, f"exp/{EVENTS}", records(0, 10), log=log)
    puller.target.mkdir()
    (puller.target / EVENTS).write_bytes(records(0, 20))
    report = puller()
    assert content(puller.target) == {EVENTS: records(0, 20)}
    assert [refusal.key for refusal in report.refused] == [EVENTS]


def replace_during(puller: Puller, bucket: tuple[Any, str], nth: int, change: Any) -> bucketboard.PullReport:
    """Pull, and let ``change`` happen when the nth GET is on its way."""
    injection = puller.proxy.inject(Fault(FaultKind.HOLD, operation="GetObject", nth=nth, times=99))
    results: list[bucketboard.PullReport] = []
    thread = threading.Thread(target=lambda: results.append(puller(jobs=1)))
    thread.start()
    injection.wait_fired(timeout=30)
    change()
    injection.remove()
    thread.join(60)
    return results[0]


@every
@pytest.mark.parametrize("name", ["file", EVENTS])
def test_an_object_that_changes_after_the_listing(name: str, puller: Puller, bucket: tuple[Any, str]) -> None:
    put(bucket, f"exp/{name}", b"old" * 1000)
    report = replace_during(puller, bucket, 1, lambda: put(bucket, f"exp/{name}", b"newer" * 1000))
    assert content(puller.target) == {name: b"newer" * 1000}
    assert report.complete


@pytest.mark.parametrize("log", ["log-1", None])
def test_generations_are_never_mixed(log: str | None, puller: Puller, bucket: tuple[Any, str]) -> None:
    old = noise(5, 3 * PART)
    new = old + noise(6, 1000) if log else noise(7, 2 * PART + 7)
    put_in_parts(bucket, f"exp/{EVENTS}", old, 5 * MIB, log=log)
    replace_during(puller, bucket, 2, lambda: put_in_parts(bucket, f"exp/{EVENTS}", new, 5 * MIB, log=log))
    # A log of ours that grew is fetched to where it was; a stranger's object from its beginning.
    assert content(puller.target) == {EVENTS: old if log else new}
    puller()
    assert content(puller.target) == {EVENTS: new}


def test_an_object_that_is_deleted_after_the_listing(puller: Puller, bucket: tuple[Any, str]) -> None:
    client, name = bucket
    put(bucket, "exp/gone", b"x")
    report = replace_during(puller, bucket, 1, lambda: client.delete_object(Bucket=name, Key="exp/gone"))
    assert (content(puller.target), report.complete, report.files) == ({}, True, 0)


def test_event_files_appear_in_the_order_of_their_names(puller: Puller, bucket: tuple[Any, str]) -> None:
    names = [f"events.out.tfevents.{number}" for number in range(4)]
    for name in names:
        put(bucket, f"exp/run/{name}", records(0, 10))
    put(bucket, "exp/run/other", b"x")
    injection = puller.proxy.inject(Fault(FaultKind.HOLD, operation="GetObject", key=f"*{names[1]}"))
    seen: list[str] = []
    thread = threading.Thread(target=lambda: puller(on_file=lambda file: seen.append(file.path)))
    thread.start()
    injection.wait_fired(timeout=30)
    deadline = threading.Event()
    while len(puller.ranges()) < 4 and not deadline.wait(0.02):
        pass
    assert f"run/{names[2]}" not in seen
    assert not (puller.target / "run" / names[3]).exists()
    injection.remove()
    thread.join(60)
    assert [path for path in seen if "tfevents" in path] == [f"run/{name}" for name in names]


def test_what_can_not_be_fetched_now_holds_back_later_event_files_only(
    puller: Puller, bucket: tuple[Any, str]
) -> None:
    names = [f"events.out.tfevents.{number}" for number in range(3)]
    for name in names:
        put(bucket, f"exp/run/{name}", records(0, 10))
    put(bucket, f"exp/other/{names[2]}", records(0, 10))
    injection = puller.proxy.inject(
        Fault(FaultKind.STATUS, operation="GetObject", key=f"*{names[1]}", status=500, code="InternalError")
    )
    report = puller()
    shown = [path for path in content(puller.target) if not path.startswith(".bucketboard-pull/")]
    assert sorted(shown) == [f"other/{names[2]}", f"run/{names[0]}"]
    assert [refusal.key for refusal in report.failed] == [f"run/{names[1]}", f"run/{names[2]}"]
    assert not report.complete
    injection.remove()
    report = puller()
    assert len(content(puller.target)) == 4
    assert report.complete


def test_an_archived_event_file_does_not_hold_back_later_ones(
    puller: Puller, bucket: tuple[Any, str]
) -> None:
    for number in range(2):
        put(bucket, f"exp/events.out.tfevents.{number}", records(0, 10))
    puller.proxy.inject(
        Fault(FaultKind.STATUS, operation="GetObject", key="*.0", status=403, code="InvalidObjectState")
    )
    report = puller()
    assert list(content(puller.target)) == ["events.out.tfevents.1"]
    assert "InvalidObjectState" in report.failed[0].reason


def test_bytes_that_are_not_those_the_metadata_tells_of_are_not_shown(
    server: Server, puller: Puller, bucket: tuple[Any, str]
) -> None:
    body = records(0, 100)
    store = FastBucket(bucket[1], Settings(endpoint_url=server.endpoint))
    store.put(f"exp/{EVENTS}", body[:-1] + b"!", Content("text/plain", our_metadata(body)))
    report = puller()
    assert content(puller.target) == {}
    assert "metadata" in report.failed[0].reason


def test_only_what_is_asked_for(puller: Puller, bucket: tuple[Any, str]) -> None:
    for path, body in TREE.items():
        put(bucket, f"exp/{path}", body)
    puller(events_only=True, exclude=["run2/*"])
    assert set(content(puller.target)) == {f"run1/{EVENTS}"}
    puller(include=["*.tsv", "*.bin"], exclude=["checkpoint*"])
    assert set(content(puller.target)) == {f"run1/{EVENTS}", "run1/a b/c+d%2F é.tsv"}


def test_a_dry_run_touches_nothing(puller: Puller, bucket: tuple[Any, str], tmp_path: Path) -> None:
    put(bucket, f"exp/{EVENTS}", records(0, 10))
    put(bucket, "exp/b\tc", b"hostile")
    seen: list[PulledFile] = []
    report = puller(dry_run=True, on_file=seen.append)
    assert not puller.target.exists()
    assert seen == [PulledFile(EVENTS, "new", len(records(0, 10)))]
    assert (report.files, len(report.refused)) == (1, 1)
    puller()
    put(bucket, f"exp/{EVENTS}", records(0, 20), log="log-1")
    before = content(tmp_path)
    seen.clear()
    report = puller(dry_run=True, on_file=seen.append)
    assert [file.action for file in seen] == ["appended"]
    assert report.bytes == len(records(0, 20)) - len(records(0, 10))
    assert puller.requests == {"ListObjectsV2": 1}
    assert {path: body for path, body in content(tmp_path).items() if "cache" not in path} == {
        path: body for path, body in before.items() if "cache" not in path
    }


def test_a_damaged_cache_costs_nothing_but_a_look(
    puller: Puller, bucket: tuple[Any, str], tmp_path: Path
) -> None:
    put(bucket, "exp/a", b"x")
    puller()
    [database] = (tmp_path / "cache").rglob("*.sqlite")
    for damage in (b"no database", b""):
        database.write_bytes(damage)
        assert puller().skipped == 1
        assert puller.requests == {"ListObjectsV2": 1}
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("in the way")
    assert puller().skipped == 1


def test_temporary_files_of_earlier_pulls_are_removed(puller: Puller, bucket: tuple[Any, str]) -> None:
    put(bucket, "exp/a", b"x")
    (puller.target / ".bucketboard-pull").mkdir(parents=True)
    (puller.target / ".bucketboard-pull/abc-0").write_bytes(b"left behind")
    puller()
    assert os.listdir(puller.target) == ["a"]


def test_two_pulls_into_one_directory_are_refused(puller: Puller, bucket: tuple[Any, str]) -> None:
    put(bucket, "exp/a", b"x")

    def again() -> None:
        assert puller(dry_run=True).files == 1
        with pytest.raises(UnavailableError, match="another pull"):
            bucketboard.pull(f"s3://{bucket[1]}/exp", puller.target, endpoint_url=puller.proxy.url)

    replace_during(puller, bucket, 1, again)


def test_what_can_not_work_is_an_error(puller: Puller, bucket: tuple[Any, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidError, match="can't pull into"):
        bucketboard.pull("s3://b/x", tmp_path / "file")
    with pytest.raises(InvalidError, match="S3 URL"):
        bucketboard.pull("/x", tmp_path)
    with pytest.raises(InvalidError, match="jobs"):
        puller(jobs=0)
    puller.proxy.inject(Fault(FaultKind.STATUS, operation="ListObjectsV2", status=403, code="AccessDenied"))
    with pytest.raises(InvalidError, match="ListObjectsV2"):
        puller()


def test_following_survives_an_outage(
    puller: Puller, bucket: tuple[Any, str], caplog: pytest.LogCaptureFixture
) -> None:
    put(bucket, f"exp/{EVENTS}", records(0, 10))
    stop, looked = threading.Event(), threading.Event()
    results: list[bucketboard.PullReport] = []
    thread = threading.Thread(
        target=lambda: results.append(
            puller(watch=True, interval=0.02, stop=stop, on_look=lambda report: looked.set())
        )
    )
    thread.start()
    assert looked.wait(30)
    injection = puller.proxy.inject(
        Fault(FaultKind.STATUS, operation="ListObjectsV2", status=403, code="AccessDenied")
    )
    injection.wait_fired(timeout=30)
    while "trying again" not in caplog.text:
        assert not stop.wait(0.02)
    put(bucket, f"exp/{EVENTS}", records(0, 20))
    injection.remove()
    path = puller.target / EVENTS
    while path.read_bytes() != records(0, 20):
        assert not stop.wait(0.02)
    stop.set()
    thread.join(30)
    assert results[0].complete
    assert results[0].files == 2
    assert caplog.records[0].levelno == logging.WARNING


def test_closed_objects_need_no_second_look(puller: Puller, bucket: tuple[Any, str]) -> None:
    put(bucket, f"exp/{EVENTS}", records(0, 10), log="log-1")
    puller()
    put(bucket, f"exp/{EVENTS}", records(0, 10), log="log-1", state=State.CLOSED)
    report = puller()
    assert (report.files, report.skipped) == (0, 1)
    assert puller.requests == {"ListObjectsV2": 1}


@pytest.mark.parametrize("behind", [0, 100])
def test_bytes_that_are_damaged_on_their_way_are_fetched_again(
    puller: Puller, bucket: tuple[Any, str], behind: int
) -> None:
    """Of a new file, and of one that has grown: one flipped bit is found by the CRC in the metadata."""
    if behind:
        put(bucket, f"exp/run1/{EVENTS}", records(0, behind), log="log-1")
        assert puller().complete
    put(bucket, f"exp/run1/{EVENTS}", records(0, 300), log="log-1")
    hit = puller.proxy.inject(Fault(FaultKind.CORRUPT, operation="GetObject", times=1))
    assert puller().complete
    assert hit.fired == 1
    assert (puller.target / "run1" / EVENTS).read_bytes() == records(0, 300)
