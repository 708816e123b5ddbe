"""The spool: local files that keep what was logged until S3 has it, past the death of the process.

A directory with two files per log file: ``<log id>.tfevents`` holds exactly the bytes of the event file,
``<log id>.json`` says where they belong. The data file carries its holder's record lock (fcntl, which a
forked child does not inherit); only the holder sends it. Creation writes the header last and removal takes
the data first, so a header without data means "finished", data without a header "never begun".
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bucketboard.errors import CorruptDataError, InvalidError
from bucketboard.home import state_directory
from bucketboard.replication.storage import FileStorage

__all__ = [
    "RUN_PREFIX",
    "Header",
    "SpoolStorage",
    "default_directories",
    "entries",
    "on_network",
    "prepare_directory",
    "remove_finished",
    "superseded",
]

FORMAT = 1
DATA_SUFFIX = ".tfevents"
HEADER_SUFFIX = ".json"
_UNFINISHED = ".tmp"
RUN_PREFIX = "run-"
"""Begins the name of a spool in a spool: that of one supervised command."""
_ORPHAN_SECONDS = 60
_NETWORK_TYPES = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "9p", "afs", "fuse.", "wekafs")
_OCTAL = re.compile(r"\\([0-7]{3})")  # how the mount table writes spaces and the like

_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "Mapping[str, Any]": Mapping,
    "Mapping[str, str]": Mapping,
    "tuple[str, ...]": tuple,
}
"""Of the fields of a header."""

_held: set[str] = set()
"""Log ids whose lock this process holds: opening such a file again would drop the lock."""
os.register_at_fork(after_in_child=_held.clear)


@dataclass(frozen=True)
class Header:
    """Where a spooled file belongs, and how far it got. Holds no secrets.

    ``kind`` is "events" for an event file and "file" for any other; ``name`` is its name below the run
    ``prefix``, "" until an event file's name is settled; ``sent`` the bytes S3 had acknowledged.
    ``instead_of``: the log ids of files whose records stand here and in others like it. While there is the
    first of those, they still count; once it is gone, none of them does.
    """

    log_id: str
    writer_id: str
    sequence: int
    bucket: str
    prefix: str
    kind: str = "events"
    name: str = ""
    suffix: str = ""
    append: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    gathered: Mapping[str, str] = field(default_factory=dict)
    created: float = field(default_factory=time.time)
    sent: int = 0
    instead_of: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def target(self) -> str:
        """The run's URL, for messages."""
        return f"s3://{self.bucket}/{self.prefix}"

    @classmethod
    def load(cls, path: Path) -> Header:
        """Read a header file.

        Raises:
            CorruptDataError: it is no header, or one of a newer format.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["format"] > FORMAT:
                raise CorruptDataError(
                    f"{path} has spool format {values['format']}", hint="recover it with a newer bucketboard"
                )
            values["instead_of"] = tuple(values.get("instead_of", ()))  # JSON knows lists alone
            header = cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})
            header._check()
            if header.log_id != path.stem:  # a copy, say: only one of them can be this log
                raise ValueError(f"it is that of {header.log_id:.100}")
            return header
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptDataError(f"{path} is no spool header: {error}") from error

    def _check(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not isinstance(value, _TYPES[str(entry.type)]):
                raise TypeError(f"{entry.name} is {value!r:.100}")
        texts = (*self.metadata.values(), *self.gathered.values(), *self.instead_of)
        if not all(isinstance(each, str) for each in texts):
            raise TypeError("something in it is not text")
        if any("/" in each for each in self.instead_of):
            raise ValueError(f"instead_of is {self.instead_of!r:.100}")


class SpoolStorage(FileStorage):
    """A spooled file that this process holds."""

    def __init__(self, path: Path, header: Header, *, exclusive: bool) -> None:
        super().__init__(path, exclusive=exclusive)
        self.header = header
        self._header_path = path.with_suffix(HEADER_SUFFIX)
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            super().close()
            raise
        _held.add(header.log_id)

    @classmethod
    def create(cls, directory: Path, header: Header) -> SpoolStorage:
        """A new, empty spooled file.

        Raises:
            OSError: the directory can't be written.
        """
        path = directory / f"{header.log_id}{DATA_SUFFIX}"
        try:
            storage = cls(path, header, exclusive=True)
        except FileNotFoundError:  # an empty directory may have been tidied away
            directory.mkdir(mode=0o700, exist_ok=True)
            storage = cls(path, header, exclusive=True)
        try:
            storage._save()
        except OSError:
            storage.remove()
            raise
        return storage

    @classmethod
    def take(cls, path: Path) -> SpoolStorage | None:
        """Take over the data file ``path`` if nobody holds it; None where somebody does or it is gone.

        Raises:
            CorruptDataError: its header can't be read.
        """
        if path.stem in _held:
            return None
        header_path = path.with_suffix(HEADER_SUFFIX)
        if not header_path.exists():
            _remove_orphan(path)
            return None
        if not path.exists():  # finished, and its holder died between the removals
            _remove_header(header_path)
            return None
        header = Header.load(header_path)
        try:
            storage = cls(path, header, exclusive=False)
        except OSError:
            return None
        if os.fstat(storage.fd).st_nlink == 0 or storage.size == 0:
            storage.remove()
            return None
        # The holder may have moved on between our reading of the header and its death.
        storage.header = Header.load(header_path)
        return storage

    def note(self, **facts: Any) -> None:
        self.header = replace(self.header, **facts)
        with contextlib.suppress(OSError):  # without the note a recovery asks S3 instead
            self._save()

    def close(self) -> None:
        super().close()
        _held.discard(self.header.log_id)

    def remove(self) -> None:
        super().remove()
        _remove_header(self._header_path)

    def _save(self) -> None:
        temporary = self._header_path.with_suffix(_UNFINISHED)
        temporary.write_text(json.dumps(asdict(self.header)), encoding="utf-8")
        temporary.replace(self._header_path)


def superseded(storages: Iterable[SpoolStorage]) -> set[str]:
    """The log ids of those whose records stand in others of them, because a division was interrupted."""
    found: set[str] = set()
    for storage in storages:
        divided = storage.header.instead_of
        if divided and storage.path.with_name(f"{divided[0]}{DATA_SUFFIX}").exists():
            found.add(storage.header.log_id)
        else:
            found.update(divided)
    return found


def _remove_header(path: Path) -> None:
    """A header, and first what a holder may have left that was killed while it wrote a newer one."""
    for each in (path.with_suffix(_UNFINISHED), path):
        with contextlib.suppress(OSError):
            each.unlink()


def _remove_orphan(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0 and time.time() - path.stat().st_mtime > _ORPHAN_SECONDS:
            path.with_suffix(_UNFINISHED).unlink(missing_ok=True)
            path.unlink()


def entries(directory: Path) -> Iterator[Path]:
    """The data files of a spool directory, and of those of supervised commands in it.

    Also those that are gone but for their header.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = {path.stem for path in directory.iterdir() if path.suffix in (DATA_SUFFIX, HEADER_SUFFIX)}
        yield from sorted(directory / f"{name}{DATA_SUFFIX}" for name in names)
    for run in _of_runs(directory):
        yield from entries(run)


