"""Moves of many objects as readers see them: each moved object is there once, before or after.

S3 moves one object at a time. Whoever moves several first writes a journal below ``.bucketboard-journal``
beside them, in which a phase says which half counts: until all is copied the sources do, from then on the
targets. A listing that holds a journal's key is read by it; one that holds none costs nothing. Layout:
docs/FORMAT.md.
"""

from __future__ import annotations

import enum
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from bucketboard.errors import BucketboardError, CorruptDataError, Reason
from bucketboard.store.bucket import Bucket, ObjectInfo

__all__ = ["JOURNALS", "Journal", "Moved", "Phase", "is_journal", "list_settled", "read_journal"]

_log = logging.getLogger(__name__)

JOURNALS = ".bucketboard-journal/"
FORMAT = 1
_TRIES = 3


class Phase(enum.Enum):
    """How far a move is."""

    COPYING = "copying"
    """The sources count."""
    REMOVING = "removing"
    """The targets count: everything is there."""
    UNDOING = "undoing"
    """The sources count: one of them changed, and the targets are being removed."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One object of a move. ``target`` is None where it is only removed, ``source`` where it is made anew."""

    source: str | None
    target: str | None
    etag: str = ""
    """Of the source when the move was planned."""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Journal:
    """What is being moved, and how far that is. ``key`` is the journal's own."""

    key: str
    command: str
    phase: Phase
    objects: tuple[Moved, ...]
    trash: str = ""
    """The key of the manifest of what goes to the trash, "" where nothing does."""
    etag: str = ""
    """Of the journal as it was read or written."""

    @property
    def hidden(self) -> frozenset[str]:
        """The keys that do not count."""
        ends = "source" if self.phase is Phase.REMOVING else "target"
        return frozenset(key for moved in self.objects if (key := getattr(moved, ends)))

    @property
    def needed(self) -> frozenset[str]:
        """The keys that must be there for what counts to be whole."""
        if self.phase is not Phase.REMOVING:
            return frozenset()
        return frozenset(moved.target for moved in self.objects if moved.target)

    def encode(self) -> bytes:
        """As it is stored."""
        found: dict[str, Any] = {"format": FORMAT, "command": self.command, "phase": self.phase.value}
        if self.trash:
            found["trash"] = self.trash
        found["objects"] = [asdict(moved) for moved in self.objects]
        return json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()


def read_journal(bucket: Bucket, key: str) -> Journal:
    """The journal at ``key``.

    Raises:
        CorruptDataError: it is none, or one of a newer version.
        BucketboardError: it can't be read now; Reason.NOT_FOUND: it is gone.
    """
    body, info = bucket.get(key)
    try:
        found = json.loads(body)
        if int(found["format"]) > FORMAT:
            raise CorruptDataError(
                f"s3://{bucket.name}/{key} is of a newer version",
                hint="use the newer bucketboard here as well",
            )
        objects = tuple(
            Moved(entry["source"], entry["target"], str(entry["etag"]), int(entry["size"]))
            for entry in found["objects"]
        )
        phase = Phase(found["phase"])
        return Journal(key, str(found["command"]), phase, objects, str(found.get("trash", "")), info.etag)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(f"s3://{bucket.name}/{key} is no journal: {error!r}") from error


def is_journal(key: str) -> bool:
    """Whether ``key`` is that of a journal."""
    return f"/{JOURNALS}" in f"/{key}" and key.endswith(".json")


def list_settled(bucket: Bucket, prefix: str) -> list[ObjectInfo]:
    """All objects below ``prefix`` that count: one LIST for each thousand, and a GET for each move under way.

    Raises:
        BucketboardError: it can't be listed now.
    """
    objects: list[ObjectInfo] = []
    for _ in range(_TRIES):
        objects = bucket.list(prefix).objects
        settled = _settled(bucket, objects, prefix)
        if settled is not None:
            return settled
    return objects


def _settled(bucket: Bucket, objects: Iterable[ObjectInfo], prefix: str) -> list[ObjectInfo] | None:
    """Those that count; None: a move went on meanwhile, and the listing has to be made anew."""
    found = list(objects)
    hidden: set[str] = set()
    for key in [info.key for info in found if is_journal(info.key)]:
        try:
            journal = read_journal(bucket, key)
        except CorruptDataError as error:
            _log.warning("what is being moved may be shown twice: %s", error)
            continue
        except BucketboardError as error:
            if error.reason is Reason.NOT_FOUND:
                return None  # it ended since
            raise
        there = {info.key for info in found}
        if any(key.startswith(prefix) and key not in there for key in journal.needed):
            return None  # the listing is from before its turn
        hidden |= journal.hidden
    return [info for info in found if info.key not in hidden] if hidden else found
