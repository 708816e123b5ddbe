"""Sending what the spools of dead writers still hold."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bucketboard.errors import BucketboardError, CorruptDataError
from bucketboard.replication.log import EventLog, LogFile, State
from bucketboard.replication.options import Options
from bucketboard.replication.spool import Header, SpoolStorage, default_directories, entries, superseded
from bucketboard.replication.uploader import Sidecar, Target, Uploader
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings, from_environ

__all__ = ["Recovered", "recover_logs"]


@dataclass(frozen=True)
class Recovered:
    """A spooled file or directory: ``state`` is sent, pending (dry run), held (its writer lives), failed."""

    path: str
    target: str
    name: str
    state: str
    events: int = 0
    bytes: int = 0
    error: str = ""


def recover_logs(
    spool: str | os.PathLike[str] | None = None,
    *,
    dry_run: bool = False,
    wait: float = 60.0,
    within: float = float("inf"),
    on_result: Callable[[Recovered], None] = lambda result: None,
    **settings: Any,
) -> list[Recovered]:
    """Send the logs of dead writers, and remove them. The arguments are those of ``bucketboard.recover``."""
    results: list[Recovered] = []

    def done(result: Recovered) -> None:
        results.append(result)
        on_result(result)

    deadline = time.monotonic() + within
    directories = [Path(spool)] if spool is not None else default_directories()
    taken: dict[str, list[SpoolStorage]] = {}
    for path in _paths(directories):
        try:
            storage = SpoolStorage.take(path)
        except CorruptDataError as error:
            done(Recovered(str(path), "", "", "failed", error=str(error)))
            continue
        if storage is not None:
            taken.setdefault(storage.header.writer_id, []).append(storage)
        elif path.exists() and path.stat().st_size:
            done(_result(path, "held"))
    for storages in taken.values():
        storages.sort(key=lambda storage: storage.header.sequence)
        left = max(0.0, min(wait, deadline - time.monotonic()))
        try:
            found = _DeadWriter(storages, settings).send(dry_run, left)
        except (
            Exception
        ) as error:  # what one header says, be it from another version, must not keep others back
            said = str(error) if isinstance(error, BucketboardError) else f"{type(error).__name__}: {error}"
            found = [_result(storage.path, "failed", error=said) for storage in storages]
            for storage in storages:
                storage.close()
        for result in found:
            done(result)
    return results


def _paths(directories: Iterable[Path]) -> Iterable[Path]:
    for directory in directories:
        yield from entries(directory)


def _result(path: Path, state: str, file: LogFile | None = None, error: str = "") -> Recovered:
    target = name = ""
    with contextlib.suppress(CorruptDataError):
        header = Header.load(path.with_suffix(".json"))
        target, name = header.target, header.name
    events, size = (file.end.events, file.end.bytes) if file else (0, 0)
    return Recovered(str(path), target, name, state, events, size, error)


class _DeadWriter:
    """The spooled files of one writer, in the order in which it began them."""

    def __init__(self, storages: list[SpoolStorage], settings: dict[str, Any]) -> None:
        self._header = storages[0].header
        self._sequence = storages[-1].header.sequence + 1
        self._directory = storages[0].path.parent
        self._storages = storages
        given = {name: value for name, value in settings.items() if value is not None}
        self._settings = from_environ(Settings, {**self._header.settings, **given}, {})
        self._errors: list[BucketboardError] = []

    def send(self, dry_run: bool, wait: float) -> list[Recovered]:
        files: list[tuple[SpoolStorage, LogFile]] = []
        sidecars: list[SpoolStorage] = []
        results: list[Recovered] = []
        twice = superseded(self._storages)
        for storage in self._storages:
            if storage.header.log_id in twice:
                storage.close() if dry_run else storage.remove()
                continue
            if storage.header.kind == "file":
                sidecars.append(storage)
                continue
            try:
                file = LogFile.existing(storage.header.log_id, storage, storage.header.name)
            except CorruptDataError as error:
                results.append(_result(storage.path, "failed", error=str(error)))
                storage.close()
                continue
            if file.end == file.begin and not storage.header.sent:
                storage.remove()  # nothing was ever logged to it
                continue
            files.append((storage, file))
        states = [(_result(storage.path, "pending", file)) for storage, file in files]
        states += [_result(storage.path, "pending") for storage in sidecars]
        if dry_run:
            for storage in [storage for storage, _ in files] + sidecars:
                storage.close()
            return results + states
        left_over = self._upload([file for _, file in files], sidecars, wait)
        for state in states:
            left = Path(state.path).exists()
            sent = dataclasses.replace(
                state, state="failed" if left else "sent", error=left_over if left else "", name=state.name
            )
            results.append(sent)
        if left_over and results[-1].state == "sent":  # divided meanwhile: what is left lies in new files
            results[-1] = dataclasses.replace(results[-1], state="failed", error=left_over)
        return results

    def _upload(self, files: list[LogFile], sidecars: list[SpoolStorage], wait: float) -> str:
        header = self._header
        for file in files:
            file.seal(State.CLOSED if file is files[-1] else State.ROLLED)
        options = Options(append=header.append)
        limit = float("inf")
        log = EventLog(
            self._new_file, roll_size=options.roll_size, limit=limit, report=self._errors.append, files=files
        )
        target = Target(
            Bucket(header.bucket, self._settings),
            header.prefix,
            header.suffix,
            dict(header.metadata),
            lambda: header.gathered,
        )
        sent = {storage.header.log_id: storage.header.sent for storage in self._storages}
        uploader = Uploader(log, target, options, self._errors.append, sent_before=sent)
        for storage in sidecars:
            uploader.add(Sidecar(storage.header.name, storage))
        uploader.begin_close()
        uploader.start()
        complete = uploader.close(wait)
        error = uploader.error
        uploader.let_go()
        if complete:
            return ""
        return str(error) if error else f"{target}: not stored within {wait:g} s; what is left is kept"

    def _new_file(self, sequence: int) -> LogFile:
        log_id = uuid.uuid4().hex
        header = dataclasses.replace(
            self._header,
            log_id=log_id,
            kind="events",
            name="",
            sequence=self._sequence + sequence,
            sent=0,
            instead_of=(),
        )
        return LogFile.new(log_id, SpoolStorage.create(self._directory, header))
