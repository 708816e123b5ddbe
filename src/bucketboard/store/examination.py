"""All that can be found out of a bucket: from the network to its lifecycle rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bucketboard.store.bucket import Bucket
from bucketboard.store.check import Check, attempt
from bucketboard.store.permissions import NEEDS
from bucketboard.store.probe import probe
from bucketboard.store.reach import reach
from bucketboard.store.survey import bucket_checks, configuration_checks

__all__ = ["examine"]

_SHOWN_BY = {
    "s3:ListBucket": "list",
    "s3:PutObject": "write",
    "s3:GetObject": "read",
    "s3:DeleteObject": "delete",
    "s3:AbortMultipartUpload": "cleanup",
    "s3:ListBucketMultipartUploads": "cleanup",
}
_SHOWN = ("writer", "write-only", "serve", "pull", "index", "sync-delete")


def examine(bucket: Bucket, prefix: str) -> Iterator[Check]:
    """Check after check, as each is made. Ends at an endpoint, identity or bucket that is not there.

    ``prefix`` has a slash behind or is empty. What :func:`probe` wrote is removed also if nobody asks on.
    """
    found: dict[str, Check] = {}
    for check in _checks(bucket, prefix, found):
        found[check.name] = check
        yield check


def _checks(bucket: Bucket, prefix: str, found: Mapping[str, Check]) -> Iterator[Check]:
    settings = bucket.settings
    endpoint = attempt("endpoint", lambda: bucket.service_url)
    yield reach(bucket.service_url, settings.ca_bundle, settings.timeout) if endpoint.ok else endpoint
    if not found["endpoint"].ok:
        return
    yield attempt("identity", lambda: _identity(bucket))
    if not found["identity"].ok:
        return
    yield from bucket_checks(bucket)
    if found["bucket"].ok is False:
        return
    yield attempt("list", lambda: _listed(bucket, prefix))
    yield from probe(bucket, prefix)
    if "versioning" not in found:
        yield attempt("versioning", lambda: _versioning(bucket), optional=True)
    versioned = {True: False, False: True, None: None}[found["versioning"].ok]
    yield from configuration_checks(bucket, prefix, versioned)
    yield _commands(found)


def _identity(bucket: Bucket) -> Check:
    if bucket.settings.unsigned:
        return Check("identity", True, "requests are not signed")
    source = bucket.credentials
    if source is None:
        detail = "no AWS credentials are found\n  hint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        return Check("identity", False, f"{detail}AWS_PROFILE, or give the machine a role")
    return Check("identity", True, f"credentials come from {source}")


def _listed(bucket: Bucket, prefix: str) -> Check:
    count, more = bucket.has_any(prefix)
    detail = f"{count}{' or more' if more else ''} objects below the prefix"
    return Check("list", True, detail, {"objects": count, "more": more})


def _versioning(bucket: Bucket) -> Check:
    status = bucket.versioning()
    if status == "Enabled":
        return Check("versioning", False, "on: every replaced version is kept, so events go to segments")
    return Check("versioning", True, "off: replaced versions cost nothing")


def _commands(found: Mapping[str, Check]) -> Check:
    """Which commands this identity may use, as far as their actions were tried."""
    allowed = {name: _allowed(NEEDS[name].actions, found) for name in _SHOWN}
    words = {True: "yes", False: "no", None: "unknown"}
    detail = ", ".join(f"{name} {words[answer]}" for name, answer in allowed.items())
    return Check("commands", any(allowed.values()), detail, allowed)


def _allowed(actions: tuple[str, ...], found: Mapping[str, Check]) -> bool | None:
    answers = [found[_SHOWN_BY[a]].ok if _SHOWN_BY[a] in found else None for a in actions]
    return False if False in answers else None if None in answers else True
