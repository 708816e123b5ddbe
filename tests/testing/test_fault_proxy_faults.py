from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    ResponseStreamingError,
)

from bucketboard.testing import NO_REPLY, Fault, FaultKind, FaultProxy, Request, Server


def put(client: Any, bucket: str, key: str = "k", body: bytes = b"body") -> int:
    return int(client.put_object(Bucket=bucket, Key=key, Body=body)["ResponseMetadata"]["HTTPStatusCode"])


def keys(client: Any, bucket: str) -> list[str]:
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]


@pytest.mark.parametrize("kind", [FaultKind.REFUSE, FaultKind.RESET])
def test_a_dropped_connection_never_reaches_the_server(
    kind: FaultKind, proxy: FaultProxy, client: Any, direct: Any, bucket: str
) -> None:
    injection = proxy.inject(Fault(kind, operation="PutObject"))
    with pytest.raises(HTTPClientError):
        put(client, bucket)
    assert injection.fired == 1
    assert proxy.counts["PutObject"].statuses == {NO_REPLY: 1}
    assert keys(direct, bucket) == []
    injection.remove()
    assert put(client, bucket) == 200


def test_refuse_closes_and_reset_resets(proxy: FaultProxy, bucket: str) -> None:
    url = urlsplit(proxy.url)
    for kind, error in ((FaultKind.REFUSE, RemoteDisconnected), (FaultKind.RESET, ConnectionResetError)):
        proxy.inject(Fault(kind, times=1))
        connection = HTTPConnection(str(url.hostname), url.port, timeout=30)
        connection.request("GET", f"/{bucket}")
        with pytest.raises(error) as caught:
            connection.getresponse()
        assert caught.type is error
        connection.close()


def test_status_is_an_s3_error(proxy: FaultProxy, client: Any, direct: Any, bucket: str) -> None:
    proxy.inject(
        Fault(FaultKind.STATUS, operation="PutObject", status=409, code="ConditionalRequestConflict")
    )
    with pytest.raises(ClientError) as caught:
        put(client, bucket)
    assert caught.value.response["Error"]["Code"] == "ConditionalRequestConflict"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    assert keys(direct, bucket) == []
    assert proxy.counts["PutObject"].statuses == {409: 1}


def test_status_of_a_head_has_no_body(proxy: FaultProxy, client: Any, bucket: str) -> None:
    put(client, bucket)
    proxy.inject(Fault(FaultKind.STATUS, operation="HeadObject", times=1))
    with pytest.raises(ClientError, match="503"):
        client.head_object(Bucket=bucket, Key="k")
    assert client.head_object(Bucket=bucket, Key="k")["ContentLength"] == 4
    assert proxy.counts["HeadObject"].bytes_received == 0


def test_status_with_headers_and_an_error_inside_200(proxy: FaultProxy, bucket: str) -> None:
    fault = Fault(FaultKind.STATUS, status=200, code="InternalError", headers={"Retry-After": "7"})
    proxy.inject(fault)
    url = urlsplit(proxy.url)
    connection = HTTPConnection(str(url.hostname), url.port, timeout=30)
    connection.request("POST", f"/{bucket}/k?uploadId=u", b"<x/>")
    with connection.getresponse() as response:
        assert (response.status, response.headers["Retry-After"]) == (200, "7")
        assert b"<Code>InternalError</Code>" in response.read()
    connection.close()
    assert proxy.counts["CompleteMultipartUpload"].bytes_sent == 4


def test_a_lost_reply_is_stored(proxy: FaultProxy, client: Any, direct: Any, bucket: str) -> None:
    proxy.inject(Fault(FaultKind.LOST_REPLY, times=1))
    with pytest.raises(ConnectionClosedError):
        put(client, bucket, body=b"stored all the same")
    assert direct.get_object(Bucket=bucket, Key="k")["Body"].read() == b"stored all the same"
    [lost] = proxy.requests
    assert (lost.status, lost.bytes_sent) == (NO_REPLY, 19)


def test_a_truncated_body(proxy: FaultProxy, client: Any, bucket: str) -> None:
    put(client, bucket, body=b"x" * 1000)
    proxy.inject(Fault(FaultKind.TRUNCATE, operation="GetObject", times=1))
    with pytest.raises(ResponseStreamingError):
        client.get_object(Bucket=bucket, Key="k")["Body"].read()
    assert proxy.counts["GetObject"].bytes_received == 500
    assert len(client.get_object(Bucket=bucket, Key="k")["Body"].read()) == 1000


def test_hang_lasts_until_removed(proxy: FaultProxy, client: Any, direct: Any, bucket: str) -> None:
    injection = proxy.inject(Fault(FaultKind.HANG))
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(put, client, bucket)
        injection.wait_fired()
        assert not hanging.done()
        injection.remove()
        assert isinstance(hanging.exception(timeout=30), HTTPClientError)
    assert keys(direct, bucket) == []


