"""``verify``: whether the event files below a prefix are whole, and the index says the truth about them."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bucketboard.errors import BucketboardError, Reason
from bucketboard.events.record import crc32c
from bucketboard.events.scanner import FileScanner
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.runs.fingerprint import FilePrints, IndexedFile, indexed_files
from bucketboard.runs.listing import RunObjects, list_runs
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.fast import FastBucket, fast_bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url

__all__ = ["Finding", "RunVerified", "Verified", "open_indexed", "verify", "verify_run"]

_AT_ONCE = 8
"""Runs at a time; each is read as a stream."""
_SKEW = 1.0
"""Seconds by which a file may begin before the one that its name puts it behind: names tell whole seconds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    ``kind`` is "record" (one record is damaged), "framing" (nothing behind it can be read), "torn" (the file
    ends within a record), "order" (it begins before the file that its name puts it behind), "metadata" (the
    bytes are not those that the object's metadata tells of), "index" (it says other than the file does) or
    "unreadable". ``key`` is the object's; ``offset`` a byte in it, None where it is no place.
    """

    key: str
    kind: str
    offset: int | None
    message: str


@dataclass(frozen=True, slots=True)
class RunVerified:
    """What was read of a run, and what is wrong with it; ``events`` are the valid ones."""

    run: str
    files: int
    bytes: int
    events: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """Of all runs, in the order of their names.

    ``index`` says what kept the index, or a part of it, from being compared; "" if nothing did.
    """

    runs: tuple[RunVerified, ...]
    index: str = ""

    @property
    def findings(self) -> list[Finding]:
        """Of all runs."""
        return [finding for run in self.runs for finding in run.findings]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify(url: str, *, on_progress: Callable[[int, int], None] | None = None, **settings: Any) -> Verified:
    """Read every event file below ``url`` and compare it with its checksums, its metadata and the index.

    Args:
        url: a run, or a prefix of runs.
        on_progress: told the bytes that were read, and those that there are.
        settings: fields of `Settings`, as ``profile="research"``.

    Raises:
        InvalidError: there are no runs, or a setting is wrong.
        UnavailableError: the bucket can't be listed now.
    """
    place = S3Url.parse(url)
    bucket = fast_bucket(place.bucket, Settings.resolve(**settings), attempts=3)
    runs = list_runs(bucket, place)
    indexed, trouble = open_indexed(bucket, place)
    total = sum(info.size for run in runs.values() for info in run.event_files)
    read = 0
    lock = threading.Lock()

    def progress(count: int) -> None:
        nonlocal read
        with lock:
            read += count
            if on_progress:
                on_progress(read, total)

    with ThreadPoolExecutor(_AT_ONCE, "bucketboard-verify") as pool:
        verified = pool.map(lambda run: verify_run(bucket, run, indexed, progress), runs.values())
        return Verified(tuple(verified), trouble)


def verify_run(
    bucket: Bucket,
    run: RunObjects,
    indexed: Mapping[str, IndexedFile] | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> RunVerified:
    """Read the event files of one run; ``indexed`` is what an index has of files, by key.

    Errors of reading are findings too.
    """
    findings: list[Finding] = []
    events, start = 0, math.nan
    for info in run.event_files:
        file = _File(bucket, info, indexed.get(info.key) if indexed else None, findings)
        try:
            events += file.read(progress)
            if file.start < start - _SKEW:
                message = (
                    f"it begins {start - file.start:,.0f} s before the file that its name puts it behind"
                )
                findings.append(Finding(info.key, "order", None, message))
            start = start if math.isnan(file.start) else file.start
        except BucketboardError as error:
            if error.reason is not Reason.NOT_FOUND:  # else it was removed meanwhile, which is no damage
                findings.append(Finding(info.key, "unreadable", None, error.message))
    files = run.event_files
    return RunVerified(run.name, len(files), sum(info.size for info in files), events, tuple(findings))


class _File:
    """The reading of one event file, as a stream."""

    def __init__(
        self, bucket: Bucket, info: ObjectInfo, indexed: IndexedFile | None, findings: list[Finding]
    ) -> None:
        self._bucket = bucket
        self._key = info.key
        self._indexed = indexed
        self._prints = FilePrints(indexed.covered.end) if indexed else None
        self._findings = findings
        self._scanner = FileScanner()
        self._tail = b""
        """The last bytes before where the index ends."""
        self.start = math.nan
        """The earliest wall time of its events."""

    def read(self, progress: Callable[[int], None]) -> int:
        """Gives the number of valid events."""
        pieces, info = self._bucket.stream(self._key)
        metadata = ObjectMetadata.parse(info.metadata)
        crc = size = events = 0
        waiting = bytearray()
        for piece in pieces:
            data = bytes(piece)
            self._keep_tail(data, size)
            crc = crc32c(data, crc)
            size += len(data)
            waiting += data
            progress(len(data))
            if len(waiting) >= self._scanner.wanted and not self._scanner.dead:
                events += self._take(waiting)
        scanner = self._scanner
        for place in scanner.damage:
            dead = scanner.dead and place.offset == scanner.offset
            self._find("framing" if dead else "record", place.offset, place.message)
        if scanner.damaged > len(scanner.damage):
            self._find("record", None, f"{scanner.damaged - len(scanner.damage):,} more records are damaged")
        if not scanner.dead and scanner.offset < size:
            self._find("torn", scanner.offset, f"the file ends {size - scanner.offset:,} bytes into a record")
        if metadata and metadata.length != size:
            self._find("metadata", None, f"{size:,} bytes are stored where {metadata.length:,} were written")
        elif metadata and metadata.crc32c != crc:
            self._find("metadata", None, f"CRC32C is {crc:08x} where {metadata.crc32c:08x} was written")
        if self._indexed and self._indexed.covered.log_id == (metadata.log_id if metadata else None):
            self._compare(self._indexed, size)
        return events

    def _take(self, waiting: bytearray) -> int:
        before = self._scanner.offset
        columns = self._scanner.feed(bytes(waiting))
        del waiting[: self._scanner.offset - before]
        if self._prints:
            self._prints.add(columns)
        self.start = min(
            (time for time in (self.start, columns.start) if not math.isnan(time)), default=math.nan
        )
        return columns.events

    def _keep_tail(self, data: bytes, start: int) -> None:
        covered = self._indexed.covered if self._indexed else None
        if covered and start < covered.end:
            kept = data[: covered.end - start]
            self._tail = (self._tail + kept[-len(covered.tail) :])[-len(covered.tail) :]

    def _compare(self, indexed: IndexedFile, size: int) -> None:
        covered = indexed.covered
        if covered.end > size:
            if covered.log_id is not None:
                self._find("index", None, f"it has {covered.end:,} bytes of a file with {size:,}")
            return
        if self._tail != covered.tail:
            # A file without a log id is another one then, which readers see in the same way.
            if covered.log_id is not None:
                self._find("index", covered.end, "the bytes where it ends are not those of the file")
            return
        assert self._prints is not None
        for known, read in ((indexed.scalars, self._prints.scalars), (indexed.values, self._prints.values)):
            there = read.digests()
            for tag in sorted(known.keys() | there.keys()):
                if known.get(tag) != there.get(tag):
                    self._find("index", None, f"it has other values of {tag!r}")

    def _find(self, kind: str, offset: int | None, message: str) -> None:
        self._findings.append(Finding(self._key, kind, offset, message))


def open_indexed(bucket: Bucket | FastBucket, place: S3Url) -> tuple[dict[str, IndexedFile], str]:
    """By key, what the index below ``place`` has of files, and what kept it from being read; it is read once.

    Nothing where there is no index.
    """
    try:
        from bucketboard.index import BucketObjects, Index

        index = Index.open(BucketObjects(bucket, place.prefix))
        if not index.files:
            return {}, index.trouble
        found = indexed_files(index)
    except BucketboardError as error:
        return {}, error.message
    return {f"{place.prefix}{path}": file for path, file in found.items()}, index.trouble
