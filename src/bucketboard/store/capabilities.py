"""What a server can do, as far as it is known: learned by writing, or asked for by :func:`probe`."""

from __future__ import annotations

from dataclasses import dataclass

from bucketboard.store.bucket import Bucket

__all__ = ["FALSE_ETAG", "Capabilities", "capabilities_of"]

FALSE_ETAG = '"00000000000000000000000000000000"'
"""An ETag that no object has: a server that accepts it as a condition ignores conditions."""


@dataclass
class Capabilities:
    """None: not known yet. Shared by all writers of a process to the same bucket."""

    put_conditions: bool | None = None
    complete_conditions: bool | None = None
    part_copy: bool | None = None
    versioned: bool | None = None


_known: dict[tuple[str, str], Capabilities] = {}


def capabilities_of(bucket: Bucket) -> Capabilities:
    """What this process knows of the server behind ``bucket``; AWS itself enforces conditions."""
    address = (bucket.endpoint, bucket.name)
    known = _known.get(address)
    if known is None:
        known = _known.setdefault(address, Capabilities(True, True) if bucket.on_aws else Capabilities())
    return known
