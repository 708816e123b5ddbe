"""What the bucket has below a prefix when a replication begins."""

from __future__ import annotations

from dataclasses import dataclass, field

from bucketboard.errors import BucketboardError, Reason
from bucketboard.logdir.follower import CANT_LIST_UPLOADS
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.url import S3Url

__all__ = ["Survey", "survey"]


@dataclass(frozen=True)
class Survey:
    """``objects`` by path; ``strays``: paths with uploads under way; ``blind``: nothing may be listed."""

    objects: dict[str, ObjectInfo] = field(default_factory=dict)
    strays: frozenset[str] = frozenset()
    blind: bool = False


def survey(bucket: Bucket, url: S3Url, *, uploads: bool) -> Survey:
    """One LIST for each thousand objects, and with ``uploads`` one for the multipart uploads.

    Raises:
        BucketboardError: it did not work; a denied LIST is no error.
    """
    start = len(url.prefix)
    try:
        objects = {info.key[start:]: info for info in bucket.list(url.prefix).objects}
    except BucketboardError as error:
        if error.reason is Reason.DENIED:
            return Survey(blind=True)
        raise
    try:
        strays = [key[start:] for key, _, _ in bucket.uploads_below(url.prefix)] if uploads else []
    except BucketboardError as error:
        if error.reason not in CANT_LIST_UPLOADS:
            raise
        strays = []
    return Survey(objects, frozenset(strays))
