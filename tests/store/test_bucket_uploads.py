"""Multipart uploads, with parts copied out of the object itself, against real servers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from bucketboard.errors import BucketboardError, InvalidError, Reason, UnavailableError
from bucketboard.events.record import crc32c
from bucketboard.store.bucket import Bucket, Content, Part
from bucketboard.store.capabilities import FALSE_ETAG
from bucketboard.store.settings import Settings
from bucketboard.testing import FaultProxy, Server, rclone

both = pytest.mark.parametrize("server", ["seaweed", "moto"], indirect=True)
KEY = "runs/a b+c%2F/é"
CONTENT = Content("application/octet-stream", {"bucketboard-log": "l"})
PART = 5 << 20
OLD = os.urandom(PART + 1000)
TAIL = b"new bytes" * 100


@pytest.fixture
def store(server: Server, bucket: tuple[Any, str]) -> Bucket:
    return Bucket(bucket[1], Settings(endpoint_url=server.endpoint))


def begin(store: Bucket) -> tuple[str, str]:
    """An object, and an upload that is to replace it: its ETag and the upload's id."""
    return store.put(KEY, OLD, CONTENT).etag, store.create_upload(KEY, CONTENT)


def grow(store: Bucket, etag: str, upload: str, **complete: Any) -> bytes:
    """Append `TAIL`; gives the bytes that are stored then."""
    whole = OLD + TAIL
    parts = [
        store.copy_part(KEY, upload, 1, 0, PART, etag),
        store.upload_part(KEY, upload, 2, whole[PART:], crc32c(whole[PART:])),
    ]
    options = {"size": len(whole), "crc": crc32c(whole), "if_match": etag, **complete}
    info = store.complete_upload(KEY, upload, parts, **options)
    head = store.head(KEY)
    assert (head.etag, head.size, dict(head.metadata)) == (info.etag, info.size, CONTENT.metadata)
    return store.get(KEY)[0]


@both
def test_an_object_grows_out_of_a_copy_of_itself(store: Bucket) -> None:
    assert grow(store, *begin(store)) == OLD + TAIL
    assert list(store.uploads(KEY)) == []


@both
def test_without_checksums_too(server: Server, bucket: tuple[Any, str]) -> None:
    with FaultProxy(server.endpoint, record=True) as proxy:
        store = Bucket(bucket[1], Settings(endpoint_url=proxy.url, request_checksum="off"))
        assert grow(store, *begin(store)) == OLD + TAIL
        sent = {name for recorded in proxy.requests for name in recorded.headers}
    assert not [name for name in sent if "checksum" in name]


def test_only_the_tail_travels(server: Server, bucket: tuple[Any, str]) -> None:
    with FaultProxy(server.endpoint) as proxy:
        store = Bucket(bucket[1], Settings(endpoint_url=proxy.url))
        begun = begin(store)
        before = proxy.counts.total.bytes_sent
        grow(store, *begun)
        assert proxy.counts.total.bytes_sent - before < 1000 + len(TAIL) + 4096


def test_a_stale_condition_at_the_end_leaves_the_object_and_the_upload(store: Bucket) -> None:
    etag, upload = begin(store)
    newer = store.put(KEY, OLD[:-1], CONTENT)
    with pytest.raises(UnavailableError) as caught:
        grow(store, newer.etag, upload, if_match=etag)
    assert caught.value.reason is Reason.PRECONDITION
    assert store.head(KEY).etag == newer.etag
    assert [entry[0] for entry in store.uploads(KEY)] == [upload]


def test_a_copy_from_a_changed_object_is_refused(store: Bucket) -> None:
    _, upload = begin(store)
    with pytest.raises(UnavailableError) as caught:
        store.copy_part(KEY, upload, 1, 0, PART, FALSE_ETAG)
    assert caught.value.reason is Reason.PRECONDITION
    assert KEY in caught.value.message


