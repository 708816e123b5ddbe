"""Object operations against real servers."""

from __future__ import annotations

import contextlib
import gc
import random
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bucketboard.errors import BucketboardError, Reason, UnavailableError
from bucketboard.events.record import crc32c
from bucketboard.store.bucket import Bucket, Content
from bucketboard.store.capabilities import FALSE_ETAG
from bucketboard.store.fast import FastBucket
from bucketboard.store.settings import Settings
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server

both = pytest.mark.parametrize("server", ["seaweed", "moto"], indirect=True)
every = pytest.mark.parametrize("server", ["seaweed", "moto", "juicefs", "rclone"], indirect=True)
PLAIN = Content("application/octet-stream", {})
KEYS = [
    "plain",
    "with space/and  two",
    "ünïcode/損失/🧪",
    "a+b/c%2Fd/e%/f%25",
    "?query=1&x#fragment;=",
    "quotes'\"<xml>&amp;",
    "dots/a..b/...c/.d",
    "control\x01\x7f\u0085/\ttab",
    "~tilde!*()$@:,^[]{}|",
]


@pytest.fixture(params=[Bucket, FastBucket])
def store(request: pytest.FixtureRequest, server: Server, bucket: tuple[Any, str]) -> Bucket:
    return request.param(bucket[1], Settings(endpoint_url=server.endpoint))  # type: ignore[no-any-return]


@both
@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_any_characters_is_that_key(key: str, store: Bucket, bucket: tuple[Any, str]) -> None:
    client, name = bucket
    body = key.encode()
    written = store.put(key, body, PLAIN, crc=crc32c(body))
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket=name)["Contents"]] == [key]
    assert client.get_object(Bucket=name, Key=key)["Body"].read() == body
    assert store.get(key)[0] == body
    assert store.head(key).etag == written.etag
    parent = key.rpartition("/")[0]
    assert [info.key for info in store.list(parent).objects] == [key]
    store.delete(key)
    assert "Contents" not in client.list_objects_v2(Bucket=name)


@both
def test_head_tells_what_put_stored(store: Bucket) -> None:
    content = Content("text/x-thing", {"bucketboard-log": "l1", "bucketboard-user": "a%20b=%C3%A9"})
    written = store.put("k", b"body", content)
    info = store.head("k")
    assert (info.key, info.size, info.etag) == ("k", 4, written.etag)
    assert (dict(info.metadata), info.content_type) == (content.metadata, "text/x-thing")
    assert info.storage_class == "STANDARD"
    assert info.last_modified is not None
    assert info.version_id is written.version_id is None
    again = store.put("k", b"other", PLAIN)
    assert again.etag != written.etag
    assert dict(store.head("k").metadata) == {}


@both
@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 5, b"34"),
        (0, 1, b"0"),
        (9, 10, b"9"),
        (8, 100, b"89"),
        (10, None, b""),
        (10, 20, b""),
        (50, 60, b""),
        (5, 5, b""),
        (0, 0, b""),
    ],
)
def test_get_gives_a_range_and_the_size_of_the_whole(
    start: int, stop: int | None, expected: bytes, store: Bucket
) -> None:
    store.put("k", b"0123456789", Content("text/plain", {"a": "b"}))
    body, info = store.get("k", start, stop)
    assert body == expected
    assert (info.size, info.etag, dict(info.metadata)) == (10, store.head("k").etag, {"a": "b"})


@both
def test_get_of_an_empty_object(store: Bucket) -> None:
    store.put("k", b"", PLAIN)
    assert [store.get("k", *where)[0] for where in ((), (0, 5), (3,))] == [b"", b"", b""]


@both
def test_a_stream_gives_what_get_gives(store: Bucket) -> None:
    body = random.Random(1).randbytes(3_000_000)
    store.put("k", body, Content("text/plain", {"a": "b"}))
    for start, stop in ((0, None), (0, 1), (1_000_000, None), (5, 2_999_999), (3_000_000, None), (7, 7)):
        pieces, info = store.stream("k", start, stop)
        assert b"".join(pieces) == store.get("k", start, stop)[0] == body[start:stop]
        assert (info.size, info.etag, dict(info.metadata)) == (len(body), store.head("k").etag, {"a": "b"})
    pieces, _ = store.stream("k")
    next(iter(pieces))  # one may leave off early


@every
def test_get_of_what_has_changed_is_refused(store: Bucket) -> None:
    first = store.put("k", b"one", PLAIN)
    assert store.get("k", 1, if_match=first.etag)[0] == b"ne"
    store.put("k", b"other", PLAIN)
    for read in (store.get, store.stream):
        for where in ((), (1,), (1, 2), (1, 1), (7,)):
            with pytest.raises(UnavailableError) as caught:
                read("k", *where, if_match=first.etag)
            assert caught.value.reason is Reason.PRECONDITION


@both
def test_list_gives_all_pages_and_the_prefixes_below(store: Bucket, bucket: tuple[Any, str]) -> None:
    names = [f"{'runs/' if n % 2 else 'other/'}{n:04d} +%2F/é" for n in range(2, 26)]
    for name in [*names, "runs/file", "runs"]:
        store.put(name, b"x", PLAIN)
    assert [info.key for info in store.list("").objects] == sorted([*names, "runs/file", "runs"])
    listing = store.list("runs/", delimiter="/")
    assert listing.prefixes == sorted({name[: name.rindex("/") + 1] for name in names if "runs" in name})
    assert [(info.key, info.size) for info in listing.objects] == [("runs/file", 1)]
    assert listing.objects[0].etag == store.head("runs/file").etag
    empty = store.list("nothing/", delimiter="/")
    assert (empty.objects, empty.prefixes) == ([], [])


