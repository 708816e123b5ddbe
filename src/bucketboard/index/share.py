"""What an update has to read, whole or in shares for several processes, each of which makes segments."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from bucketboard.errors import BucketboardError, Reason
from bucketboard.events.columns import Damage
from bucketboard.index.described import run_file
from bucketboard.index.index import Covered
from bucketboard.index.manifest import Manifest, Segment
from bucketboard.index.news import News, read_news
from bucketboard.index.objects import Objects, Source
from bucketboard.index.parts import Head, RunFile, Tag
from bucketboard.index.segment import Gathering, store
from bucketboard.store.bucket import ObjectInfo

__all__ = ["Share", "ShareRead", "divided", "look_share", "modified", "read_share"]

_READERS = 16
_AHEAD = 48
"""Files that are read before those in front of them are taken in."""
_ROWS = 1 << 25
"""Rows of a segment, which is made in memory."""
_WORTH_IT = 16 << 20
"""Bytes of a share, at least."""
_SHARES = 8
"""At most, however much there is: each becomes a segment, and readers read something of each segment."""


@dataclass(frozen=True)
class Share:
    """Files to read, and what is known of them; it travels to whoever reads them."""

    files: Mapping[str, ObjectInfo]
    """By path, in order."""
    run_files: Mapping[str, ObjectInfo]
    """Files named ``bucketboard.json``."""
    covered: Mapping[str, Covered]
    """Of files that are gone on with: up to where."""
    tags: Mapping[str, Mapping[str, Tag]]
    """By path and name, the tags that are known of files."""

    @property
    def bytes(self) -> int:
        """How much there is to read."""
        return sum(self.expected(path) for path in self.files)

    def expected(self, path: str) -> int:
        """How much there is to read of a file."""
        size, known = self.files[path].size, self.covered.get(path)
        return size - (known.end if known and known.end <= size else 0)

    @property
    def receipt(self) -> str:
        """The name of the object that says that the share has been read: the same for the same bytes."""
        begins = {path: known.end for path, known in self.covered.items()}
        said = [
            (path, info.etag, info.size, modified(info), begins.get(path, 0))
            for path, info in sorted({**self.files, **self.run_files}.items())
        ]
        return f"shares/{hashlib.sha256(repr(said).encode()).hexdigest()}.json"

    def by_run(self) -> list[Share]:
        """A share for each run."""
        runs: dict[str, tuple[dict[str, ObjectInfo], dict[str, ObjectInfo]]] = {}
        for number, given in enumerate((self.files, self.run_files)):
            for path, info in given.items():
                runs.setdefault(path.rpartition("/")[0], ({}, {}))[number][path] = info
        return [self.of(*each) for _, each in sorted(runs.items())]

    def of(self, files: Mapping[str, ObjectInfo], run_files: Mapping[str, ObjectInfo]) -> Share:
        """Some of it."""
        covered = {path: self.covered[path] for path in files if path in self.covered}
        return Share(
            files, run_files, covered, {path: self.tags[path] for path in files if path in self.tags}
        )


@dataclass
class ShareRead:
    """What came of reading a share."""

    added: list[tuple[Segment, Head]] = field(default_factory=list)
    read: int = 0
    """Files that something was read of."""
    bytes_read: int = 0
    rows: int = 0
    damage: dict[str, list[Damage]] = field(default_factory=dict)
    failures: dict[str, BucketboardError] = field(default_factory=dict)
    """Files that could not be read now."""


def divided(whole: Share) -> list[Share]:
    """The same in several shares, none of which has a part of a run. Which run goes where does not depend on
    the others, so that of a run that grows meanwhile only one share is another one."""
    count = _SHARES
    while count > 1 and whole.bytes < count * _WORTH_IT:
        count //= 2
    files: list[dict[str, ObjectInfo]] = [{} for _ in range(count)]
    run_files: list[dict[str, ObjectInfo]] = [{} for _ in range(count)]
    for given, taken in ((whole.files, files), (whole.run_files, run_files)):
        for path, info in given.items():
            run = path.rpartition("/")[0]
            taken[zlib.crc32(run.encode(errors="surrogatepass")) % count][path] = info
    return [whole.of(*each) for each in zip(files, run_files, strict=True) if any(each)]


def modified(listed: ObjectInfo) -> float | None:
    """When it was written, in seconds since the epoch."""
    return listed.last_modified.timestamp() if listed.last_modified else None


def read_share(
    source: Source, objects: Objects, share: Share, progress: Callable[[int], None], *, receipt: bool = False
) -> ShareRead:
    """Read a share and store its segments, which no manifest names yet.

    With ``receipt`` an object says so, by which an update that was interrupted goes on.

    Raises:
        BucketboardError: a segment can't be stored.
    """
    found = ShareRead()
    gathering = Gathering(share.tags)
    gathering.run_files = _read_run_files(source, share.run_files, found)

    def end_segment() -> None:
        head = gathering.head()
        found.added.append((store(objects, head, *gathering.tables()), head))
        found.rows += gathering.rows
        gathering.clear()

    for each in _news(source, share, found, progress):
        if each.part.end:  # else there is no record in it yet
            gathering.add(each)
        if gathering.rows >= _ROWS:
            end_segment()
    if gathering.parts or gathering.run_files:
        end_segment()
    if receipt and found.added and not found.failures and not found.damage:
        objects.put(share.receipt, Manifest(tuple(segment for segment, _ in found.added)).encode())
    return found


def _news(source: Source, share: Share, found: ShareRead, progress: Callable[[int], None]) -> Iterator[News]:
    """Of each file, read side by side, given in order."""

    def tell(count: int) -> None:
        found.bytes_read += count
        progress(count)

    waiting: deque[tuple[str, Future[News]]] = deque()
    paths = iter(share.files.items())
    with ThreadPoolExecutor(_READERS, "bucketboard-index") as pool:
        while True:
            for path, info in itertools.islice(paths, _AHEAD - len(waiting)):
                known, tags = share.covered.get(path), share.tags.get(path, {})
                waiting.append((path, pool.submit(read_news, source, path, info, known, tags, tell)))
            if not waiting:
                return
            path, future = waiting.popleft()
            try:
                each = future.result()
            except BucketboardError as error:
                if error.reason is not Reason.NOT_FOUND:  # else it was deleted since it was listed
                    found.failures[path] = error
                continue
            found.read += 1
            if each.damage:
                found.damage[path] = each.damage
            yield each


def _read_run_files(source: Source, wanted: Mapping[str, ObjectInfo], found: ShareRead) -> dict[str, RunFile]:
    """What each ``bucketboard.json`` says."""

    def read(path: str) -> RunFile | BucketboardError:
        try:
            return run_file(path, *source.get(path), modified(wanted[path]))
        except BucketboardError as error:
            return error

    files: dict[str, RunFile] = {}
    with ThreadPoolExecutor(_READERS, "bucketboard-index") as pool:
        for path, result in zip(wanted, pool.map(read, wanted), strict=True):
            if isinstance(result, RunFile):
                files[path] = result
            elif result.reason is not Reason.NOT_FOUND:
                found.failures[path] = result
    return files


def look_share(
    source: Source, share: Share, progress: Callable[[int], None], keep: Callable[[News], None] | None = None
) -> tuple[Head, ShareRead]:
    """What segments would say of the files of a share, of which nothing is stored."""
    found = ShareRead()
    gathering = Gathering(share.tags, heads_only=True)
    for each in _news(source, share, found, progress):
        gathering.add(each)
        if keep:
            keep(each)
    gathering.run_files = _read_run_files(source, share.run_files, found)
    return gathering.head(), found