def _of_runs(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob(f"{RUN_PREFIX}*") if path.is_dir())


def remove_finished(directory: Path) -> None:
    """Remove what supervised commands left empty in a spool directory."""
    for run in _of_runs(directory):
        with contextlib.suppress(OSError):
            run.rmdir()


def default_directory() -> Path:
    """The user's spool: ``BUCKETBOARD_SPOOL`` if it is a path, else below the user's state directory.

    A user without a home has one in the local temporary directory.
    """
    given = os.environ.get("BUCKETBOARD_SPOOL", "auto")
    if given not in ("auto", "none", ""):
        return Path(given)
    try:
        return state_directory() / "spool"
    except OSError:
        return _temporary_directory()


def _temporary_directory() -> Path:
    return Path(tempfile.gettempdir()) / f"bucketboard-spool-{os.getuid()}"


def default_directories() -> list[Path]:
    """Everywhere that `prepare_directory` may have put a spool by default."""
    return list(dict.fromkeys((default_directory(), _temporary_directory())))


def prepare_directory(spool: str) -> Path:
    """The directory for ``spool`` ("auto" or a path), made if needed, private to the user.

    The user's own choice of a path is taken as it is. The default one is replaced by the local temporary
    directory where it lies on a network file system, whose locks and write times can't be relied on.

    Raises:
        OSError: it can't be made or written.
        InvalidError: somebody else owns it.
    """
    automatic = spool in ("auto", "")
    directory = default_directory() if automatic else Path(spool)
    if automatic and on_network(directory):
        directory = _temporary_directory()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = directory.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise InvalidError(
            f"the spool {directory} belongs to another user, or others may write to it",
            hint="set spool= to a directory that is yours alone, or one that does not exist yet",
        )
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(f"{directory} is not writable")
    return directory


def on_network(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether ``path`` lies on a network file system, as far as Linux's mount table tells."""
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    target = os.path.realpath(path)
    best, kind = "", ""
    for line in lines:
        parts = line.split()
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), parts[4])
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, parts[parts.index("-") + 1]
    return kind.startswith(_NETWORK_TYPES)