def test_hang_ends_when_the_proxy_closes(moto_server: Server, bucket: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        with FaultProxy(moto_server.endpoint) as proxy:
            injection = proxy.inject(Fault(FaultKind.HANG))
            client = moto_server.through(proxy.url).client()
            hanging = threads.submit(put, client, bucket)
            injection.wait_fired()
        assert isinstance(hanging.exception(timeout=30), HTTPClientError)
        client.close()


def test_a_held_request_goes_on_when_released(
    proxy: FaultProxy, client: Any, direct: Any, bucket: str
) -> None:
    injection = proxy.inject(Fault(FaultKind.HOLD, operation="PutObject", nth=1))
    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(put, client, bucket, body=b"first asked, last stored")
        injection.wait_fired()
        put(direct, bucket, body=b"between")
        injection.remove()
        assert held.result(timeout=30) == 200
    assert direct.get_object(Bucket=bucket, Key="k")["Body"].read() == b"first asked, last stored"


def test_slow_adds_to_other_faults(proxy: FaultProxy, client: Any, bucket: str) -> None:
    status = proxy.inject(Fault(FaultKind.STATUS, status=500, code="InternalError", times=1))
    slow = proxy.inject(Fault(FaultKind.SLOW, delay=0.001))
    with pytest.raises(ClientError, match="InternalError"):
        put(client, bucket)
    assert put(client, bucket) == 200
    assert (status.fired, slow.fired) == (1, 2)


def statuses(client: Any, bucket: str, count: int, key: str = "k") -> list[int]:
    seen = []
    for _ in range(count):
        try:
            seen.append(put(client, bucket, key))
        except ClientError as error:
            seen.append(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return seen


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ({"nth": 2}, [200, 503, 200, 200]),
        ({"nth": 2, "times": 2}, [200, 503, 503, 200]),
        ({"times": 1}, [503, 200, 200, 200]),
        ({"operation": ("GetObject", "PutObject"), "times": 3}, [503, 503, 503, 200]),
        ({"operation": "GetObject"}, [200] * 4),
        ({"key": "k*"}, [503] * 4),
        ({"key": "*/events.*"}, [200] * 4),
        ({"probability": 0.0}, [200] * 4),
    ],
)
def test_which_requests_are_hit(
    which: dict[str, Any], expected: list[int], proxy: FaultProxy, client: Any, bucket: str
) -> None:
    proxy.inject(Fault(FaultKind.STATUS, **which))
    assert statuses(client, bucket, 4) == expected


def test_a_predicate_sees_the_request(proxy: FaultProxy, client: Any, bucket: str) -> None:
    def conditional(request: Request) -> bool:
        return "if-match" in request.headers

    proxy.inject(Fault(FaultKind.STATUS, status=403, code="AccessDenied", when=conditional))
    assert put(client, bucket) == 200
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_object(Bucket=bucket, Key="k", Body=b"", IfMatch='"0"')


def test_clear_removes_everything(proxy: FaultProxy, client: Any, bucket: str) -> None:
    proxy.inject(Fault(FaultKind.STATUS))
    proxy.inject(Fault(FaultKind.RESET))
    proxy.clear()
    assert put(client, bucket) == 200


def test_chance_depends_on_the_seed_alone(moto_server: Server, bucket: str) -> None:
    def run(seed: int, keys: list[str]) -> dict[str, list[int]]:
        with FaultProxy(moto_server.endpoint, seed=seed) as proxy:
            proxy.inject(Fault(FaultKind.STATUS, probability=0.5))
            client = moto_server.through(proxy.url).client()
            seen = {key: statuses(client, bucket, 8, key) for key in keys}
            client.close()
            return seen

    first = run(1, ["a", "b"])
    assert first == run(1, ["b", "a"])  # whichever came first
    assert first != run(2, ["a", "b"])
    assert {200, 503} == {status for row in first.values() for status in row}


def test_down_and_up_again(proxy: FaultProxy, client: Any, direct: Any, bucket: str) -> None:
    url = proxy.url
    injection = proxy.inject(Fault(FaultKind.HOLD, operation="PutObject"))
    with ThreadPoolExecutor(1) as threads:
        interrupted = threads.submit(put, client, bucket)
        injection.wait_fired()
        proxy.down()
        assert isinstance(interrupted.exception(timeout=30), HTTPClientError)
    with pytest.raises(EndpointConnectionError):
        put(client, bucket)
    proxy.down()
    proxy.clear()
    proxy.up()
    proxy.up()
    assert proxy.url == url
    assert put(client, bucket) == 200
    assert proxy.counts["PutObject"].statuses == {NO_REPLY: 1, 200: 1}


def test_a_server_that_is_gone_is_a_reset(bucket: str, moto_server: Server) -> None:
    with FaultProxy(moto_server.endpoint) as inner, FaultProxy(inner.url) as proxy:
        client = moto_server.through(proxy.url).client()
        assert put(client, bucket) == 200
        inner.down()
        with pytest.raises(ConnectionClosedError):
            put(client, bucket)
        inner.up()
        assert put(client, bucket) == 200
        client.close()


def test_waiting_for_a_fault_that_does_not_come(proxy: FaultProxy) -> None:
    with pytest.raises(TimeoutError, match="hit 0 of 1"):
        proxy.inject(Fault(FaultKind.RESET)).wait_fired(timeout=0)


def test_only_http_can_be_proxied() -> None:
    with pytest.raises(ValueError, match="http"):
        FaultProxy("https://127.0.0.1:1")


def test_closing_leaves_no_thread(moto_server: Server) -> None:
    with FaultProxy(moto_server.endpoint):
        pass
    assert "fault-proxy" not in {thread.name for thread in threading.enumerate()}
