from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from bucketboard.testing import Counts, FaultProxy, Server, Tally

PART = 5 * 1024 * 1024


def test_each_operation_is_counted_with_its_bytes(proxy: FaultProxy, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="a/b c", Body=b"x" * 1000)
    client.put_object(Bucket=bucket, Key="empty", Body=b"")
    assert client.get_object(Bucket=bucket, Key="a/b c", Range="bytes=10-19")["Body"].read() == b"x" * 10
    client.head_object(Bucket=bucket, Key="a/b c")
    client.delete_object(Bucket=bucket, Key="empty")
    with pytest.raises(ClientError, match="404"):
        client.head_object(Bucket=bucket, Key="empty")

    counts = proxy.counts
    assert counts["PutObject"] == Tally(2, 1000, 0, {200: 2})
    assert counts["GetObject"] == Tally(1, 0, 10, {206: 1})
    assert counts["HeadObject"] == Tally(2, 0, 0, {200: 1, 404: 1})
    assert counts["DeleteObject"] == Tally(1, 0, 0, {204: 1})
    assert counts.requests == {"DeleteObject": 1, "GetObject": 1, "HeadObject": 2, "PutObject": 2}
    assert counts.total == Tally(6, 1000, 10, {200: 3, 204: 1, 206: 1, 404: 1})
    assert counts["CopyObject"] == Tally()


def test_snapshots_subtract(proxy: FaultProxy, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"123")
    earlier = proxy.counts
    client.put_object(Bucket=bucket, Key="k", Body=b"12345")
    assert proxy.counts - earlier == Counts({"PutObject": Tally(1, 5, 0, {200: 1})})
    assert earlier["PutObject"].requests == 1


def test_requests_are_recorded_in_order(proxy: FaultProxy, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"123", IfNoneMatch="*")
    client.get_object(Bucket=bucket, Key="k")["Body"].read()
    put, get = proxy.requests
    assert (put.operation, put.key, put.status, put.bytes_sent) == ("PutObject", "k", 200, 3)
    assert put.headers["if-none-match"] == "*"
    assert put.request.bucket == bucket
    assert (get.operation, get.bytes_received) == ("GetObject", 3)


def test_multipart_upload(proxy: FaultProxy, client: Any, direct: Any, bucket: str) -> None:
    stored = b"s" * PART
    direct.put_object(Bucket=bucket, Key="k", Body=stored)
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    names = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    copied = client.upload_part_copy(
        **names,
        PartNumber=1,
        CopySource={"Bucket": bucket, "Key": "k"},
        CopySourceRange=f"bytes=0-{PART - 1}",
    )
    tail = client.upload_part(**names, PartNumber=2, Body=b"tail")
    client.list_multipart_uploads(Bucket=bucket)
    parts = [
        {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]},
        {"PartNumber": 2, "ETag": tail["ETag"]},
    ]
    client.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    other = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    client.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=other)

    assert proxy.counts.requests == {
        "AbortMultipartUpload": 1,
        "CompleteMultipartUpload": 1,
        "CreateMultipartUpload": 2,
        "ListMultipartUploads": 1,
        "UploadPart": 1,
        "UploadPartCopy": 1,
    }
    assert proxy.counts["UploadPart"].bytes_sent == 4
    assert proxy.counts["UploadPartCopy"].bytes_sent == 0
    assert direct.get_object(Bucket=bucket, Key="k")["Body"].read() == stored + b"tail"


def test_many_clients_at_once(proxy: FaultProxy, client: Any, bucket: str) -> None:
    barrier = threading.Barrier(16)

    def work(number: int) -> bytes:
        barrier.wait()
        client.put_object(Bucket=bucket, Key=str(number), Body=b"%d" % number)
        return bytes(client.get_object(Bucket=bucket, Key=str(number))["Body"].read())

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(work, range(16))) == [b"%d" % number for number in range(16)]
    assert proxy.counts.requests == {"GetObject": 16, "PutObject": 16}


def test_signatures_hold_and_large_bodies_pass(weed_server: Server) -> None:
    body = b"0123456789abcdef" * (1024 * 1024)
    with FaultProxy(weed_server.endpoint) as proxy:
        behind = weed_server.through(proxy.url)
        client = behind.client()
        client.create_bucket(Bucket="signed")
        client.put_object(Bucket="signed", Key="a +ü/%2F?", Body=body)
        assert client.get_object(Bucket="signed", Key="a +ü/%2F?")["Body"].read() == body
        client.close()
        forger = behind.with_credentials(behind.access_key, "not the secret").client()
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            forger.put_object(Bucket="signed", Key="k", Body=b"x")
        forger.close()
        assert proxy.counts["PutObject"].statuses == {200: 1, 403: 1}
        assert proxy.counts["GetObject"].bytes_received == len(body)


def test_a_chunked_body_passes(proxy: FaultProxy, direct: Any, bucket: str) -> None:
    url = urlsplit(proxy.url)
    connection = HTTPConnection(str(url.hostname), url.port, timeout=30)
    connection.request("PUT", f"/{bucket}/k", iter([b"abc", b"defg"]), encode_chunked=True)
    with connection.getresponse() as response:
        assert response.status == 200
    connection.close()
    assert direct.get_object(Bucket=bucket, Key="k")["Body"].read() == b"abcdefg"
    assert proxy.counts["PutObject"].bytes_sent == 7


def test_latency_and_bandwidth_change_while_running(proxy: FaultProxy, client: Any, bucket: str) -> None:
    proxy.latency, proxy.bandwidth = 0.01, 1e6
    client.put_object(Bucket=bucket, Key="k", Body=b"x" * 1000)
    assert (proxy.latency, proxy.bandwidth) == (0.01, 1e6)
    proxy.latency, proxy.bandwidth = 0.0, None
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * 1000
    assert proxy.counts.requests == {"GetObject": 1, "PutObject": 1}
