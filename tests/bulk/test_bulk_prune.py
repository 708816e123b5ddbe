"""Pruning by several processes: one change, as by one; killed, no run is lost, halved or doubled."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bucketboard
from bucketboard.errors import InvalidError, UnavailableError
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import crc32c, frame
from bucketboard.journal import Journal, Move, journal_key
from bucketboard.replication.log import State
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.runs.change import abandon, copy_for
from bucketboard.runs.listing import list_runs
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import Fault, FaultKind
from promised import Place

NAME = "events.out.tfevents.1.host.1.0"
COMMAND = """
import sys
import bucketboard
if __name__ == "__main__":
    url, endpoint, where = sys.argv[1:]
    bucketboard.prune(url, where=where, workers=2, endpoint_url=endpoint)
"""


def fill(place: Place, top: str, runs: int = 6) -> dict[str, bytes]:
    """Runs whose loss is their number, each of an event file and another file; by key."""
    made = {}
    for run in range(runs):
        encoder = ScalarEncoder()
        records = [encoder.record("loss", float(run), step, 1e9 + step) for step in range(5)]
        body = frame(file_version_event(1e9 + run)) + b"".join(records)
        headers = ObjectMetadata(f"log{run}", "w", len(body), crc32c(body), State.CLOSED).headers()
        for name, data, more in ((NAME, body, {"Metadata": headers}), ("notes.txt", b"%d" % run, {})):
            made[f"{top}/exp/r{run}/{name}"] = data
            place.client.put_object(Bucket=place.bucket, Key=f"{top}/exp/r{run}/{name}", Body=data, **more)
    return made


def stored(place: Place, prefix: str) -> dict[str, bytes]:
    return {key: place.get(key) for key in place.keys(prefix)}


def shown(place: Place, url: str) -> Counter[str]:
    """The keys of the runs that a reader who lists ``url`` sees."""
    bucket = Bucket(place.bucket, Settings(endpoint_url=place.server.endpoint))
    try:
        runs = list_runs(bucket, S3Url.parse(url))
    except InvalidError:
        return Counter()
    return Counter(info.key for run in runs.values() for info in run.objects)


def prune(place: Place, top: str, **how: Any) -> Any:
    url = f"s3://{place.bucket}/{top}/exp"
    return bucketboard.prune(url, where="loss > 2", endpoint_url=place.proxy.url, **how)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_workers_remove_what_one_process_does(new_place: Callable[..., Place], workers: int) -> None:
    place = new_place("moto")
    before = fill(place, "top")
    told: list[tuple[int, int]] = []
    report = prune(place, "top", workers=workers, on_progress=lambda *at: told.append(at))
    assert report.complete
    assert report.runs == ["r3", "r4", "r5"]
    assert told[-1][0] == told[-1][1] == report.bytes
    kept = {key: body for key, body in before.items() if key.split("/")[2] in ("r0", "r1", "r2")}
    after = stored(place, "top/")
    trash = f"top/exp/.bucketboard-trash/{report.id}/"
    assert {key: body for key, body in after.items() if not key.startswith(trash)} == kept
    assert sorted(after.values()) == sorted(before.values())
    bucketboard.undelete(f"s3://{place.bucket}/top/exp", report.id, endpoint_url=place.proxy.url)
    assert stored(place, "top/") == before


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_can_t_be_read_now_is_left_and_told(new_place: Callable[..., Place], workers: int) -> None:
    place = new_place("moto")
    fill(place, "top")
    key = f"top/exp/r4/{NAME}"
    second = f"top/exp/r4/{NAME.replace('.1.', '.2.', 1)}"  # of which the condition needs nothing
    place.client.put_object(Bucket=place.bucket, Key=second, Body=place.get(key))
    place.proxy.inject(Fault(FaultKind.STATUS, "GetObject", second, status=403, code="AccessDenied"))
    report = prune(place, "top", workers=workers)
    assert report.runs == ["r3", "r5"]
    assert [left.run for left in report.left] == ["r4"]
    assert "AccessDenied" in report.left[0].reason
    assert key in place.keys("top/")


@pytest.mark.slow
def test_what_is_denied_to_workers_undoes_what_they_copied(new_place: Callable[..., Place]) -> None:
    place = new_place("moto")
    before = fill(place, "top")
    place.proxy.inject(Fault(FaultKind.STATUS, "CopyObject", "*/r5/*", status=403, code="AccessDenied"))
    with pytest.raises(InvalidError, match="AccessDenied"):
        prune(place, "top", workers=2)
    assert stored(place, "top/") == before


@pytest.mark.slow
def test_what_workers_can_t_copy_now_is_gone_on_with(new_place: Callable[..., Place]) -> None:
    place = new_place("moto")
    before = fill(place, "top")
    fault = place.proxy.inject(Fault(FaultKind.STATUS, "CopyObject", "*/r5/*", status=503))
    with pytest.raises(UnavailableError, match="r5 can't be copied"):
        prune(place, "top", workers=2)
    assert shown(place, f"s3://{place.bucket}/top").keys() == before.keys()
    fault.remove()
    assert prune(place, "top", workers=2).resumed == [f"prune s3://{place.bucket}/top/exp"]
    assert sorted(stored(place, "top/").values()) == sorted(before.values())
    assert len(shown(place, f"s3://{place.bucket}/top")) == 6


def test_a_worker_that_is_late_leaves_no_copies_of_a_change_that_was_undone(
    new_place: Callable[..., Place],
) -> None:
    place = new_place("moto")
    before = fill(place, "top", 2)
    bucket = Bucket(place.bucket, Settings(endpoint_url=place.proxy.url))
    url = S3Url.parse(f"s3://{place.bucket}/top/exp")
    moves = [
        Move(run.name, info.key, info.etag, info.size, f"top/exp/.bucketboard-trash/1/{info.key}")
        for run in list_runs(bucket, url).values()
        for info in run.objects
    ]
    journal = Journal("1", "prune", str(url), journal_key(url, "1"), moves=tuple(moves)).begin(bucket)
    assert copy_for(bucket, journal.key, moves[:2]) == {}
    assert len(place.keys("top/exp/.bucketboard-trash/")) == 2
    abandon(bucket, journal)
    assert stored(place, "top/") == before
    assert copy_for(bucket, journal.key, moves[:2]) == {}
    assert stored(place, "top/") == before


def children(pid: int) -> set[int]:
    """Processes that a process has begun."""
    found = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found |= set(map(int, task.read_text().split()))
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_twenty_moments_no_run_is_lost_halved_or_doubled(
    new_place: Callable[..., Place], tmp_path: Path
) -> None:
    place = new_place("seaweedfs")
    script = tmp_path / "pruning.py"
    script.write_text(COMMAND)
    chance = random.Random(20)
    killed = 0
    for number in range(20):
        top = f"t{number}"
        before = fill(place, top)
        url = f"s3://{place.bucket}/{top}/exp"
        held = place.proxy.inject(Fault(FaultKind.HOLD, nth=chance.randint(1, 45)))
        process = subprocess.Popen(
            [sys.executable, str(script), url, place.proxy.url, "loss > 2"], env=place.environ()
        )
        try:
            while process.poll() is None:
                try:
                    held.wait_fired(timeout=0.1)
                    break
                except TimeoutError:
                    continue
            workers = children(process.pid) if process.poll() is None else set()
            killed += process.poll() is None
            process.kill()
            process.wait()
        finally:
            held.remove()
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() and not ended(pid) for pid in workers):
            assert time.monotonic() < deadline, "workers end with the process that began them"
            time.sleep(0.02)
        assert set(stored(place, f"{top}/").values()) >= set(before.values())
        for place_url in (url, f"s3://{place.bucket}/{top}"):
            seen = shown(place, place_url)
            assert set(seen.values()) <= {1}
            assert seen.keys() <= before.keys()
            for run in range(6):
                those = [key in seen for key in before if f"/r{run}/" in key]
                assert all(those) or not any(those), f"r{run} is seen in part"
                assert all(those) or run > 2
        prune(place, top)
        after = stored(place, f"{top}/")
        assert sorted(after.values()) == sorted(before.values())
        assert {key for key in after if ".bucketboard" not in key} == {
            key for key in before if key.split("/")[2] in ("r0", "r1", "r2")
        }
    assert killed > 10


def ended(pid: int) -> bool:
    """Whether the process is a zombie, which nobody here reaps, or gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_arguments(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="which runs"):
        bucketboard.prune("s3://bucket/exp")
    with pytest.raises(InvalidError, match="workers=0"):
        bucketboard.prune("s3://bucket/exp", keep_last=1, workers=0)
    with pytest.raises(InvalidError, match="s3://"):
        bucketboard.prune(os.fspath(tmp_path), keep_last=1)
