from __future__ import annotations

from typing import Any

import pytest
from viewing import NAME, Store, event_file, records

from bucketboard.errors import BucketboardError, UnavailableError
from bucketboard.serve.prefix import Prefix
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import Fault, FaultKind

PATH = "run/" + NAME.format(1)


@pytest.fixture
def prefix(store: Store) -> Prefix:
    return Prefix(S3Url.parse(store.url), Bucket(store.bucket, Settings.resolve()))


def read_all(prefix: Prefix, size: int, offset: int = 0) -> bytes:
    data = b""
    while more := prefix.read_events(PATH, offset + len(data), size):
        data += more
    return data


@pytest.mark.parametrize("size", [1, 11, 12, 16, 50, 100, 10_000])
def test_event_files_are_read_in_whole_records(store: Store, prefix: Prefix, size: int) -> None:
    body = event_file(*range(10), tag="a tag of some length")
    store.put("run", body)
    prefix.refresh()
    piece = prefix.read_events(PATH, 0, size)
    assert body.startswith(piece)
    assert piece
    assert read_all(prefix, size) == body


def test_every_length_of_a_growing_file_gives_its_whole_records(store: Store, prefix: Prefix) -> None:
    body = event_file(1.0, 2.0)
    seen = b""
    for length in range(len(body) + 1):
        store.put("run", body[:length])
        prefix.refresh()
        seen += read_all(prefix, 10_000, len(seen))
        assert body[:length].startswith(seen)
        assert length - len(seen) < 45
    assert seen == body


def test_nothing_new_costs_nothing(store: Store, prefix: Prefix) -> None:
    body = event_file(*range(10))
    store.put("run", body)
    prefix.refresh()
    read_all(prefix, 10_000)
    assert store.requests == {"ListObjectsV2": 1, "GetObject": 1}
    for _ in range(3):
        prefix.refresh()
        assert prefix.read_events(PATH, len(body), 10_000) == b""
    assert store.requests == {"ListObjectsV2": 4, "GetObject": 1}


def test_a_torn_record_is_asked_for_again_only_when_the_object_changed(store: Store, prefix: Prefix) -> None:
    body = event_file(1.0, 2.0)
    store.put("run", body[:-1])
    prefix.refresh()
    read = len(read_all(prefix, 10_000))
    for _ in range(3):
        prefix.refresh()
        assert prefix.read_events(PATH, read, 10_000) == b""
    assert store.requests["GetObject"] == 1
    store.put("run", body)
    prefix.refresh()
    assert prefix.read_events(PATH, read, 10_000) == body[read:]


def test_a_shorter_version_is_nothing_new(store: Store, prefix: Prefix) -> None:
    body = event_file(1.0, 2.0)
    store.put("run", body)
    prefix.refresh()
    read_all(prefix, 10_000)
    store.put("run", body[:30])
    prefix.refresh()
    assert prefix.read_events(PATH, len(body), 10_000) == b""


def test_a_corrupt_record_is_where_the_file_ends(store: Store, prefix: Prefix) -> None:
    good, bad = event_file(1.0, 2.0), bytearray(records(3.0, 4.0, first=2))
    bad[20] ^= 1
    store.put("run", good + bytes(bad))
    prefix.refresh()
    assert read_all(prefix, 10_000) == good
    assert "checksum" in str(prefix.failures[PATH])
    assert store.requests["GetObject"] == 1


def test_a_failed_listing_changes_nothing(store: Store, prefix: Prefix) -> None:
    for number in range(1001):  # two pages
        store.client.put_object(Bucket=store.bucket, Key=f"exp/r/{number:04}", Body=b"")
    prefix.refresh()
    seen = prefix.tree
    for page in (1, 2):
        store.proxy.inject(Fault(FaultKind.STATUS, operation="ListObjectsV2", nth=page))
        with pytest.raises(UnavailableError):
            prefix.refresh()
        assert prefix.tree is seen
    assert len(seen.files) == 1001


def test_a_failed_read_is_kept_until_one_succeeds(store: Store, prefix: Prefix) -> None:
    body = event_file(1.0)
    store.put("run", body)
    prefix.refresh()
    fault = store.proxy.inject(
        Fault(FaultKind.STATUS, operation="GetObject", status=403, code="AccessDenied")
    )
    with pytest.raises(BucketboardError, match="AccessDenied"):
        prefix.read_events(PATH, 0, 100)
    assert list(prefix.failures) == [PATH]
    fault.remove()
    assert prefix.read_events(PATH, 0, 10_000) == body
    assert not prefix.failures


def test_after_close_nothing_is_read(store: Store, prefix: Prefix) -> None:
    store.put("run", event_file(1.0))
    prefix.refresh()
    prefix.close()
    with pytest.raises(BucketboardError):
        prefix.read_events(PATH, 0, 100)
    requests: dict[str, Any] = store.requests
    assert "GetObject" not in requests