def test_wrong_checksums_are_refused(store: Bucket) -> None:
    etag, upload = begin(store)
    with pytest.raises(BucketboardError):
        store.upload_part(KEY, upload, 1, TAIL, crc32c(TAIL) ^ 1)
    with pytest.raises(BucketboardError):
        grow(store, etag, upload, crc=1)
    assert store.head(KEY).etag == etag


@both
def test_uploads_of_exactly_this_key_are_listed_and_aborted(store: Bucket) -> None:
    ours = {store.create_upload(KEY, CONTENT) for _ in range(2)}
    other = store.create_upload(f"{KEY}2", CONTENT)
    listed = dict(store.uploads(KEY))
    assert set(listed) == ours
    assert all(started.tzinfo for started in listed.values())
    for upload in ours:
        store.abort_upload(KEY, upload)
    assert list(store.uploads(KEY)) == []
    assert [upload for upload, _ in store.uploads(f"{KEY}2")] == [other]


def test_an_upload_that_is_gone_is_told_as_such(store: Bucket) -> None:
    etag, upload = begin(store)
    store.abort_upload(KEY, upload)
    attempts: list[Callable[[], object]] = [
        lambda: store.upload_part(KEY, upload, 1, TAIL, crc32c(TAIL)),
        lambda: store.complete_upload(KEY, upload, [Part(1, etag)], size=1, crc=0, if_match=None),
    ]
    for attempt in attempts:
        with pytest.raises(UnavailableError) as caught:
            attempt()
        assert caught.value.reason is Reason.NO_SUCH_UPLOAD
        assert f"s3://{store.name}/{KEY}" in caught.value.message


@both
def test_a_part_too_small_is_refused_with_the_servers_reason(store: Bucket) -> None:
    _, upload = begin(store)
    parts = [store.upload_part(KEY, upload, n, TAIL, crc32c(TAIL)) for n in (1, 2)]
    with pytest.raises(InvalidError, match="EntityTooSmall"):
        store.complete_upload(
            KEY, upload, parts, size=2 * len(TAIL), crc=crc32c(TAIL + TAIL), if_match=None
        )  # fmt: skip


def test_a_server_that_copies_nothing_is_found_out() -> None:
    with rclone() as server:
        client = server.client()
        client.create_bucket(Bucket="plain")
        client.close()
        store = Bucket("plain", Settings(endpoint_url=server.endpoint))
        etag = store.put("k", OLD, CONTENT).etag
        upload = store.create_upload("k", CONTENT)
        with pytest.raises(InvalidError) as caught:
            store.copy_part("k", upload, 1, 0, PART, etag)
        assert caught.value.reason is Reason.UNSUPPORTED


def test_the_owner_of_the_copied_object_is_stated_and_the_class_of_a_finished_one(
    moto_server: Server, clients: dict[str, Any]
) -> None:
    with FaultProxy(moto_server.endpoint, record=True) as proxy:
        settings = Settings(
            endpoint_url=proxy.url, expected_bucket_owner="123456789012", storage_class="GLACIER_IR"
        )
        client = clients.setdefault(moto_server.endpoint, moto_server.client())
        client.create_bucket(Bucket="owned")
        store = Bucket("owned", settings)
        etag = store.put(KEY, OLD, CONTENT).etag
        upload = store.create_upload(KEY, Content("text/plain", {}, final=True))
        grow_parts = [store.copy_part(KEY, upload, 1, 0, len(OLD), etag)]
        store.complete_upload(KEY, upload, grow_parts, size=len(OLD), crc=crc32c(OLD), if_match=etag)
        copied = next(r for r in proxy.requests if r.operation == "UploadPartCopy").headers
        completed = next(r for r in proxy.requests if r.operation == "CompleteMultipartUpload").headers
        assert store.head(KEY).storage_class == "GLACIER_IR"
    assert completed["x-amz-mp-object-size"] == str(len(OLD))
    assert completed["x-amz-checksum-type"] == "FULL_OBJECT"
    assert completed["if-match"] == etag
    assert copied["x-amz-source-expected-bucket-owner"] == "123456789012"
    assert all(r.headers["x-amz-expected-bucket-owner"] == "123456789012" for r in proxy.requests)
