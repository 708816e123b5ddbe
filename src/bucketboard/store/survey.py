"""What a bucket's own configuration says: asked for, never changed. What can't be asked is not known."""

from __future__ import annotations

import datetime
import email.utils
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bucketboard.errors import BucketboardError, Reason
from bucketboard.store.bucket import Bucket
from bucketboard.store.check import Check, attempt

__all__ = ["bucket_checks", "configuration_checks"]

_SKEW = 300.0
"""Seconds by which clocks may differ before we warn; AWS refuses requests from 15 minutes on."""
_NONE = {
    *("NoSuchLifecycleConfiguration", "ReplicationConfigurationNotFoundError", "NoSuchConfiguration"),
    *("ObjectLockConfigurationNotFoundError", "ServerSideEncryptionConfigurationNotFoundError"),
}
_ABORT_DAYS, _VERSION_DAYS = 2, 7


def bucket_checks(bucket: Bucket) -> Iterator[Check]:
    """Whether the bucket is there, in which region, and whether its clock is ours: by one HEAD."""
    before = time.time()
    try:
        answer: Mapping[str, Any] = bucket.ask("HeadBucket")
        found = Check("bucket", True, "it is there")
    except BucketboardError as error:
        answer = getattr(error.__cause__, "response", None) or {}
        missing = error.reason in (Reason.NO_SUCH_BUCKET, Reason.NOT_FOUND)
        if missing or not answer:
            found = Check("bucket", False, f"s3://{bucket.name} does not exist" if missing else str(error))
        else:
            found = Check("bucket", None, "a HEAD of the bucket is refused (it needs s3:ListBucket)")
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    yield found
    if found.ok is False:
        return
    yield _region(bucket, headers.get("x-amz-bucket-region"))
    yield _clock(headers.get("date"), (before + time.time()) / 2)


def _region(bucket: Bucket, named: str | None) -> Check:
    signed = bucket.region
    if named is None:
        try:
            answer = bucket.ask("GetBucketLocation")
            named = {None: "us-east-1", "": "us-east-1", "EU": "eu-west-1"}.get(
                answer.get("LocationConstraint"), answer.get("LocationConstraint")
            )
        except BucketboardError:
            return Check("region", None, f"the server names none; requests are signed for {signed}")
    known = {"bucket": named, "requests": signed}
    if named == signed or (not bucket.on_aws and signed in ("us-east-1", "auto")):
        return Check("region", True, f"{named}", known)
    detail = f"the bucket is in {named}, requests are made to {signed}: set --region {named} or AWS_REGION"
    return Check("region", False, detail, known)


def _clock(date: str | None, now: float) -> Check:
    try:
        theirs = email.utils.parsedate_to_datetime(date or "")
    except ValueError:
        return Check("clock", None, "the server tells no time")
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=datetime.timezone.utc)
    skew = round(now - theirs.timestamp())
    detail = (
        f"{abs(skew)} s {'ahead of' if skew > 0 else 'behind'} the server's" if skew else "as the server's"
    )
    if abs(skew) > _SKEW:
        detail += ": set this machine's clock (NTP); S3 refuses requests that are 15 minutes off"
    return Check("clock", abs(skew) <= _SKEW, detail, {"seconds": skew})


def configuration_checks(bucket: Bucket, prefix: str, versioned: bool | None) -> Iterator[Check]:
    """Encryption, replication, notifications, Object Lock, and the lifecycle with what it lacks."""
    questions: Sequence[tuple[str, Callable[[], Check | str]]] = (
        ("encryption", lambda: _encryption(bucket)),
        ("replication", lambda: _replication(bucket)),
        ("notifications", lambda: _notifications(bucket)),
        ("object lock", lambda: _object_lock(bucket)),
        ("lifecycle", lambda: _lifecycle(bucket, prefix, versioned)),
    )
    for name, question in questions:
        check = attempt(name, question, optional=True)
        # A server that answers such a question in a way of its own is not in anybody's way.
        yield Check(name, None, check.detail) if check.ok is False and not check.data else check


def _ask(bucket: Bucket, operation: str) -> Mapping[str, Any]:
    """The answer, empty where nothing is configured."""
    try:
        return bucket.ask(operation)
    except BucketboardError as error:
        answer = getattr(error.__cause__, "response", None) or {}
        if answer.get("Error", {}).get("Code") in _NONE:
            return {}
        raise


