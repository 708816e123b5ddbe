"""Which S3 actions the commands need, and the smallest IAM policy that allows them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url

__all__ = ["NEEDS", "Needs", "policy"]


@dataclass(frozen=True)
class Needs:
    """Actions on objects below the prefix, on those below its ``.bucketboard``, on the bucket, on a key."""

    objects: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    bucket: tuple[str, ...] = ()
    key: tuple[str, ...] = ()

    @property
    def actions(self) -> tuple[str, ...]:
        """Those of S3."""
        return (*self.objects, *self.own, *self.bucket)


_READ, _WRITE, _LIST = "s3:GetObject", "s3:PutObject", "s3:ListBucket"
_DELETE, _ABORT, _UPLOADS = "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads"
_ENCRYPT, _DECRYPT = "kms:GenerateDataKey", "kms:Decrypt"
_GET_TAGS, _PUT_TAGS = "s3:GetObjectTagging", "s3:PutObjectTagging"
_CONFIGURATION = (
    *("s3:GetBucketLocation", "s3:GetBucketVersioning", "s3:GetEncryptionConfiguration"),
    *("s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration", "s3:GetBucketNotification"),
    "s3:GetBucketObjectLockConfiguration",
)
_WRITER = Needs((_WRITE, _READ, _ABORT), (), (_LIST, _UPLOADS), (_ENCRYPT, _DECRYPT))
_READER = Needs((_READ,), (), (_LIST,), (_DECRYPT,))
_LABELLER = Needs((_READ, _WRITE, _GET_TAGS, _PUT_TAGS), (), (_LIST,), (_ENCRYPT, _DECRYPT))
_MOVER = Needs((*_LABELLER.objects, _DELETE), (), (_LIST,), _LABELLER.key)
_CHANGER = Needs((*_MOVER.objects, _ABORT), (), (_LIST,), _LABELLER.key)
_ARCHIVER = Needs((*_LABELLER.objects, "s3:RestoreObject"), (), (_LIST,), _LABELLER.key)

NEEDS: Mapping[str, Needs] = {
    "writer": _WRITER,
    "write-only": Needs((_WRITE,), key=(_ENCRYPT,)),
    "run": _WRITER,
    "sync": _WRITER,
    "sync-delete": Needs((*_WRITER.objects, _DELETE), (), _WRITER.bucket, _WRITER.key),
    "recover": _WRITER,
    "serve": _READER,
    "pull": _READER,
    "ls": _READER,
    "info": Needs((_READ, _GET_TAGS), (), (_LIST,), (_DECRYPT,)),
    "export": _READER,
    "open": _READER,
    "label": _LABELLER,
    **dict.fromkeys(("rm", "prune", "mv", "undelete"), _MOVER),
    **dict.fromkeys(("archive", "thaw"), _ARCHIVER),
    "verify": _READER,
    "verify-repair": _CHANGER,
    "compact": _CHANGER,
    "index": Needs((_READ,), (_WRITE, _DELETE), (_LIST,), (_ENCRYPT, _DECRYPT)),
    "doctor": Needs(
        _WRITER.objects, (_DELETE, "s3:DeleteObjectVersion"), (*_WRITER.bucket, *_CONFIGURATION), _WRITER.key
    ),
}
"""By command; ``writer`` is a SummaryWriter, ``write-only`` one that has to do with segments."""


def policy(url: S3Url, commands: Collection[str], settings: Settings) -> dict[str, Any]:
    """The IAM policy document that lets an identity use the commands below ``url``, and nothing more."""
    needed = [NEEDS[command] for command in commands]
    objects = set(_all(need.objects for need in needed))
    if "s3:PutObject" in objects:
        objects |= {"s3:PutObjectTagging"} if settings.tags else set()
        objects |= {"s3:PutObjectAcl"} if settings.acl else set()
    own = _all(need.own for need in needed) - objects
    bucket = _all(need.bucket for need in needed)
    china = (settings.region or "").startswith("cn-")
    arn = (
        url.bucket if url.bucket.startswith("arn:") else f"arn:aws{'-cn' if china else ''}:s3:::{url.bucket}"
    )
    below = f"{arn}/object/{url.prefix}" if arn is url.bucket else f"{arn}/{url.prefix}"
    statements = [_statement(objects, f"{below}*"), _statement(own, f"{below}.bucketboard/*")]
    listing = bucket & {_LIST, _UPLOADS}
    condition = {"StringLike": {"s3:prefix": [f"{url.prefix}*"]}} if url.prefix else None
    statements.append(_statement(listing, arn, condition))
    statements.append(_statement(bucket - listing, arn))
    if settings.sse_kms_key_id:
        key = settings.sse_kms_key_id
        full = key if key.startswith("arn:") else f"arn:aws:kms:{settings.region or '*'}:*:key/{key}"
        statements.append(_statement(_all(need.key for need in needed), full))
    return {"Version": "2012-10-17", "Statement": [each for each in statements if each]}


def _all(groups: Iterable[Collection[str]]) -> set[str]:
    return {action for group in groups for action in group}


def _statement(actions: Collection[str], resource: str, condition: Any = None) -> dict[str, Any]:
    if not actions:
        return {}
    made = {"Effect": "Allow", "Action": sorted(actions), "Resource": resource}
    return {**made, "Condition": condition} if condition else made
