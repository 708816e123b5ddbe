"""A gateway that signs anew, with ETags that tell nothing of the bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from bucketboard.testing import Fault, FaultKind, FaultProxy, Gateway, Server

PART = 5 * 1024 * 1024


@pytest.fixture
def gateway(weed_server: Server) -> Gateway:
    identity = (weed_server.access_key, weed_server.secret_key)
    return Gateway({weed_server.access_key: identity}, opaque=True)


@pytest.fixture
def proxy(weed_server: Server, gateway: Gateway) -> Iterator[FaultProxy]:
    with FaultProxy(weed_server.endpoint, gateway=gateway) as proxy:
        yield proxy


@pytest.fixture
def direct(weed_server: Server) -> Iterator[Any]:
    client = weed_server.client()
    yield client
    client.close()


@pytest.fixture
def client(weed_server: Server, proxy: FaultProxy) -> Iterator[Any]:
    client = weed_server.through(proxy.url).client()
    yield client
    client.close()


def put(client: Any, bucket: str, body: bytes = b"body", **conditions: str) -> str:
    return str(client.put_object(Bucket=bucket, Key="a key/&+", Body=body, **conditions)["ETag"])


def listed(client: Any, bucket: str) -> str:
    [entry] = client.list_objects_v2(Bucket=bucket)["Contents"]
    return str(entry["ETag"])


def test_an_etag_is_new_with_each_write_and_the_same_wherever_it_is_told(client: Any, bucket: str) -> None:
    first = put(client, bucket)
    assert first.strip('"') != hashlib.md5(b"body").hexdigest()
    second = put(client, bucket)
    assert second != first
    assert client.head_object(Bucket=bucket, Key="a key/&+")["ETag"] == second
    assert client.get_object(Bucket=bucket, Key="a key/&+", IfMatch=second)["ETag"] == second
    assert listed(client, bucket) == second


def test_conditions_hold_for_the_latest_write_alone(client: Any, direct: Any, bucket: str) -> None:
    first = put(client, bucket, IfNoneMatch="*")
    second = put(client, bucket, IfMatch=first)
    for stale in (first, '"0123456789abcdef0123456789abcdef"'):
        with pytest.raises(ClientError, match="PreconditionFailed"):
            put(client, bucket, IfMatch=stale)
    put(direct, bucket, b"somebody else's")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        put(client, bucket, IfMatch=second)
    assert listed(client, bucket) not in (first, second)


def test_uploads_in_parts_and_copied_ranges(client: Any, bucket: str) -> None:
    def key(**more: Any) -> dict[str, Any]:
        return {"Bucket": bucket, "Key": "a key/&+", **more}

    etag = put(client, bucket, bytes(PART))
    upload = client.create_multipart_upload(**key())["UploadId"]
    copied = client.upload_part_copy(
        **key(UploadId=upload, PartNumber=1, CopySource=key(), CopySourceIfMatch=etag)
    )["CopyPartResult"]
    sent = client.upload_part(**key(UploadId=upload, PartNumber=2, Body=b"tail"))
    parts = [{"PartNumber": 1, "ETag": copied["ETag"]}, {"PartNumber": 2, "ETag": sent["ETag"]}]
    done = client.complete_multipart_upload(
        **key(UploadId=upload, MultipartUpload={"Parts": parts}, IfMatch=etag)
    )
    assert done["ETag"] == listed(client, bucket)
    assert client.get_object(**key())["Body"].read() == bytes(PART) + b"tail"
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.upload_part_copy(
            **key(
                UploadId=client.create_multipart_upload(**key())["UploadId"],
                PartNumber=1,
                CopySource=key(),
                CopySourceIfMatch=etag,
            )
        )
    for left in client.list_multipart_uploads(Bucket=bucket)["Uploads"]:
        client.abort_multipart_upload(**key(UploadId=left["UploadId"]))


def test_a_lost_reply_has_an_etag_of_its_own_too(proxy: FaultProxy, client: Any, bucket: str) -> None:
    first = put(client, bucket)
    proxy.inject(Fault(FaultKind.LOST_REPLY, operation="PutObject", times=1))
    with pytest.raises(Exception, match="Connection"):
        put(client, bucket)
    assert listed(client, bucket) != first


def test_whom_it_signs_for(weed_server: Server, gateway: Gateway, proxy: FaultProxy, bucket: str) -> None:
    """A client with temporary credentials is let in; one that is not known there is refused by the server."""
    admitted = weed_server.through(proxy.url).with_credentials("temporary", "unknown to the server").client()
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        put(admitted, bucket)
    gateway.admit("temporary", (weed_server.access_key, weed_server.secret_key))
    put(admitted, bucket)
    admitted.close()


@pytest.fixture
def bucket(direct: Any) -> Iterator[str]:
    name = f"test-{uuid4().hex}"
    direct.create_bucket(Bucket=name)
    yield name
    for entry in direct.list_objects_v2(Bucket=name).get("Contents", ()):
        direct.delete_object(Bucket=name, Key=entry["Key"])
    direct.delete_bucket(Bucket=name)
