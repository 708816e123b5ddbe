"""What is particular to the fast way: what it sends, what it leaves to boto3, and where it is not loaded."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bucketboard.errors import InvalidError, Reason, UnavailableError
from bucketboard.events.record import crc32c
from bucketboard.store.bucket import Bucket, Content
from bucketboard.store.fast import FastBucket, fast_bucket
from bucketboard.store.settings import Settings
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server

PLAIN = Content("application/octet-stream", {})


def agents(proxy: FaultProxy) -> list[tuple[str, bool]]:
    """What was asked, and whether obstore asked it."""
    return [(each.operation, "obstore" in each.headers["user-agent"]) for each in proxy.requests]


def test_get_head_and_put_are_obstores_one_request_each(server: Server, bucket: tuple[Any, str]) -> None:
    with FaultProxy(server.endpoint, record=True) as proxy:
        store = fast_bucket(bucket[1], Settings(endpoint_url=proxy.url))
        written = store.put("k", b"0123", PLAIN, crc=crc32c(b"0123"))
        store.get("k", 1, 2, if_match=written.etag)
        store.head("k")
        assert agents(proxy) == [("PutObject", True), ("GetObject", True), ("HeadObject", True)]
        assert proxy.requests[1].headers["range"] == "bytes=1-1"
        assert proxy.requests[1].headers["if-match"] == written.etag


def test_options_of_the_settings_are_sent(moto_server: Server) -> None:
    client = moto_server.client()
    client.create_bucket(Bucket="fast-options")
    client.close()
    tags = {"team": "a b", "x": "1+1"}
    with FaultProxy(moto_server.endpoint, record=True) as proxy:
        store = FastBucket(
            "fast-options",
            Settings(
                endpoint_url=proxy.url,
                requester_pays=True,
                storage_class="STANDARD_IA",
                tags=tags,
                sse="AES256",
            ),
        )
        store.put("live", b"x", Content("text/plain", {"a": "b"}))
        store.put("final", b"x", Content("text/plain", {}, final=True))
        store.head("final")
        live, final, head = (recorded.headers for recorded in proxy.requests)
        assert {fast for _, fast in agents(proxy)} == {True}
    assert "x-amz-storage-class" not in live
    assert final["x-amz-storage-class"] == "STANDARD_IA"
    assert live["x-amz-server-side-encryption"] == "AES256"
    assert {each.get("x-amz-request-payer") for each in (live, final, head)} == {"requester"}
    assert live["x-amz-tagging"] in ("team=a+b&x=1%2B1", "x=1%2B1&team=a+b")


@pytest.mark.parametrize(
    "given", [{"acl": "private"}, {"expected_bucket_owner": "123456789012"}, {}], ids=["acl", "owner", "arn"]
)
def test_what_obstore_can_not_send_goes_through_boto3(given: dict[str, str]) -> None:
    name = "b" if given else "arn:aws:s3:eu-west-1:123456789012:accesspoint/x"
    assert type(fast_bucket(name, Settings(**given), 3)) is Bucket
    assert type(fast_bucket("b", Settings())) is FastBucket


def test_keys_that_obstore_would_change_or_refuse_go_through_boto3(moto_server: Server) -> None:
    client = moto_server.client()
    client.create_bucket(Bucket="odd-keys")
    keys = ["a/", "a//b", "/a", "a/./b", "a/../../b", "..", "a\nb", "a"]
    for key in keys:
        with contextlib.suppress(ClientError):  # moto's router does not take them all
            client.put_object(Bucket="odd-keys", Key=key, Body=key.encode())
    client.close()
    store = FastBucket("odd-keys", Settings(endpoint_url=moto_server.endpoint))
    names = [info.key for info in store.list("").objects]
    for key in names:
        assert store.get(key)[0] == key.encode(), key
        assert store.head(key).size == len(key.encode())
    assert len(names) > 4


def test_foreign_metadata_named_like_headers_are_metadata(server: Server, bucket: tuple[Any, str]) -> None:
    store = FastBucket(bucket[1], Settings(endpoint_url=server.endpoint))
    metadata = {"cache-control": "mine", "storage-class": "GOLD", "plain": "1"}
    store.put("k", b"x", Content("text/plain", metadata))
    assert dict(Bucket(store.name, store.settings).head("k").metadata) == metadata
    info = store.head("k")
    assert (info.metadata["plain"], info.content_type, info.storage_class) == ("1", "text/plain", "STANDARD")


def test_the_settings_go_before_variables_that_obstore_knows(
    server: Server, bucket: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    store = FastBucket(bucket[1], Settings(endpoint_url=server.endpoint))
    store.put("k", b"x", PLAIN)
    assert store.get("k")[0] == b"x"


def test_a_bucket_elsewhere_is_found_by_boto3(server: Server, bucket: tuple[Any, str]) -> None:
    with FaultProxy(server.endpoint, record=True) as proxy:
        store = FastBucket(bucket[1], Settings(endpoint_url=proxy.url))
        store.put("k", b"x", PLAIN)
        proxy.inject(Fault(FaultKind.STATUS, status=301, code="PermanentRedirect", times=1))
        assert [store.get("k")[0], store.get("k")[0]] == [b"x", b"x"]
        assert agents(proxy)[1:] == [("GetObject", True), ("GetObject", False), ("GetObject", False)]


def test_failed_requests_are_repeated_where_allowed(server: Server, bucket: tuple[Any, str]) -> None:
    with FaultProxy(server.endpoint) as proxy:
        store = FastBucket(bucket[1], Settings(endpoint_url=proxy.url), attempts=3)
        store.put("k", b"x" * 100_000, PLAIN)
        for kind in (FaultKind.STATUS, FaultKind.RESET, FaultKind.TRUNCATE):
            injection = proxy.inject(Fault(kind, operation="GetObject", times=1))
            assert len(store.get("k")[0]) == 100_000, kind
            assert injection.fired == 1
        assert b"".join(store.stream("k")[0]) == b"x" * 100_000


def test_credentials_that_fail_to_refresh_are_told(
    server: Server, bucket: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile broken]\ncredential_process = false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    store = FastBucket(bucket[1], Settings(endpoint_url=server.endpoint, profile="broken"))
    with pytest.raises(UnavailableError, match="GetObject") as caught:
        store.get("k")
    assert caught.value.reason is Reason.IDENTITY


def test_a_wrong_checksum_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(UnavailableError, match="CRC32C"):
        FastBucket("b", Settings(endpoint_url="http://127.0.0.1:9")).put("k", b"body", PLAIN, crc=1)


def test_many_threads_share_it(server: Server, bucket: tuple[Any, str]) -> None:
    store = FastBucket(bucket[1], Settings(endpoint_url=server.endpoint))
    with ThreadPoolExecutor(16) as threads:
        written = list(threads.map(lambda n: store.put(f"k{n}", b"%d" % n, PLAIN), range(100)))
        assert list(threads.map(lambda n: store.get(f"k{n}")[0], range(100))) == [
            b"%d" % n for n in range(100)
        ]
    assert len(written) == 100


FORKS = """
import os, sys
from bucketboard.store.bucket import Content
from bucketboard.store.fast import FastBucket
from bucketboard.store.settings import Settings

