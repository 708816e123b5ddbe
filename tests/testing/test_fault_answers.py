"""What S3 answers and no local server does, and what happens to bodies on the way."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from bucketboard.testing import Fault, FaultKind, FaultProxy, Server, answers


def code(call: Any, **arguments: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (answers.conditional_conflict(), ("ConditionalRequestConflict", 409)),
        (answers.missing_key(), ("NoSuchKey", 404)),
    ],
)
def test_conditional_writes_alone_are_hit(
    proxy: FaultProxy, client: Any, bucket: str, fault: Fault, expected: tuple[str, int]
) -> None:
    proxy.inject(fault)
    client.put_object(Bucket=bucket, Key="k", Body=b"")
    assert code(client.put_object, Bucket=bucket, Key="k", Body=b"", IfMatch='"0"') == expected


def test_a_lost_success_is_completed(proxy: FaultProxy, client: Any, direct: Any, bucket: str) -> None:
    proxy.inject(answers.lost_success(times=1))
    key = {"Bucket": bucket, "Key": "k"}
    upload = client.create_multipart_upload(**key)["UploadId"]
    part = client.upload_part(**key, UploadId=upload, PartNumber=1, Body=b"body")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    complete = {**key, "UploadId": upload, "MultipartUpload": parts}
    assert code(client.complete_multipart_upload, **complete) == ("NoSuchUpload", 404)
    assert direct.get_object(**key)["Body"].read() == b"body"
    assert proxy.counts["CompleteMultipartUpload"].statuses == {404: 1}


@pytest.mark.parametrize("done", [False, True])
def test_an_error_in_a_success(proxy: FaultProxy, client: Any, direct: Any, bucket: str, done: bool) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"body")
    proxy.inject(answers.error_in_success("SlowDown", done=done))
    source = {"Bucket": bucket, "Key": "k"}
    found, _ = code(client.copy_object, Bucket=bucket, Key="copy", CopySource=source)
    assert found == "SlowDown"
    assert ("copy" in [entry["Key"] for entry in direct.list_objects_v2(Bucket=bucket)["Contents"]]) is done


def test_a_created_upload_of_which_nobody_knows(proxy: FaultProxy, client: Any, bucket: str) -> None:
    proxy.inject(answers.lost_create(times=1))
    with pytest.raises(Exception, match="Connection"):
        client.create_multipart_upload(Bucket=bucket, Key="k")
    assert len(client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1


def test_tokens_redirects_and_denials(proxy: FaultProxy, client: Any, bucket: str) -> None:
    for fault, expected in (
        (answers.expired_token(times=1), ("ExpiredToken", 400)),
        (answers.expired_token(403, times=1), ("ExpiredToken", 403)),
        (answers.access_denied(times=1), ("AccessDenied", 403)),
        (answers.temporary_redirect(proxy.url, operation="GetObject"), ("TemporaryRedirect", 307)),
    ):
        proxy.inject(fault)
        assert code(client.get_object, Bucket=bucket, Key="k") == expected


@pytest.mark.parametrize("status", [301, 400])
def test_another_region_is_found_by_the_client(
    moto_server: Server, proxy: FaultProxy, bucket: str, status: int
) -> None:
    hit = proxy.inject(answers.wrong_region("eu-west-3", status=status))
    client = moto_server.through(proxy.url).client()
    client.put_object(Bucket=bucket, Key="k", Body=b"body")
    assert hit.fired
    client.close()


def test_a_stale_listing(proxy: FaultProxy, client: Any, bucket: str) -> None:
    def keys(prefix: str = "") -> list[str]:
        listing = client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for entry in listing.get("Contents", ())]

    stale = proxy.inject(Fault(FaultKind.STALE, operation="ListObjectsV2"))
    assert keys() == []
    client.put_object(Bucket=bucket, Key="k", Body=b"")
    assert keys() == []
    assert keys("k") == ["k"]  # another question, asked now for the first time
    stale.remove()
    assert keys() == ["k"]


@pytest.mark.parametrize("kind", [FaultKind.CORRUPT, FaultKind.CORRUPT_UPLOAD])
def test_one_byte_is_another(
    proxy: FaultProxy, client: Any, direct: Any, bucket: str, kind: FaultKind
) -> None:
    body = bytes(1 << 20)
    proxy.inject(Fault(kind, operation=("PutObject", "GetObject")))
    client.put_object(Bucket=bucket, Key="k", Body=body)
    reader = client if kind is FaultKind.CORRUPT else direct
    read = reader.get_object(Bucket=bucket, Key="k")["Body"].read()
    assert len(read) == len(body)
    assert [offset for offset, byte in enumerate(read) if byte] == [1 << 19]
