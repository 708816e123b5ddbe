"""What an index in a bucket costs: requests and bytes, counted."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from indexing import NAME, check_file, scalar, start

from bucketboard.errors import InvalidError
from bucketboard.events.event import ScalarEncoder
from bucketboard.index import BucketObjects, Index, update
from bucketboard.source import BucketSource
from bucketboard.store.bucket import Bucket
from bucketboard.store.fast import fast_bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import Counts, FaultProxy, Server


@dataclass
class Store:
    client: Any
    name: str
    proxy: FaultProxy
    source: BucketSource
    objects: BucketObjects

    def put(self, run: str, body: bytes, log: str = "") -> None:
        metadata = {"bucketboard-log": log} if log else {}
        self.client.put_object(
            Bucket=self.name, Key=f"exp/{run}/{NAME.format(1)}", Body=body, Metadata=metadata
        )

    def counted(self) -> Counts:
        return self.proxy.counts


@pytest.fixture
def store(server: Server, bucket: tuple[Any, str]) -> Iterator[Store]:
    client, name = bucket
    with FaultProxy(server.endpoint) as proxy:
        through = server.through(proxy.url)
        settings = Settings(endpoint_url=through.endpoint, region="us-east-1", path_style=True)
        access = Bucket(name, settings)
        url = S3Url(name, "exp")
        yield Store(client, name, proxy, BucketSource(url, access), BucketObjects(access, url.prefix))
    for entry in client.list_objects_v2(Bucket=name).get("Contents", ()):
        client.delete_object(Bucket=name, Key=entry["Key"])


def _file(steps: int, first: int = 0, tags: int = 1) -> bytes:
    encoder = ScalarEncoder()
    return b"".join(
        encoder.record(f"metric/{tag}", step * 0.37 + tag, step, 1.7e9 + step * 0.13)
        for step in range(first, first + steps)
        for tag in range(tags)
    )


@pytest.mark.parametrize("server", ["moto", "seaweed"], indirect=True)
def test_opening_and_growing(store: Store) -> None:
    for number in range(20):
        store.put(f"run{number:02}", start() + _file(50, tags=2), f"log{number}")
    before = store.counted()
    report = update(store.source, store.objects)
    assert (store.counted() - before).requests == {
        "ListObjectsV2": 1,
        "GetObject": 20 + 1,  # the files; no manifest yet
        "PutObject": 3,
    }
    assert (report.rows, report.failures) == (2000, {})

    before = store.counted()
    index = Index.open(store.objects)
    rows = index.scalars(["metric/1"])
    assert len(rows) == 20
    assert all(len(each) == 50 for each in rows.values())
    assert (store.counted() - before).requests == {"GetObject": 3}  # manifest, runs, scalars

    store.put("run07", start() + _file(50, tags=2) + _file(10, 50, tags=2), "log7")
    before = store.counted()
    report = update(store.source, store.objects)
    cost = store.counted() - before
    assert (report.read, report.rows) == (1, 20)
    assert cost["PutObject"].bytes_sent < 20_000
    assert report.bytes_read == len(_file(10, 50, tags=2))
    assert len(Index.open(store.objects).scalars()[f"run07/{NAME.format(1)}", "metric/0"]) == 60

    before = store.counted()
    again = update(store.source, store.objects)
    idle = (store.counted() - before).requests
    assert idle == {"ListObjectsV2": 1, "GetObject": 3}  # the manifest and what two segments say of files

    before = store.counted()
    update(store.source, store.objects, known=again.index)
    watched = (store.counted() - before).requests
    assert watched == {"ListObjectsV2": 1, "GetObject": 1}


@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_a_log_id_that_differs_is_another_file(store: Store) -> None:
    body = start() + scalar("loss", 0, 1.0)
    store.put("a", body, "one")
    update(store.source, store.objects)
    store.put("a", body + scalar("loss", 1, 2.0), "two")
    report = update(store.source, store.objects)
    assert report.rows == 2
    index = Index.open(store.objects)
    assert index.files[f"a/{NAME.format(1)}"].log_id == "two"
    assert index.scalars()[f"a/{NAME.format(1)}", "loss"].step.tolist() == [0, 1]


@pytest.mark.parametrize("server", ["moto", "seaweed"], indirect=True)
def test_several_at_once(store: Store) -> None:
    """Whoever wins, the index says nothing wrong, and in the end everything."""
    url = store.source.url
    access = fast_bucket(store.name, store.source.bucket.settings, attempts=3)
    bodies = {f"run{number}": start(number) + _file(5) for number in range(6)}
    for run, body in bodies.items():
        store.put(run, body)

    def work() -> int:
        return update(BucketSource(url, access), BucketObjects(access, url.prefix)).segments

    with ThreadPoolExecutor(4) as pool:
        for round_ in range(3):
            updates = [pool.submit(work) for _ in range(4)]
            for run in bodies:
                bodies[run] += _file(2, 5 + 2 * round_)
                store.put(run, bodies[run])
            for each in updates:
                each.result()
    update(store.source, store.objects)
    index = Index.open(store.objects)
    assert index.trouble == ""
    for run, body in bodies.items():
        check_file(index, f"{run}/{NAME.format(1)}", body)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_a_thousand_runs(store: Store) -> None:
    for number in range(1000):
        store.put(f"run{number:04}", start(number) + _file(40))
    update(store.source, store.objects)
    before = store.counted()
    index = Index.open(store.objects)
    assert len(index.scalars(["metric/0"])) == 1000
    assert sum((store.counted() - before).requests.values()) <= 12
    store.put("run0500", start(500) + _file(40) + _file(200, 40))
    before = store.counted()
    report = update(store.source, store.objects)
    cost = store.counted() - before
    assert report.rows == 200
    assert cost.total.bytes_sent <= 1 << 20
    assert cost["PutObject"].bytes_sent < 40_000


@pytest.mark.parametrize("server", ["seaweed"], indirect=True)
def test_a_reader_uses_it_and_may_not_write_it(
    store: Store, seaweed_server: Server, monkeypatch: Any
) -> None:
    store.put("a", start() + scalar("loss", 0, 1.0))
    update(store.source, store.objects)
    store.put("a", start() + scalar("loss", 0, 1.0) + scalar("loss", 1, 2.0))
    reader = seaweed_server.with_credentials(*seaweed_server.identities["reader"])
    for name, value in reader.environ().items():
        if name.startswith("AWS_") and "ENDPOINT" not in name:
            monkeypatch.setenv(name, value)
    access = Bucket(store.name, Settings(endpoint_url=store.proxy.url, region="us-east-1", path_style=True,
                                         timeout=29))  # fmt: skip
    objects = BucketObjects(access, "exp/")
    assert len(Index.open(objects).files) == 1
    with pytest.raises(InvalidError, match="AccessDenied"):
        update(BucketSource(S3Url(store.name, "exp"), access), objects)
