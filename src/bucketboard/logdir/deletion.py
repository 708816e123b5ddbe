"""Objects whose files are gone."""

from __future__ import annotations

from collections.abc import Sequence

from bucketboard.errors import BucketboardError, InvalidError
from bucketboard.logdir.account import Account
from bucketboard.store.bucket import Bucket
from bucketboard.store.url import S3Url

__all__ = ["delete"]


def delete(bucket: Bucket, url: S3Url, paths: Sequence[str], account: Account, *, dry_run: bool) -> None:
    """Delete what is at ``paths`` below ``url``, a thousand objects a request; what becomes of it is told."""
    if not paths:
        return
    refused: dict[str, str] = {}
    if not dry_run:
        try:
            refused = dict(bucket.delete_many([f"{url.prefix}{path}" for path in paths]))
        except BucketboardError as error:
            account.failed("", error)
            return
    for path in paths:
        if why := refused.get(f"{url.prefix}{path}"):
            account.failed(path, InvalidError(f"DeleteObjects: {why}"))
        else:
            account.deleted(path)