def test_list_goes_past_a_thousand_keys_and_fails_with_any_of_its_pages(
    store: Bucket, server: Server
) -> None:
    keys = [f"p/{n:05d} é" for n in range(1005)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: store.put(key, b"", PLAIN), keys))
    assert [info.key for info in store.list("p/").objects] == keys
    assert store.list("", delimiter="/").prefixes == ["p/"]
    with FaultProxy(server.endpoint) as proxy:
        through = Bucket(store.name, Settings(endpoint_url=proxy.url))
        proxy.inject(Fault(FaultKind.STATUS, operation="ListObjectsV2", nth=2))
        with pytest.raises(UnavailableError):
            through.list("p/")
        assert len(through.list("p/").objects) == len(keys)


def refused(store: Bucket, **condition: Any) -> BucketboardError:
    with pytest.raises(UnavailableError) as caught:
        store.put("k", b"refused", PLAIN, **condition)
    assert f"s3://{store.name}/k" in str(caught.value)
    return caught.value


@both
def test_a_condition_that_does_not_hold_is_told_as_such_and_changes_nothing(store: Bucket) -> None:
    first = store.put("k", b"one", PLAIN, if_none_match=True)
    assert refused(store, if_none_match=True).reason is Reason.PRECONDITION
    assert refused(store, if_match=FALSE_ETAG).reason is Reason.PRECONDITION
    assert store.get("k")[0] == b"one"
    second = store.put("k", b"two", PLAIN, if_match=first.etag)
    assert refused(store, if_match=first.etag).reason is Reason.PRECONDITION
    assert store.head("k").etag == second.etag
    store.delete("k")
    assert refused(store, if_match=second.etag).reason in (Reason.PRECONDITION, Reason.NOT_FOUND)


@both
def test_what_is_not_there_is_not_found(store: Bucket) -> None:
    for operation in (store.head, store.get):
        with pytest.raises(UnavailableError) as caught:
            operation("no/such key")
        assert caught.value.reason is Reason.NOT_FOUND
        assert f"s3://{store.name}/no/such key" in caught.value.message
    store.delete("no/such key")


def test_a_wrong_checksum_is_refused_and_nothing_is_stored(store: Bucket) -> None:
    with pytest.raises(BucketboardError) as caught:
        store.put("k", b"body", PLAIN, crc=crc32c(b"another body"))
    assert isinstance(caught.value, UnavailableError)
    assert store.list("").objects == []


@both
def test_every_option_of_the_settings_is_sent(server: Server, bucket: tuple[Any, str]) -> None:
    client, name = bucket
    options: dict[str, Any] = {
        "storage_class": "STANDARD_IA",
        "acl": "private",
        "tags": {"team": "a b", "é": "1+1"},
    }
    with FaultProxy(server.endpoint, record=True) as proxy:
        sse: dict[str, Any] = {"sse": "AES256"} if server.name == "moto" else {}
        store = Bucket(
            name,
            Settings(
                endpoint_url=proxy.url,
                requester_pays=True,
                expected_bucket_owner="123456789012" if server.name == "moto" else None,
                **options,
                **sse,
            ),
        )
        store.put("live", b"x", PLAIN)
        store.put("final", b"x", Content("text/plain", {}, final=True), crc=crc32c(b"x"))
        live, final = (recorded.headers for recorded in proxy.requests)
    assert "x-amz-storage-class" not in live
    assert final["x-amz-storage-class"] == "STANDARD_IA"
    assert "x-amz-checksum-crc32c" not in live
    assert final["x-amz-checksum-crc32c"]
    assert live["x-amz-acl"] == "private"
    assert live["x-amz-request-payer"] == "requester"
    assert live.get("x-amz-server-side-encryption") == sse.get("sse")
    assert ("x-amz-expected-bucket-owner" in live) is bool(sse)
    tags = client.get_object_tagging(Bucket=name, Key="live")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == options["tags"]


def test_checksum_off_sends_none(server: Server, bucket: tuple[Any, str]) -> None:
    with FaultProxy(server.endpoint, record=True) as proxy:
        store = Bucket(bucket[1], Settings(endpoint_url=proxy.url, request_checksum="off"))
        store.put("k", b"x", PLAIN, crc=0)
        [recorded] = proxy.requests
    assert not [name for name in recorded.headers if "checksum" in name or "crc" in name]


def test_versions_are_told(moto_server: Server) -> None:
    client = moto_server.client()
    client.create_bucket(Bucket="versioned")
    store = Bucket("versioned", Settings(endpoint_url=moto_server.endpoint))
    assert store.versioning() == ""
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    client.close()
    assert store.versioning() == "Enabled"
    version = store.put("k", b"x", PLAIN).version_id
    assert version
    assert store.head("k").version_id == version


@every
def test_a_failure_holds_nothing_of_its_callers(store: Bucket) -> None:
    """No cycle, which would keep bodies in memory and sockets open until the garbage collector runs."""

    def ask() -> weakref.ref[set[str]]:
        held = {"of the caller"}
        with contextlib.suppress(UnavailableError):
            store.get("missing")
        return weakref.ref(held)

    ask()
    gc.disable()
    try:
        assert ask()() is None
    finally:
        gc.enable()
