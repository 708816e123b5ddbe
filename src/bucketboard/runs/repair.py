"""``verify --repair``: what is whole of a damaged file takes its place, the original goes to the trash."""

from __future__ import annotations

import mmap
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import IO, Any

from bucketboard.errors import BucketboardError, InvalidError
from bucketboard.events.salvage import Kept, Lost, salvage
from bucketboard.journal import new_id
from bucketboard.replication.log import State
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.runs.choice import parent
from bucketboard.runs.rewriting import NewFile
from bucketboard.runs.trash import Trash
from bucketboard.runs.verify import Finding
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.copy import copy
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url

__all__ = ["Repaired", "repair"]

_MENDED = {"record", "framing", "torn", "metadata"}
_LIVE = 15 * 60.0
"""Seconds since its last write in which a file that is not finished counts as being written."""
_AT_ONCE = 16 << 20


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of a damaged event file.

    ``kept`` whole records are in the file that has taken its place, at the same ``key``; ``lost`` are the
    places (first byte, last byte + 1) of the original that held no whole record. ``original`` is the key at
    which the original is kept, "" where it is not. ``error`` says why the object was left as it is, else "".
    """

    key: str
    kept: int = 0
    lost: tuple[tuple[int, int], ...] = ()
    original: str = ""
    error: str = ""

    @property
    def lost_bytes(self) -> int:
        """The bytes of all places that are lost."""
        return sum(stop - start for start, stop in self.lost)


def repair(
    url: str,
    findings: Iterable[Finding],
    *,
    discard: bool = False,
    force: bool = False,
    dry_run: bool = False,
    **settings: Any,
) -> list[Repaired]:
    """Mend the event files below ``url`` that have findings of records or metadata.

    The new file takes the place of the original in one request, so that readers see one or the other, and
    has a log id of its own. It is read back.

    Args:
        url: what was verified.
        findings: what `verify` found.
        discard: do not keep the originals; else they go to the trash of ``url``, or a run's to its parent's.
        force: mend files too that are being written; their writers stop.
        dry_run: only say what would be kept and lost.
        settings: fields of `Settings`.

    Raises:
        InvalidError: a setting is wrong.
    """
    place = S3Url.parse(url)
    resolved = Settings.resolve(**settings)
    keys = list(dict.fromkeys(finding.key for finding in findings if finding.kind in _MENDED))
    of_run = any("/" not in key[len(place.prefix) :] for key in keys)
    trash = None if discard else Trash(parent(place) if of_run else place)
    change = new_id()
    results = []
    for key in keys:
        try:
            results.append(_repair(place.bucket, resolved, key, trash, change, force, dry_run))
        except BucketboardError as error:
            results.append(Repaired(key, error=error.message))
    return results


def _repair(
    name: str, settings: Settings, key: str, trash: Trash | None, change: str, force: bool, dry_run: bool
) -> Repaired:
    reader = Bucket(name, settings, attempts=3)
    with tempfile.TemporaryFile(prefix="bucketboard-") as original, NewFile() as new:
        info = _download(reader, key, original)
        metadata = ObjectMetadata.parse(info.metadata)
        if not force and _is_live(info, metadata):
            raise InvalidError(f"s3://{name}/{key} is being written", hint="--force mends it all the same")
        repaired = _salvage(original, info.size, new)
        if dry_run:
            return replace(repaired, key=key)
        if not new.size:
            raise InvalidError(f"s3://{name}/{key} holds no whole record", hint="bucketboard rm removes it")
        tags = reader.tags(key) or settings.tags
        kept = copy(reader, info, trash.key(change, key)).key if trash else ""
        writer = Bucket(name, replace(settings, tags=tags))  # replicas know what one attempt did
        new.store(writer, key, metadata.user if metadata else {}, info)
        return replace(repaired, key=key, original=kept)


def _download(bucket: Bucket, key: str, file: IO[bytes]) -> ObjectInfo:
    pieces, info = bucket.stream(key)
    size = 0
    for piece in pieces:
        size += file.write(piece)
    file.flush()
    return replace(info, size=size)


def _salvage(original: IO[bytes], size: int, new: NewFile) -> Repaired:
    kept, lost = 0, []
    if size:
        with mmap.mmap(original.fileno(), size, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            for stretch in salvage(view):
                if isinstance(stretch, Lost):
                    lost.append((stretch.start, stretch.stop))
                    continue
                kept += stretch.records
                _append(new, view, stretch)
    return Repaired("", kept, tuple(lost))


def _append(new: NewFile, view: memoryview, stretch: Kept) -> None:
    # Where the file may be cut matters to nobody here: it is stored whole.
    for start in range(stretch.start, stretch.stop, _AT_ONCE):
        stop = min(start + _AT_ONCE, stretch.stop)
        new.append(bytes(view[start:stop]), stretch.records if stop == stretch.stop else 0)


def _is_live(info: ObjectInfo, metadata: ObjectMetadata | None) -> bool:
    finished = metadata is not None and metadata.state is not State.LIVE
    recent = info.last_modified is not None and time.time() - info.last_modified.timestamp() < _LIVE
    return recent and not finished
