from __future__ import annotations

import pytest

from bucketboard.testing import classify

COPY = {"x-amz-copy-source": "/b/other"}


@pytest.mark.parametrize(
    ("method", "target", "headers", "operation"),
    [
        ("GET", "/", {}, "ListBuckets"),
        ("PUT", "/b", {}, "CreateBucket"),
        ("HEAD", "/b", {}, "HeadBucket"),
        ("DELETE", "/b/", {}, "DeleteBucket"),
        ("GET", "/b?list-type=2&prefix=x%2Fy", {}, "ListObjectsV2"),
        ("GET", "/b/?prefix=", {}, "ListObjects"),
        ("GET", "/b?versions", {}, "ListObjectVersions"),
        ("GET", "/b?uploads", {}, "ListMultipartUploads"),
        ("GET", "/b?versioning", {}, "GetBucketVersioning"),
        ("PUT", "/b?versioning", {}, "PutBucketVersioning"),
        ("GET", "/b?location", {}, "GetBucketLocation"),
        ("GET", "/b?object-lock", {}, "GetObjectLockConfiguration"),
        ("POST", "/b?delete", {}, "DeleteObjects"),
        ("GET", "/b/k", {}, "GetObject"),
        ("HEAD", "/b/k", {}, "HeadObject"),
        ("PUT", "/b/k", {}, "PutObject"),
        ("PUT", "/b/k", COPY, "CopyObject"),
        ("DELETE", "/b/k?versionId=7", {}, "DeleteObject"),
        ("GET", "/b/k?tagging", {}, "GetObjectTagging"),
        ("PUT", "/b/k?tagging=", {}, "PutObjectTagging"),
        ("POST", "/b/k?uploads", {}, "CreateMultipartUpload"),
        ("PUT", "/b/k?uploadId=u&partNumber=1", {}, "UploadPart"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", COPY, "UploadPartCopy"),
        ("POST", "/b/k?uploadId=u", {}, "CompleteMultipartUpload"),
        ("DELETE", "/b/k?uploadId=u", {}, "AbortMultipartUpload"),
        ("GET", "/b/k?uploadId=u", {}, "ListParts"),
        ("PATCH", "/b/k", {}, "Unknown"),
        ("POST", "/b", {}, "Unknown"),
        ("PATCH", "/b?acl", {}, "Unknown"),
    ],
)
def test_operation(method: str, target: str, headers: dict[str, str], operation: str) -> None:
    assert classify(method, target, headers).operation == operation


def test_bucket_key_and_query_are_decoded() -> None:
    request = classify("PUT", "/b/a%20dir/%C3%BC+%3F?uploadId=x%2Fy&partNumber=3", {})
    assert (request.bucket, request.key) == ("b", "a dir/ü+?")
    assert request.query == {"uploadId": "x/y", "partNumber": "3"}
