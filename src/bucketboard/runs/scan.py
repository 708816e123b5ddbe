"""The values in event files, read natively piece by piece and sorted by the kind of summary that they are."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bucketboard.errors import Reason, UnavailableError
from bucketboard.events.columns import Array, Columns, Damage, Kind
from bucketboard.events.metadata import is_scalar, plugin_of
from bucketboard.events.record import HEADER_BYTES
from bucketboard.events.scanner import FileScanner
from bucketboard.runs.listing import group
from bucketboard.source import Source
from bucketboard.store.bucket import ObjectInfo

__all__ = ["KINDS", "Piece", "Replaced", "Series", "Sorter", "chosen", "event_files", "read_pieces"]

KINDS = (
    "scalars",
    "histograms",
    "images",
    "audio",
    "text",
    "hparams",
    "pr_curves",
    "tensors",
    "graphs",
)
"""Kinds of summaries. Whatever has no kind of its own (meshes, layouts, other plugins) is a tensor."""
_PLACE = {kind: place for place, kind in enumerate(KINDS)}
_NONE = -1
_BY_VALUE = {
    Kind.IMAGE: "images",
    Kind.AUDIO: "audio",
    Kind.HISTOGRAM: "histograms",
    Kind.GRAPH: "graphs",
    Kind.RUN_METADATA: "graphs",
    Kind.META_GRAPH: "graphs",
}
"""Values that say themselves what they are; any other goes by its series."""
_BY_PLUGIN = ("histograms", "images", "audio", "text", "hparams", "pr_curves")
_SESSION_START = "_hparams_/session_start_info"
_CHUNK = 8 << 20
_LOG_ID = "bucketboard-log"
_BY_SERIES = -2
_LOOKUP: Array = np.full(256, _NONE, np.int8)
_LOOKUP[: Kind.TENSOR + 1] = _BY_SERIES
for _kind, _name in _BY_VALUE.items():
    _LOOKUP[_kind] = _PLACE[_name]


def event_files(files: Mapping[str, ObjectInfo]) -> dict[str, list[str]]:
    """By run, sorted by name, the paths of its event files in order, among files by path."""
    runs = group((replace(info, key=path) for path, info in files.items()), "")
    return {name: [info.key for info in run.event_files] for name, run in sorted(runs.items())}


def chosen(patterns: str | Iterable[str] | None) -> Callable[[str], bool]:
    """Whether a name is one of those given, or fits one of them as a glob in which ``*`` crosses slashes."""
    if patterns is None:
        return lambda name: True
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    names = set(given)
    return lambda name: name in names or any(fnmatch.fnmatchcase(name, glob) for glob in given)


class Replaced(UnavailableError):
    """The file is not the one that was listed, or indexed."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some whole records of a file."""

    columns: Columns
    data: memoryview
    start: int
    """Where ``data`` begins in the file."""
    log_id: str | None

    def payload(self, row: int) -> bytes:
        """The serialised Event that a row is in."""
        at = int(self.columns.offset[row]) - self.start
        return bytes(self.data[at + HEADER_BYTES : at + int(self.columns.length[row]) - 4])


def read_pieces(
    source: Source,
    path: str,
    size: int,
    *,
    start: int = 0,
    log_id: str | None = None,
    tail: bytes = b"",
    damage: list[Damage] | None = None,
) -> Iterator[Piece]:
    """The whole records of ``path`` among its first ``size`` bytes, from ``start`` on, where a record begins.

    With ``start``, the file must still be the one of ``log_id``, or where there is none the bytes before
    ``start`` must be ``tail``. Places that can't be read are added to ``damage``.

    Raises:
        Replaced: it is another file.
        BucketboardError: it can't be read.
    """
    scanner = FileScanner(start)
    first = True
    while scanner.offset < size and not scanner.dead:
        offset = scanner.offset
        again = len(tail) if first and log_id is None else 0
        stop = min(size, offset + max(_CHUNK, scanner.wanted))
        data, info = source.get(path, offset - again, stop)
        if info.size < size or ((not first or start) and info.metadata.get(_LOG_ID) != log_id):
            raise _replaced(path)
        if again and data[:again] != tail:
            raise _replaced(path)
        first, log_id = False, info.metadata.get(_LOG_ID)
        fresh = memoryview(data)[again:]
        yield Piece(scanner.feed(fresh), fresh, offset, log_id)
        if stop == size:
            break
    if damage is not None:
        damage += scanner.damage


def _replaced(path: str) -> Replaced:
    return Replaced(f"{path} was replaced while it was read", reason=Reason.CONFLICT)


class Sorter:
    """Says of the rows of one file of which kind they are. A series is what its first value there says."""

    def __init__(self, known: Mapping[str, tuple[int, bytes]] | None = None) -> None:
        self.series = {tag: Series.of(tag, *first) for tag, first in (known or {}).items()}
        """By tag; ``known`` are kind and metadata of first values that are not read."""

    def sort(self, columns: Columns) -> Array:
        """The place in KINDS of each row, -1 for what is no summary."""
        if columns.first:
            tags, rows = np.unique(columns.tag, return_index=True)
            kinds = dict(zip(tags.tolist(), columns.kind[rows].tolist(), strict=True))
            for place, metadata in columns.first.items():
                tag = columns.tags[place]
                self.series.setdefault(tag, Series.of(tag, kinds[place], metadata))
        known = [*(self.series[tag] for tag in columns.tags), Series(False, _NONE, "")]
        scalars = np.array([series.scalars for series in known])[columns.tag]
        others = np.array([series.other for series in known])[columns.tag]
        return _sorted(columns.kind, scalars, others)


@dataclass(frozen=True, slots=True)
class Series:
    """What the first value of a tag in a file makes of the others."""

    scalars: bool
    """Whether its numbers are scalars."""
    other: int
    """The place in KINDS of its tensors."""
    plugin: str

    @classmethod
    def of(cls, tag: str, kind: int, metadata: bytes) -> Series:
        """By kind and metadata of the first value."""
        plugin = plugin_of(kind, metadata)
        own = plugin if plugin in _BY_PLUGIN else "tensors"
        if plugin == "hparams" and tag != _SESSION_START:
            own = "tensors"  # the domains of parameters, or how a session ended
        return cls(is_scalar(kind, metadata), _PLACE[own], plugin)

    def sort(self, kinds: Array) -> Array:
        """Like ``Sorter.sort``, for rows of this series alone."""
        return _sorted(kinds, np.bool_(self.scalars), np.int8(self.other))


def _sorted(kinds: Array, scalars: Array, others: Array) -> Array:
    found = _LOOKUP[kinds]
    of_series = np.where(scalars & (kinds <= Kind.NUMBER), _PLACE["scalars"], others)
    return np.where(found == _BY_SERIES, of_series, found).astype(np.int8)
