"""What a viewer sends, and what it makes of objects that grow, go, come back as others, or are damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from viewing import Store, event_file, records

from bucketboard.errors import UnavailableError
from bucketboard.serve.catalog import Catalog
from bucketboard.serve.mount import Mount
from bucketboard.source import BucketSource
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import Fault, FaultKind

Used = Callable[[], dict[str, int]]
TAIL = 64


@pytest.fixture
def catalog(store: Store) -> Iterator[Catalog]:
    url = S3Url.parse(store.url)
    catalog = Catalog([Mount(BucketSource(url, Bucket(url.bucket, Settings.resolve())))])
    yield catalog
    catalog.close()


@pytest.fixture
def used(store: Store) -> Used:
    """The requests since the last call."""
    seen = [store.proxy.counts]

    def since() -> dict[str, int]:
        before, seen[0] = seen[0], store.proxy.counts
        return (seen[0] - before).requests

    return since


def values(catalog: Catalog, run: str = "run", tag: str = "loss") -> list[float]:
    known = catalog.runs.get(run)
    series = known.series.get(tag) if known else None
    return series.points["value"].tolist() if series else []


def test_a_refresh_is_one_listing_for_a_thousand_keys(store: Store, catalog: Catalog, used: Used) -> None:
    for number in range(1001):
        store.client.put_object(Bucket=store.bucket, Key=f"exp/other/{number:04}", Body=b"")
    store.put("run", event_file(1.0))
    catalog.refresh()
    assert used() == {"ListObjectsV2": 2, "GetObject": 1}
    catalog.refresh()
    assert used() == {"ListObjectsV2": 2}


@pytest.mark.parametrize("log", ["", "0123456789abcdef"])
def test_growth_costs_what_grew(store: Store, catalog: Catalog, used: Used, log: str) -> None:
    body = event_file(*range(10))
    for number in range(10):
        store.put(f"run{number}", body, log=log)
    catalog.refresh()
    assert used() == {"ListObjectsV2": 1, "GetObject": 10}
    more = records(10.0, first=10)
    store.put("run3", body + more, log=log)
    before = store.proxy.counts["GetObject"]
    catalog.refresh()
    assert used() == {"ListObjectsV2": 1, "GetObject": 1}
    received = (store.proxy.counts["GetObject"] - before).bytes_received
    # Of a file that nobody vouches for, the end of what is known is read again.
    assert received == len(more) + (0 if log else TAIL)
    assert values(catalog, "run3") == [float(value) for value in range(11)]


@pytest.mark.parametrize("log", ["", "one"])
def test_every_length_of_a_growing_file_gives_its_whole_records(
    store: Store, catalog: Catalog, log: str
) -> None:
    body = event_file(1.0, 2.0)
    ends = [len(event_file(1.0)), len(body)]
    for length in sorted({*range(0, len(body), 5), *ends}):
        store.put("run", body[:length], log=log)
        catalog.refresh()
        assert values(catalog) == [1.0, 2.0][: sum(end <= length for end in ends)]
        assert not catalog.trouble


def test_a_rewrite_of_the_same_costs_a_look(store: Store, catalog: Catalog, used: Used) -> None:
    body = event_file(1.0)
    key = store.put("run", body, log="one")
    catalog.refresh()
    used()
    catalog.mounts[0].files = {}  # as if the ETag had changed, as that of an encrypted object does
    run = catalog.runs["run"]
    run.files[key.removeprefix("exp/")].etag = "another"
    catalog.refresh()
    assert used() == {"ListObjectsV2": 1, "GetObject": 1}
    assert catalog.runs["run"] is run


@pytest.mark.parametrize(("before", "after"), [("one", "other"), ("one", ""), ("", "one"), ("", "")])
def test_a_replaced_object_is_read_anew(store: Store, catalog: Catalog, before: str, after: str) -> None:
    store.put("run", event_file(1.0, 2.0), log=before)
    store.put("run", event_file(3.0, first=2), number=2)
    catalog.refresh()
    assert values(catalog) == [1.0, 2.0, 3.0]
    store.put("run", event_file(7.0, 8.0, 9.0), log=after)
    catalog.refresh()
    assert values(catalog) == [7.0, 8.0, 3.0]


def test_a_shorter_version_of_a_foreign_object_is_another(store: Store, catalog: Catalog) -> None:
    store.put("run", event_file(1.0, 2.0))
    catalog.refresh()
    store.put("run", event_file(1.0))
    catalog.refresh()
    assert values(catalog) == [1.0]


def test_files_are_taken_in_by_their_names(store: Store, catalog: Catalog) -> None:
    slow = store.proxy.inject(Fault(FaultKind.HOLD, operation="GetObject", key="*tfevents.1.*"))
    for number in range(1, 4):
        store.put("run", event_file(float(number), first=10 - number), number=number)
    release = store.proxy.inject(Fault(FaultKind.SLOW, operation="GetObject", key="*tfevents.3.*", delay=0.0))
    from threading import Thread

    refresh = Thread(target=catalog.refresh)
    refresh.start()
    release.wait_fired()
    slow.remove()
    refresh.join()
    # Each file begins at an earlier step than the one before it, and so removes what that one had.
    assert values(catalog) == [3.0]


def test_a_corrupt_record_is_left_out_and_named(store: Store, catalog: Catalog, used: Used) -> None:
    start, bad = event_file(1.0), bytearray(records(2.0, first=1))
    bad[20] ^= 1
    store.put("run", start + bytes(bad) + records(3.0, first=2))
    store.put("other", event_file(4.0))
    catalog.refresh()
    assert values(catalog) == [1.0, 3.0]
    assert values(catalog, "other") == [4.0]
    assert f"record at byte {len(start)}" in catalog.trouble
    used()
    catalog.refresh()
    assert used() == {"ListObjectsV2": 1}


@pytest.mark.parametrize("damage", [b"\0" * 100, b"\xff" * 100])
def test_a_file_that_can_not_be_followed_is_tried_again_when_it_changes(
    store: Store, catalog: Catalog, damage: bytes, used: Used
) -> None:
    body = event_file(1.0)
    store.put("run", body + damage, log="one")
    store.put("other", event_file(4.0))
    catalog.refresh()
    assert (values(catalog), values(catalog, "other")) == ([1.0], [4.0])
    assert "nothing behind it can be read" in catalog.trouble
    used()
    catalog.refresh()
    assert used() == {"ListObjectsV2": 1}
    store.put("run", body + records(2.0, 3.0, first=1), log="one")
    catalog.refresh()
    assert values(catalog) == [1.0, 2.0, 3.0]
    assert not catalog.trouble


def test_a_failed_listing_changes_nothing(store: Store, catalog: Catalog) -> None:
    for number in range(1001):  # two pages
        store.client.put_object(Bucket=store.bucket, Key=f"exp/r/{number:04}", Body=b"")
    store.put("run", event_file(1.0))
    catalog.refresh()
    for page in (1, 2):
        store.proxy.inject(Fault(FaultKind.STATUS, operation="ListObjectsV2", nth=page))
        catalog.refresh()
        assert "the listing failed" in catalog.trouble
        assert values(catalog) == [1.0]
        assert len(catalog.mounts[0].files) == 1002
    catalog.refresh()
    assert not catalog.trouble


def test_a_file_that_can_not_be_read_is_asked_for_less_and_less(store: Store, catalog: Catalog) -> None:
    store.put("run", event_file(1.0))
    fault = store.proxy.inject(
        Fault(FaultKind.STATUS, operation="GetObject", status=403, code="AccessDenied")
    )
    tried = []
    for _ in range(20):
        before = fault.fired
        catalog.refresh()
        tried.append(fault.fired - before)
    assert tried == [1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert "AccessDenied" in catalog.trouble
    fault.remove()
    store.put("run", event_file(1.0, 2.0))  # it has changed, and is tried at once
    catalog.refresh()
    assert values(catalog) == [1.0, 2.0]
    assert not catalog.trouble


def test_a_rebuilt_run_shows_what_was_there_until_it_is_read(store: Store, catalog: Catalog) -> None:
    key = store.put("run", event_file(1.0), number=1)
    store.put("run", event_file(2.0, first=1), number=2)
    catalog.refresh()
    store.delete(key)
    fault = store.proxy.inject(Fault(FaultKind.STATUS, operation="GetObject"))
    catalog.refresh()
    assert values(catalog) == [1.0, 2.0]
    fault.remove()
    catalog.refresh()
    assert values(catalog) == [2.0]


def test_a_read_in_pieces(store: Store, catalog: Catalog, used: Used, monkeypatch: Any) -> None:
    monkeypatch.setattr("bucketboard.serve.reading.CHUNK", 1000)
    body = event_file(*range(100))
    store.put("run", body)
    catalog.refresh()
    assert values(catalog) == [float(value) for value in range(100)]
    assert 5 <= used()["GetObject"] <= len(body) // 1000 + 2


def test_a_record_longer_than_a_piece(store: Store, catalog: Catalog, monkeypatch: Any) -> None:
    monkeypatch.setattr("bucketboard.serve.reading.CHUNK", 100)
    store.put("run", event_file(1.0) + records(5.0, tag="long" * 500) + records(2.0, first=1))
    catalog.refresh()
    assert values(catalog) == [1.0, 2.0]
    assert values(catalog, tag="long" * 500) == [5.0]


def test_the_first_listing_tells_its_error(store: Store) -> None:
    url = S3Url.parse(store.url)
    store.proxy.down()
    with pytest.raises(UnavailableError):
        Mount(BucketSource(url, Bucket(url.bucket, Settings.resolve()))).list()


def test_a_file_read_later_than_those_behind_it_keeps_its_place(store: Store, catalog: Catalog) -> None:
    store.put("run", event_file(*range(10)), number=1)
    store.put("run", event_file(10.0, first=10), number=2)
    fault = store.proxy.inject(Fault(FaultKind.STATUS, operation="GetObject", key="*tfevents.1.*"))
    catalog.refresh()
    assert values(catalog) == [10.0]
    catalog.refresh()
    assert values(catalog) == [10.0]
    fault.remove()
    for _ in range(4):
        catalog.refresh()
    assert values(catalog) == [float(value) for value in range(11)]
    assert not catalog.trouble
