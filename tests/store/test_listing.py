"""Listings are read as botocore reads them, only faster."""

from __future__ import annotations

from typing import Any

from bucketboard.store.bucket import Bucket
from bucketboard.store.client import s3_client
from bucketboard.store.settings import Settings
from bucketboard.testing import Server

KEYS = ["a b/&<>'\"", "ä/名", "dir/one", "dir/two", "p+q%20", "x//y", "z\x07"]


def test_a_listing_gives_what_botocore_alone_gives(server: Server, bucket: tuple[Any, str]) -> None:
    client, name = bucket
    for key in KEYS:
        try:
            client.put_object(Bucket=name, Key=key, Body=key.encode())
        except client.exceptions.ClientError:  # some servers refuse some
            continue
    settings = Settings.resolve(endpoint_url=server.endpoint, region=server.region)
    for delimiter in ("", "/"):
        expected = client.list_objects_v2(Bucket=name, Delimiter=delimiter)
        listing = Bucket(name, settings).list("", delimiter=delimiter)
        assert [
            (each.key, each.size, each.etag, each.last_modified, each.storage_class)
            for each in listing.objects
        ] == [
            (
                each["Key"],
                each["Size"],
                each["ETag"],
                each["LastModified"],
                each.get("StorageClass", "STANDARD"),
            )
            for each in expected.get("Contents", ())
        ]
        assert listing.prefixes == [each["Prefix"] for each in expected.get("CommonPrefixes", ())]
    assert len(Bucket(name, settings).list("").objects) > 3


def _answer(body: bytes, status: int = 200) -> tuple[dict[str, Any], dict[str, Any]]:
    response, found = {"status_code": status, "body": body, "headers": {}}, dict[str, Any]()
    client = s3_client(Settings(endpoint_url="http://127.0.0.1:1", region="us-east-1"))
    client.meta.events.emit(
        "before-parse.s3.ListObjectsV2",
        operation_model=client.meta.service_model.operation_model("ListObjectsV2"),
        response_dict=response,
        customized_response_dict=found,
    )
    return response, found


def test_what_is_not_as_expected_is_left_to_botocore() -> None:
    for body, status in (
        (b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>", 200),
        (b"<ListBucketResult><Contents><Key>a", 200),
        (b"<Other><Contents><Key>a</Key><ETag>e</ETag><Size>1</Size></Contents></Other>", 200),
        (b"<Error><Code>NoSuchBucket</Code></Error>", 404),
    ):
        response, found = _answer(body, status)
        assert response["body"] == body
        assert "Contents" not in found
