"""Changes under way: what several requests do to a prefix, written down in the bucket before the first.

Readers that meet a journal in their listing see the runs as they were before its one turning point, or as
they are after it. The format: docs/FORMAT.md.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bucketboard.errors import BucketboardError, CorruptDataError, InvalidError, Reason
from bucketboard.store.bucket import Bucket, Content, ObjectInfo
from bucketboard.store.url import S3Url

__all__ = [
    "JOURNAL",
    "Journal",
    "Move",
    "is_journal",
    "journal_key",
    "journals",
    "list_visible",
    "new_id",
    "visible",
]

JOURNAL = ".bucketboard-journal"
_FORMAT = 1
_LISTINGS = 5
"""How often a reader lists again because a change ended between its listing and its look at the journal."""


@dataclass(frozen=True, slots=True)
class Move:
    """An object that goes away: to another key, or for good where ``target`` is empty.

    ``run`` is the name of its run below the URL of the change, "" if it is in none.
    """

    run: str
    source: str
    etag: str
    size: int
    target: str = ""


@dataclass(frozen=True, slots=True)
class Journal:
    """A change, as its object says it. Keys are whole.

    Until it turns, ``moves``' sources are there and their targets, and ``made``, are not; then the other way
    round. What is in ``dropped`` never is, and is deleted at the end.
    """

    id: str
    command: str
    url: str
    """What the command was given."""
    key: str
    """Of the object that holds it."""
    turned: bool = False
    whole: bool = False
    """Whether all objects of its runs are moved, so that a new one is a change of its run."""
    moves: tuple[Move, ...] = ()
    made: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    pointers: tuple[str, ...] = ()
    """Keys of objects below other prefixes that say where this journal is."""
    etag: str = field(default="", compare=False)

    @property
    def hidden(self) -> frozenset[str]:
        """The keys that no reader shows."""
        moving = (move.source if self.turned else move.target for move in self.moves)
        return frozenset((*moving, *self.dropped, *(() if self.turned else self.made)))

    @property
    def needed(self) -> frozenset[str]:
        """The keys without which a listing is from before the turn; what goes to the trash nobody shows."""
        if not self.turned:
            return frozenset()
        targets = (
            move.target for move in self.moves if move.target and "/.bucketboard" not in f"/{move.target}"
        )
        return frozenset((*targets, *self.made))

    @classmethod
    def read(cls, bucket: Bucket, key: str) -> Journal | None:
        """The journal at ``key``, or the one that ``key`` points to; None if it is no more.

        Raises:
            CorruptDataError: it can't be read.
            InvalidError: a newer version wrote it.
        """
        try:
            body, info = bucket.get(key)
        except BucketboardError as error:
            if error.reason is Reason.NOT_FOUND:
                return None
            raise
        try:
            stated: dict[str, Any] = json.loads(body)
            if stated["format"] != _FORMAT:
                raise InvalidError(
                    f"s3://{bucket.name}/{key} has format {stated['format']}", hint="update bucketboard"
                )
            if "see" in stated:
                return cls.read(bucket, stated["see"])
            return cls(
                stated["id"],
                stated["command"],
                stated["url"],
                key,
                stated["phase"] == "turned",
                bool(stated["whole"]),
                tuple(Move(*move) for move in stated["moves"]),
                made=tuple(stated["made"]),
                dropped=tuple(stated["dropped"]),
                pointers=tuple(stated["pointers"]),
                etag=info.etag,
            )
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, InvalidError):
                raise
            raise CorruptDataError(
                f"s3://{bucket.name}/{key} is no journal of a change",
                hint="if no bucketboard command is under way there, delete it",
            ) from error

    def begin(self, bucket: Bucket) -> Journal:
        """Write it for the first time, and what points to it."""
        written = self._put(bucket, if_none_match=True)
        written.point(bucket)
        return written

    def point(self, bucket: Bucket) -> None:
        """Write what points to it; again does no harm."""
        see = json.dumps({"format": _FORMAT, "see": self.key}).encode()
        for pointer in self.pointers:
            bucket.put(pointer, see, _JSON)

    def rewrite(self, bucket: Bucket, **changes: Any) -> Journal:
        """Replace it, if it is still as it was read or written.

        Raises:
            UnavailableError: another process replaced it (`Reason.PRECONDITION`) or ended it (NOT_FOUND).
        """
        return replace(self, **changes)._put(bucket, if_match=self.etag)

    def end(self, bucket: Bucket) -> None:
        """Remove it: all is done."""
        for key in (*self.pointers, self.key):  # the pointers first: who meets the journal finds them all
            bucket.delete(key)

    def _put(self, bucket: Bucket, **conditions: Any) -> Journal:
        said = asdict(self)
        stated = {
            "format": _FORMAT,
            **{name: said[name] for name in ("id", "command", "url", "whole", "made", "dropped", "pointers")},
            "phase": "turned" if self.turned else "copying",
            "moves": [[move.run, move.source, move.etag, move.size, move.target] for move in self.moves],
        }
        body = json.dumps(stated, separators=(",", ":")).encode()
        return replace(self, etag=bucket.put(self.key, body, _JSON, **conditions).etag)


_JSON = Content("application/json", {})


def journal_key(place: S3Url, change: str) -> str:
    """Where the journal of the change with this id is that belongs to a place."""
    return f"{place.prefix}{JOURNAL}/{change}.json"


def new_id() -> str:
    """An id that sorts by time and says it."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"


def is_journal(key: str) -> bool:
    """Whether the object at ``key`` is a journal or points to one."""
    parts = key.split("/")
    return len(parts) > 1 and parts[-2] == JOURNAL and parts[-1].endswith(".json")


def journals(bucket: Bucket, objects: Iterable[ObjectInfo]) -> Iterator[tuple[str, Journal | None]]:
    """The key of each journal among ``objects`` and what it says: None if it is no more; each once."""
    seen = set()
    for info in objects:
        if is_journal(info.key):
            journal = Journal.read(bucket, info.key)
            if journal is None or journal.key not in seen:
                yield info.key, journal
            if journal is not None:
                seen.add(journal.key)


def list_visible(bucket: Bucket, url: S3Url) -> list[ObjectInfo]:
    """All objects below ``url`` but those that a change under way hides; one GET for each change.

    Raises:
        UnavailableError: the bucket can't be listed, or a journal not be read.
    """
    gone: set[str] = set()
    for _ in range(_LISTINGS):
        objects = bucket.list(url.prefix).objects
        found = list(journals(bucket, objects))
        before, gone = gone, {key for key, journal in found if journal is None}
        there = [journal for _, journal in found if journal is not None]
        present = {info.key for info in objects}
        turned_since = any(
            key.startswith(url.prefix) and key not in present for journal in there for key in journal.needed
        )
        if gone <= before and not turned_since:  # what was gone before this listing did not end after it
            break
    return visible(objects, there)


def visible(objects: Iterable[ObjectInfo], found: Iterable[Journal]) -> list[ObjectInfo]:
    """Those of ``objects`` that none of the journals hides."""
    hidden = frozenset().union(*(journal.hidden for journal in found))
    return [info for info in objects if info.key not in hidden]
