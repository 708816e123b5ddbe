"""The manifest: which segments there are, in the order in which they were added."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bucketboard.errors import BucketboardError, Reason
from bucketboard.index.objects import Objects

__all__ = ["FORMAT", "MANIFEST", "Manifest", "Piece", "Segment", "Unreadable", "read_manifest"]

MANIFEST = "manifest.json"
FORMAT = 2
"""Of format 1 are segments that say nothing of runs; they are read and added to."""
_NAME = re.compile(r"(?:scalars|runs)/[\w-]{1,200}\.parquet")
"""Of a piece: what a manifest names is read, so that it may name nothing else."""


class Unreadable(Exception):
    """There is a manifest, and it is not one that we can use. Only a ``newer`` one is not ours to replace."""

    def __init__(self, message: str, etag: str, *, newer: bool = False) -> None:
        super().__init__(message)
        self.etag = etag
        self.newer = newer


@dataclass(frozen=True, slots=True)
class Piece:
    """One Parquet file of a segment: its length, that of its footer, and of what comes first in it."""

    name: str
    bytes: int
    footer: int
    rows: int
    head: int = 0
    """Bytes up to the end of the row groups about files and tags (0: there are none)."""
    tags: tuple[str, str] = ("", "")
    """The least and the greatest tag."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What was added at once."""

    runs: Piece
    scalars: Piece | None

    @property
    def bytes(self) -> int:
        """Of both files."""
        return self.runs.bytes + (self.scalars.bytes if self.scalars else 0)


@dataclass(frozen=True, slots=True)
class Manifest:
    """``etag`` is that of the object it was read from; None: there was none."""

    segments: tuple[Segment, ...] = ()
    etag: str | None = None
    retired: tuple[tuple[str, float], ...] = ()
    """Objects that are named no more, and since when, in seconds since the epoch."""
    names: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        pieces = [piece for s in self.segments for piece in (s.runs, s.scalars) if piece]
        object.__setattr__(self, "names", frozenset(piece.name for piece in pieces))

    def encode(self) -> bytes:
        """As it is stored."""
        segments = [asdict(segment) for segment in self.segments]
        found = {"format": FORMAT, "segments": segments, "retired": dict(self.retired)}
        return json.dumps(found, separators=(",", ":")).encode()

    def with_segments(self, segments: Sequence[Segment], now: datetime.datetime | None = None) -> Manifest:
        """Another list of segments; what it leaves out is retired at ``now``."""
        later = Manifest(tuple(segments), self.etag)
        since = now.timestamp() if now else 0.0
        gone = [(name, since) for name in sorted(self.names - later.names)]
        return replace(later, retired=(*self.retired, *gone))

    def with_etag(self, etag: str) -> Manifest:
        """As it was stored."""
        return replace(self, etag=etag)

    def without_retired(self, names: Collection[str]) -> Manifest:
        """Without those that are removed."""
        return replace(self, retired=tuple(pair for pair in self.retired if pair[0] not in names))


def _piece(found: Mapping[str, Any]) -> Piece:
    numbers = {name: int(found[name]) for name in ("bytes", "footer", "rows", "head")}
    if not 0 <= numbers["head"] <= numbers["bytes"] or not 8 <= numbers["footer"] <= numbers["bytes"]:
        raise ValueError("lengths of a Parquet file")
    least, greatest = found["tags"]
    return Piece(_name(found["name"]), tags=(str(least), str(greatest)), **numbers)


def _name(found: Any) -> str:
    if not isinstance(found, str) or not _NAME.fullmatch(found):
        raise ValueError(f"{found!r} is no name of a Parquet file of an index")
    return found


def read_manifest(objects: Objects, name: str = MANIFEST) -> Manifest:
    """The manifest, or a receipt, which says the same of a part; an empty one if there is none.

    Raises:
        Unreadable: it is of a newer version, or it is no manifest.
        BucketboardError: it can't be read now.
    """
    try:
        body, etag = objects.get(name)
    except BucketboardError as error:
        if error.reason is Reason.NOT_FOUND:
            return Manifest()
        raise
    try:
        found = json.loads(body)
        version = int(found["format"])
        if version > FORMAT:
            message = f"the index is of version {version}, which this bucketboard does not know"
            raise Unreadable(message, etag, newer=True)
        segments = [
            Segment(_piece(entry["runs"]), _piece(entry["scalars"]) if entry["scalars"] else None)
            for entry in found["segments"]
        ]
        retired = tuple((_name(name), float(since)) for name, since in found["retired"].items())
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Unreadable(f"the index's manifest is not one: {error!r}", etag) from error
    return Manifest(tuple(segments), etag, retired)
