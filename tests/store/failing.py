"""What every error of the store must be like, whichever operation failed and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bucketboard.errors import BucketboardError, Reason
from bucketboard.store.bucket import Bucket, Content, Part
from bucketboard.store.fast import FastBucket

Store = type[Bucket] | type[FastBucket]
kinds = pytest.mark.parametrize("kind", [Bucket, FastBucket])
PLAIN = Content("application/octet-stream", {})
KEY = "exp/run 1/key"
SECRETS = ("bucketboard-secret", "very-secret", "session-token-secret")

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "PutObject": lambda store: store.put(KEY, b"body", PLAIN),
    "HeadObject": lambda store: store.head(KEY),
    "GetObject": lambda store: store.get(KEY),
    "ListObjectsV2": lambda store: store.list(KEY),
    "DeleteObject": lambda store: store.delete(KEY),
    "CreateMultipartUpload": lambda store: store.create_upload(KEY, PLAIN),
    "UploadPart": lambda store: store.upload_part(KEY, "u", 1, b"body", 0),
    "UploadPartCopy": lambda store: store.copy_part(KEY, "u", 1, 0, 5, '"e"'),
    "CompleteMultipartUpload": lambda store: store.complete_upload(
        KEY, "u", [Part(1, '"e"')], size=1, crc=0, if_match=None
    ),
    "AbortMultipartUpload": lambda store: store.abort_upload(KEY, "u"),
    "ListMultipartUploads": lambda store: list(store.uploads(KEY)),
    "GetBucketVersioning": lambda store: store.versioning(),
}


FAST = ("PutObject", "HeadObject", "GetObject", "ListObjectsV2", "DeleteObject")
"""What `FastBucket` can do."""


def operations(*names: str) -> pytest.MarkDecorator:
    """Each of the operations with each kind of bucket that has it."""
    pairs = [(name, kind) for name in names or OPERATIONS for kind in (Bucket, FastBucket)]
    return pytest.mark.parametrize(
        ("operation", "kind"), [(name, kind) for name, kind in pairs if kind is Bucket or name in FAST]
    )


def failure(store: Bucket | FastBucket, operation: str = "PutObject") -> BucketboardError:
    """The error of ``operation``: of ours, naming what failed on what, without a secret, with its cause."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - that nothing else escapes is checked here
        OPERATIONS[operation](store)
    error = caught.value
    assert isinstance(error, BucketboardError), repr(error)
    target = f"s3://{store.name}" if operation == "GetBucketVersioning" else f"s3://{store.name}/{KEY}"
    assert error.message.startswith(f"{operation} {target}: ")
    assert isinstance(error.reason, Reason)
    chain: BaseException | None = error
    while chain is not None:
        for secret in SECRETS:
            assert secret not in str(chain) + repr(chain) + repr(vars(chain))
        chain = chain.__cause__
    assert error.__cause__ is not None
    return error