store = FastBucket(sys.argv[2], Settings(endpoint_url=sys.argv[1]))
store.put("parent", b"1", Content("text/plain", {}))
child = os.fork()
if not child:
    import signal
    signal.alarm(30)
    store.put("child", store.get("parent")[0], Content("text/plain", {}))
    FastBucket(sys.argv[2], Settings(endpoint_url=sys.argv[1])).put("own", b"1", Content("text/plain", {}))
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(code or store.get("child")[0] != b"1" or store.get("own")[0] != b"1")
"""


def test_a_forked_child_goes_through_boto3(server: Server, bucket: tuple[Any, str]) -> None:
    arguments = [sys.executable, "-W", "ignore", "-c", FORKS, server.endpoint, bucket[1]]
    assert subprocess.run(arguments, check=False, timeout=60).returncode == 0


def test_training_loads_no_obstore(server: Server, bucket: tuple[Any, str]) -> None:
    code = (
        "import sys, bucketboard\n"
        "with bucketboard.SummaryWriter(sys.argv[2], endpoint_url=sys.argv[1]) as writer:\n"
        "    writer.add_scalar('loss', 0.5, 1)\n"
        "sys.exit('obstore' in sys.modules)"
    )
    url = f"s3://{bucket[1]}/run"
    arguments = [sys.executable, "-c", code, server.endpoint, url]
    assert subprocess.run(arguments, check=False, timeout=60).returncode == 0
    assert Bucket(bucket[1], Settings(endpoint_url=server.endpoint)).list("run/").objects


def test_settings_that_obstore_would_panic_at_are_botocores_to_refuse() -> None:
    for url in ("https://host:port", "ftp://host", "no url at all"):
        with pytest.raises(InvalidError):
            FastBucket("b", Settings(endpoint_url=url)).get("k")
