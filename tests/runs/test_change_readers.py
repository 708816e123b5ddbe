"""While a change is under way every reader shows each run once, and pays for it only then."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from changing import EVENTS, Runs, start

import bucketboard
from bucketboard.errors import CorruptDataError, InvalidError
from bucketboard.journal import Journal, Move, journal_key, list_visible, new_id
from bucketboard.runs.change import carry_out
from bucketboard.runs.listing import list_runs
from bucketboard.source import BucketSource
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server
from promised import Place


@pytest.fixture
def runs(server: Server, bucket: tuple[Any, str]) -> Runs:
    return Runs(server, *bucket)


def moving(runs: Runs, bucket: Bucket) -> tuple[Journal, dict[str, bytes]]:
    """A change of exp/a to old/a whose copies are all made, with a run beside it."""
    before = runs.fill("exp", "a b")
    infos = {info.key: info for info in bucket.list("exp/a/").objects}
    for key in infos:
        runs.put(key.replace("exp/", "old/"), before[key])
    moves = tuple(
        Move(".", info.key, info.etag, info.size, info.key.replace("exp/", "old/")) for info in infos.values()
    )
    change = new_id()
    pointers = (journal_key(S3Url(runs.bucket, "old"), change),)
    key = journal_key(S3Url(runs.bucket, "exp"), change)
    url = runs.url("exp/a")
    return Journal(change, "mv", url, key, moves=moves, pointers=pointers).begin(bucket), before


def names(runs: Runs, endpoint: str, path: str) -> set[str]:
    """The directories of the event files that a viewer or an indexer finds."""
    bucket = Bucket(runs.bucket, Settings(endpoint_url=endpoint))
    files = BucketSource(S3Url.parse(runs.url(path)), bucket).files()
    return {file.rpartition("/")[0] for file in files if "tfevents" in file}


def test_readers_turn_with_the_journal(server: Server, runs: Runs, tmp_path: Path) -> None:
    endpoint = server.endpoint
    bucket = Bucket(runs.bucket, Settings(endpoint_url=endpoint))
    journal, _ = moving(runs, bucket)
    assert names(runs, endpoint, "") == {"exp/a", "exp/b"}
    assert names(runs, endpoint, "old") == set()
    assert [run.run for run in bucketboard.ls(runs.url(""), endpoint_url=endpoint)] == ["exp/a", "exp/b"]
    bucketboard.pull(runs.url(""), tmp_path / "before", endpoint_url=endpoint)
    assert sorted(path.name for path in tmp_path.glob("before/*/*")) == ["a", "b"]
    journal = journal.rewrite(bucket, turned=True)
    assert names(runs, endpoint, "") == {"old/a", "exp/b"}
    assert names(runs, endpoint, "exp") == {"b"}
    assert names(runs, endpoint, "old") == {"a"}
    assert [run.run for run in bucketboard.ls(runs.url("exp"), endpoint_url=endpoint)] == ["b"]
    carry_out(bucket, journal)
    assert names(runs, endpoint, "") == {"old/a", "exp/b"}
    assert not any("journal" in key for key in runs.objects())


def test_a_journal_costs_a_reader_one_request_and_none_where_there_is_none(
    server: Server, runs: Runs
) -> None:
    bucket = Bucket(runs.bucket, Settings(endpoint_url=server.endpoint))
    with FaultProxy(server.endpoint) as proxy:
        runs.fill("other", "x")
        names(runs, proxy.url, "other")
        assert proxy.counts.requests == {"ListObjectsV2": 1}
        moving(runs, bucket)
        before = proxy.counts
        names(runs, proxy.url, "exp")
        assert (proxy.counts - before).requests == {"ListObjectsV2": 1, "GetObject": 1}


def test_a_change_that_ends_between_listing_and_looking_is_listed_again(server: Server, runs: Runs) -> None:
    bucket = Bucket(runs.bucket, Settings(endpoint_url=server.endpoint))
    journal, _ = moving(runs, bucket)

    class Slow(Bucket):
        def get(self, key: str, *arguments: Any, **more: Any) -> Any:
            if key == journal.key and key in runs.objects():
                carry_out(bucket, journal)
            return super().get(key, *arguments, **more)

    slow = Slow(runs.bucket, Settings(endpoint_url=server.endpoint))
    shown = {info.key for info in list_visible(slow, S3Url(runs.bucket, ""))}
    assert {key.rpartition("/")[0] for key in shown} == {"old/a", "exp/b"}


def test_what_points_to_a_change_that_is_over_hides_nothing(server: Server, runs: Runs) -> None:
    before = runs.fill("exp", "a")
    key = "exp/.bucketboard-journal/20260101T000000Z-0.json"
    runs.put(key, b'{"format": 1, "see": ".bucketboard-journal/gone.json"}')
    with FaultProxy(server.endpoint) as proxy:
        assert names(runs, proxy.url, "exp") == {"a"}
        assert proxy.counts["ListObjectsV2"].requests == 2
    assert before.items() <= runs.objects().items()


def test_a_journal_that_cannot_be_read_is_an_error_and_no_empty_bucket(server: Server, runs: Runs) -> None:
    runs.fill("exp", "a")
    key = "exp/.bucketboard-journal/20260101T000000Z-0.json"
    runs.put(key, b"{}")
    with pytest.raises(CorruptDataError, match="is no journal of a change"):
        names(runs, server.endpoint, "exp")
    runs.put(key, b'{"format": 2}')
    with pytest.raises(InvalidError, match="has format 2"):
        names(runs, server.endpoint, "exp")


def test_interrupted_while_it_copies_it_undoes_that(server: Server, runs: Runs) -> None:
    before = runs.fill("exp", "a b")
    with FaultProxy(server.endpoint) as proxy:
        held = proxy.inject(Fault(FaultKind.HOLD, "CopyObject", times=1))
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "bucketboard",
                "rm",
                runs.url("exp"),
                "--yes",
                "--endpoint-url",
                proxy.url,
            ],
            stderr=subprocess.PIPE,
        )
        held.wait_fired()
        process.send_signal(signal.SIGINT)
        held.remove()
        _, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (130, b"")
    assert runs.objects() == before


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["rm", "mv"])
def test_two_that_do_the_same_at_once_lose_and_double_nothing(name: str, server: Server, runs: Runs) -> None:
    for number in range(8):
        top = f"top{number}"
        before = runs.fill(f"{top}/exp", "a b c")
        arguments = [runs.url(f"{top}/exp/a"), *([runs.url(f"{top}/old")] if name == "mv" else [])]
        with FaultProxy(server.endpoint) as proxy:
            # The first waits somewhere in its way; the second meets its journal, or none yet.
            held = proxy.inject(Fault(FaultKind.HOLD, nth=6 + 2 * number))
            first = start(name, proxy.url, *arguments)
            held.wait_fired()
            second = start(name, proxy.url, *arguments)
            second.communicate()
            held.remove()
            first.communicate()
        stored = runs.objects(f"{top}/")
        assert set(before.values()) <= set(stored.values())
        kept = {key: body for key, body in stored.items() if ".bucketboard" not in key}
        expected = {key: body for key, body in before.items() if "/exp/a/" not in key}
        if name == "mv":
            expected |= {
                f"{top}/old/{key.rpartition('/')[2]}": before[key] for key in before.keys() - expected.keys()
            }
        assert kept == expected
        assert f"{top}/exp/a/{EVENTS}" not in stored
        assert not any("journal" in key for key in stored)


def test_a_listing_from_before_the_turn_is_made_again(new_place: Callable[..., Place]) -> None:
    """Listed while the change was copying; when the reader gets to the journal, it has turned."""
    place = new_place("moto")
    source, target = "exp/a/events.out.tfevents.1.host.1.0", "exp/b/events.out.tfevents.1.host.1.0"
    place.client.put_object(Bucket=place.bucket, Key=source, Body=b"events")
    bucket = Bucket(place.bucket, Settings.resolve(endpoint_url=place.proxy.url))
    url = S3Url.parse(f"s3://{place.bucket}/exp")
    move = Move("a", source, bucket.head(source).etag, 6, target)
    journal = Journal("1", "mv", str(url / "a"), journal_key(url, "1"), moves=(move,)).begin(bucket)
    turned: list[Journal] = []

    def turn(request: object) -> bool:
        if not turned:
            place.client.copy_object(Bucket=place.bucket, Key=target, CopySource=f"{place.bucket}/{source}")
            direct = Bucket(place.bucket, Settings.resolve(endpoint_url=place.server.endpoint))
            turned.append(journal.rewrite(direct, turned=True))
        return False

    place.proxy.inject(Fault(FaultKind.REFUSE, operation="GetObject", key=journal.key, when=turn))
    assert list(list_runs(bucket, url)) == ["b"]
    assert turned
