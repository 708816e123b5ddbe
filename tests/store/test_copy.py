"""Copies inside S3 keep what an object is stored with."""

from __future__ import annotations

from typing import Any

import pytest

from bucketboard.errors import BucketboardError, Reason
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.copy import copy, restore, restoring
from bucketboard.store.settings import Settings
from bucketboard.testing import FaultProxy, Server

both = pytest.mark.parametrize("server", ["seaweed", "moto"], indirect=True)
MIB = 1 << 20


@pytest.fixture
def store(server: Server, bucket: tuple[Any, str]) -> Bucket:
    return Bucket(bucket[1], Settings(endpoint_url=server.endpoint))


def put(bucket: tuple[Any, str], key: str, body: bytes) -> ObjectInfo:
    client, name = bucket
    answer = client.put_object(
        Bucket=name,
        Key=key,
        Body=body,
        Metadata={"bucketboard-log": "l1", "own": "a%20b"},
        ContentType="text/x-thing",
        Tagging="team=vision&cost=4%202",
    )
    return ObjectInfo(key, len(body), answer["ETag"])


def described(bucket: tuple[Any, str], key: str) -> tuple[Any, ...]:
    client, name = bucket
    head = client.head_object(Bucket=name, Key=key)
    tags = client.get_object_tagging(Bucket=name, Key=key)["TagSet"]
    body = client.get_object(Bucket=name, Key=key)["Body"].read()
    return head["Metadata"], head["ContentType"], sorted((tag["Key"], tag["Value"]) for tag in tags), body


@both
@pytest.mark.parametrize("largest", [5 << 30, 5 * MIB])
def test_a_copy_is_the_same_object_elsewhere(largest: int, store: Bucket, bucket: tuple[Any, str]) -> None:
    body = bytes(range(256)) * (12 * MIB // 256)  # with the smaller limit in three parts
    source = put(bucket, "a/with space ünï+%", body)
    copied = copy(store, source, "b/copy", largest=largest)
    assert described(bucket, "b/copy") == described(bucket, source.key)
    assert (copied.key, copied.size) == ("b/copy", len(body))
    assert copied.etag.strip('"') == store.head("b/copy").etag.strip('"')
    assert list(store.uploads_below("")) == []


@both
@pytest.mark.parametrize("largest", [5 << 30, 5 * MIB])
def test_a_class_is_changed_in_place_and_all_else_stays(
    largest: int, store: Bucket, bucket: tuple[Any, str]
) -> None:
    source = put(bucket, "a", b"x" * 6 * MIB)
    before = described(bucket, "a")
    copy(store, source, "a", storage_class="STANDARD_IA", largest=largest)
    assert described(bucket, "a") == before
    [listed] = store.list("").objects
    assert listed.storage_class == "STANDARD_IA"
    copy(store, listed, "b")
    assert {info.storage_class for info in store.list("").objects} == {"STANDARD_IA"}


@both
@pytest.mark.parametrize("largest", [5 << 30, 5 * MIB])
def test_an_object_that_has_changed_is_not_copied(
    largest: int, store: Bucket, bucket: tuple[Any, str]
) -> None:
    stale = put(bucket, "a", b"x" * 6 * MIB)
    put(bucket, "a", b"y" * 6 * MIB)
    with pytest.raises(BucketboardError) as raised:
        copy(store, stale, "b", largest=largest)
    assert raised.value.reason is Reason.PRECONDITION
    assert [info.key for info in store.list("").objects] == ["a"]


@pytest.mark.parametrize("server", ["rclone"], indirect=True)
def test_where_parts_cannot_be_copied_it_says_so_and_leaves_nothing(
    store: Bucket, bucket: tuple[Any, str]
) -> None:
    client, name = bucket
    etag = client.put_object(Bucket=name, Key="a", Body=b"x" * 6 * MIB)["ETag"]
    source = ObjectInfo("a", 6 * MIB, etag)
    with pytest.raises(BucketboardError):
        copy(store, source, "b", largest=5 * MIB)
    assert [info.key for info in store.list("").objects] == ["a"]
    assert copy(store, source, "b").size == 6 * MIB


def test_a_delete_under_an_etag_leaves_what_has_changed(store: Bucket, bucket: tuple[Any, str]) -> None:
    stale, same = put(bucket, "a", b"1"), put(bucket, "b", b"2")
    put(bucket, "a", b"newer")
    [(key, why)] = store.delete_many(["a", "b"], {"a": stale.etag, "b": same.etag})
    assert (key, "PreconditionFailed" in why) == ("a", True)
    assert [info.key for info in store.list("").objects] == ["a"]


@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_an_archived_object_is_asked_for(server: Server, store: Bucket, bucket: tuple[Any, str]) -> None:
    source = put(bucket, "a", b"x")
    copy(store, source, "a", storage_class="DEEP_ARCHIVE")
    assert restoring(store, "a") == ""
    with FaultProxy(server.endpoint) as proxy:
        restore(Bucket(bucket[1], Settings(endpoint_url=proxy.url)), "a", days=3, tier="Bulk")
        assert proxy.counts.total.requests == 1
    assert restoring(store, "a") == "done"  # moto is quick


def test_where_nothing_is_ever_archived_asking_is_refused(store: Bucket, bucket: tuple[Any, str]) -> None:
    put(bucket, "a", b"x")
    with pytest.raises(BucketboardError) as raised:
        restore(store, "a", days=1, tier="Standard")
    assert raised.value.reason is Reason.UNSUPPORTED