def _encryption(bucket: Bucket) -> Check:
    rules = _ask(bucket, "GetBucketEncryption").get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    default: Mapping[str, Any] = next(
        (rule["ApplyServerSideEncryptionByDefault"] for rule in rules if rule), {}
    )
    algorithm = str(default.get("SSEAlgorithm", "none by default"))
    detail = algorithm
    if "kms" in algorithm:
        detail = f"{algorithm}: who writes needs kms:GenerateDataKey and kms:Decrypt, who reads kms:Decrypt"
        if not any(rule.get("BucketKeyEnabled") for rule in rules):
            detail += "; without a bucket key each request is also billed by KMS: enable it"
    return Check("encryption", True, detail, {"algorithm": algorithm})


def _replication(bucket: Bucket) -> Check:
    rules = _ask(bucket, "GetBucketReplication").get("ReplicationConfiguration", {}).get("Rules", [])
    active = [rule for rule in rules if rule.get("Status") == "Enabled"]
    detail = f"{len(active)} rules: each object that is replaced travels again" if active else "none"
    return Check("replication", True, detail, {"rules": len(active)})


def _notifications(bucket: Bucket) -> Check:
    answer = _ask(bucket, "GetBucketNotificationConfiguration")
    names = ("Topic", "Queue", "LambdaFunction")
    count = sum(len(answer.get(f"{name}Configurations", ())) for name in names)
    count += "EventBridgeConfiguration" in answer
    detail = f"{count}: each upload of a live run may cause an event" if count else "none"
    return Check("notifications", True, detail, {"configurations": count})


def _object_lock(bucket: Bucket) -> Check:
    known = _ask(bucket, "GetObjectLockConfiguration").get("ObjectLockConfiguration", {})
    if known.get("ObjectLockEnabled") != "Enabled":
        return Check("object lock", True, "off", {"enabled": False})
    kept = known.get("Rule", {}).get("DefaultRetention", {})
    days = kept.get("Days") or 365 * kept.get("Years", 0)
    retained = f", every version for {days} days" if days else ""
    detail = f"on{retained}: nothing can be removed before its time, the index neither"
    return Check("object lock", True, detail, {"enabled": True})


def _lifecycle(bucket: Bucket, prefix: str, versioned: bool | None) -> Check:
    rules = [
        rule
        for rule in _ask(bucket, "GetBucketLifecycleConfiguration").get("Rules", [])
        if rule.get("Status") == "Enabled" and _covers(rule, prefix)
    ]
    missing: dict[str, Any] = {}
    if not any("AbortIncompleteMultipartUpload" in rule for rule in rules):
        missing["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": _ABORT_DAYS}
    if versioned and not any("NoncurrentVersionExpiration" in rule for rule in rules):
        missing["NoncurrentVersionExpiration"] = {"NoncurrentDays": _VERSION_DAYS}
    expiring = [rule["Expiration"]["Days"] for rule in rules if rule.get("Expiration", {}).get("Days")]
    notes = [f"objects expire after {min(expiring)} days"] if expiring else []
    if not missing:
        return Check("lifecycle", True, "; ".join(["nothing is missing", *notes]), {"missing": []})
    rule = {"ID": "bucketboard", "Status": "Enabled", "Filter": {"Prefix": prefix}, **missing}
    why = {
        "AbortIncompleteMultipartUpload": "uploads that a killed process leaves are billed",
        "NoncurrentVersionExpiration": "replaced and removed versions are billed",
    }
    detail = f"no {' and no '.join(missing)} ({', '.join(why[name] for name in missing)}): add a rule"
    return Check("lifecycle", False, "; ".join([detail, *notes]), {"missing": sorted(missing), "rule": rule})


def _covers(rule: Mapping[str, Any], prefix: str) -> bool:
    """Whether a lifecycle rule is about everything below ``prefix``."""
    known = rule.get("Filter", rule)
    if "And" in known or "Tag" in known or "ObjectSizeGreaterThan" in known or "ObjectSizeLessThan" in known:
        return False
    return prefix.startswith(known.get("Prefix", ""))
