"""Exporting one run: its event files in, a table for each kind of summary out."""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bucketboard.errors import CorruptDataError, InvalidError
from bucketboard.events.columns import Damage
from bucketboard.runs.location import Location
from bucketboard.runs.scan import KINDS, Piece, Sorter, chosen, read_pieces
from bucketboard.runs.sheets import FORMATS, Sheet, replace_file, sweep
from bucketboard.runs.tables import rows_of

__all__ = ["ExportedRun", "RunExport", "export_run"]

_VERSION = 1
_LONGEST = 255
"""Bytes of a name in a directory."""
_TOLD = 100
"""Damaged places that are told of a run."""


@dataclass(frozen=True)
class RunExport:
    """What is to be done for a run; it travels to whoever does it."""

    location: Location
    run: str
    files: tuple[tuple[str, int, str], ...]
    """Path, bytes and ETag of its event files as they were listed, in order."""
    out: str
    format: str
    kinds: tuple[str, ...]
    tags: tuple[str, ...] | None

    @property
    def bytes(self) -> int:
        """Bytes of its event files."""
        return sum(size for _, size, _ in self.files)

    def done(self) -> ExportedRun | None:
        """What an earlier export left, if that is whole and the run has not changed since."""
        try:
            noted = json.loads(self._note.read_bytes())
            whole = noted["of"] == self._signature() and all(
                (Path(self.out) / name).stat().st_size == size for name, size in noted["files"].items()
            )
            return ExportedRun(**noted["report"]) if whole else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _signature(self) -> dict[str, Any]:
        files = [list(file) for file in self.files]
        tags = None if self.tags is None else list(self.tags)
        return {"version": _VERSION, "files": files, "kinds": list(self.kinds), "tags": tags}

    @property
    def _quoted(self) -> str:
        return urllib.parse.quote(self.run, safe="")

    @property
    def _note(self) -> Path:
        return Path(self.out) / "_export" / self.format / f"{self._quoted}.json"

    def path(self, kind: str) -> Path:
        """The file of a kind."""
        return Path(self.out) / kind / f"run={self._quoted}" / FORMATS[self.format][0]

    def check(self) -> None:
        """Raise InvalidError if the run's name can't be that of a directory."""
        if len(self._quoted) + len("run=") > _LONGEST:
            raise InvalidError(f"the name of run {self.run!r} is too long for a directory")

    def note(self, report: ExportedRun, written: dict[str, int]) -> None:
        """Remember that it is done, and remove what an earlier export left that is no more."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            for name in json.loads(self._note.read_bytes())["files"].keys() - written.keys():
                (Path(self.out) / name).unlink(missing_ok=True)
        noted = {"of": self._signature(), "files": written, "report": asdict(report)}
        replace_file(self._note, lambda file: file.write(json.dumps(noted).encode()))


@dataclass
class ExportedRun:
    """What was done for a run."""

    run: str
    rows: dict[str, int] = field(default_factory=dict)
    """By kind."""
    bytes_read: int = 0
    bytes_written: int = 0
    damaged: list[str] = field(default_factory=list)
    """Places that could not be read and were left out, the first hundred."""


def export_run(task: RunExport) -> ExportedRun:
    """Export one run. Doing it again gives the same files, byte for byte.

    Raises:
        Replaced: an event file is not the one that was listed.
        BucketboardError: one can't be read.
        OSError: the files can't be written.
    """
    task.check()
    report = ExportedRun(task.run)
    with _sheets(task) as sheets:
        writer = _Writer(task, sheets, report)
        source = task.location.source()
        for path, size, _ in task.files:
            damage: list[Damage] = []
            sorter = Sorter()
            for piece in read_pieces(source, path, size, damage=damage):
                writer.write(path, piece, sorter)
                report.bytes_read += len(piece.data)
            report.damaged += [f"{path}: {place.message}" for place in damage]
        written = {}
        for kind in (kind for kind in KINDS if kind in sheets):
            written[task.path(kind).relative_to(task.out).as_posix()] = sheets[kind].finish()
            report.rows[kind] = sheets[kind].rows
    report.bytes_written = sum(written.values())
    report.damaged = report.damaged[:_TOLD]
    task.note(report, written)
    return report


@contextlib.contextmanager
def _sheets(task: RunExport) -> Iterator[dict[str, Sheet]]:
    sheets: dict[str, Sheet] = {}
    try:
        yield sheets
    except BaseException:
        for sheet in sheets.values():
            sheet.discard()
        for kind in KINDS:  # one of them may have been interrupted while it was begun
            sweep(task.path(kind).parent)
        raise


class _Writer:
    """Takes pieces of event files apart."""

    def __init__(self, task: RunExport, sheets: dict[str, Sheet], report: ExportedRun) -> None:
        self._task = task
        self._sheets = sheets
        self._report = report
        self._wanted: Callable[[str], bool] = chosen(task.tags)
        self._kinds = np.array([*(kind in task.kinds for kind in KINDS), False])

    def write(self, path: str, piece: Piece, sorter: Sorter) -> None:
        """Add the rows of a piece in their order."""
        columns = piece.columns
        kinds = sorter.sort(columns)
        shown = self._kinds[kinds]
        if self._task.tags is not None:
            shown &= np.array([self._wanted(tag) for tag in (*columns.tags, "")])[columns.tag]
        scalars = shown & (kinds == KINDS.index("scalars"))
        if scalars.any():
            some = columns.take(scalars)
            # The names that these rows have, so that files do not depend on how the scan went.
            places, codes = np.unique(some.tag, return_inverse=True)
            tags = [columns.tags[place] for place in places.tolist()]
            self._sheet("scalars").scalars(tags, codes, some.step, some.wall_time, some.value)
        self._write_others(path, piece, sorter, kinds, np.flatnonzero(shown & ~scalars).tolist())

    def _write_others(self, path: str, piece: Piece, sorter: Sorter, kinds: Any, rows: list[int]) -> None:
        if not rows:
            return
        from tensorboard.compat.proto.event_pb2 import Event

        columns = piece.columns
        event, offset = None, -1
        for row in rows:
            if int(columns.offset[row]) != offset:
                event, offset = Event.FromString(piece.payload(row)), int(columns.offset[row])
            place = int(columns.tag[row])
            tag = columns.tags[place] if place >= 0 else ""
            plugin = sorter.series[tag].plugin if place >= 0 else ""
            first = (tag, int(columns.step[row]), float(columns.wall_time[row]))
            try:
                for kind, rest in rows_of(KINDS[kinds[row]], event, int(columns.index[row]), plugin):
                    if kind in self._task.kinds:
                        self._sheet(kind).row((*first, *rest))
            except CorruptDataError as error:
                self._report.damaged.append(f"{path}: record at byte {offset}: {error.message}")

    def _sheet(self, kind: str) -> Sheet:
        if kind not in self._sheets:
            make = FORMATS[self._task.format][1]
            self._sheets[kind] = make(self._task.path(kind), kind, self._task.run)
        return self._sheets[kind]
