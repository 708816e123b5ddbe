"""Spooled files: who holds them, and what is left when a process dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bucketboard.errors import CorruptDataError
from bucketboard.replication.spool import Header, SpoolStorage, entries

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

HEADER = Header("log1", "writer1", 0, "bucket", "exp/run 1/", settings={"region": "r", "tags": {"a": "b"}})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "of-the-spool"
    path.mkdir()
    return path


def take(path: Path) -> SpoolStorage:
    storage = SpoolStorage.take(path)
    assert storage is not None
    return storage


def taken_elsewhere(path: Path) -> bool:
    """Whether another process can take it (it lets go of it again)."""
    code = (
        "import sys; from pathlib import Path; from bucketboard.replication.spool import SpoolStorage;"
        "sys.exit(10 if SpoolStorage.take(Path(sys.argv[1])) else 20)"
    )
    status = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60).returncode
    assert status in (10, 20)
    return status == 10


@contextlib.contextmanager
def holder(directory: Path, data: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds a spooled file with ``data``, until it is killed."""
    code = (
        "import sys; from pathlib import Path;"
        "from bucketboard.replication.spool import Header, SpoolStorage;"
        "s = SpoolStorage.create(Path(sys.argv[1]), Header('log1', 'w', 0, 'b', 'p/'));"
        "s.append(bytes.fromhex(sys.argv[2])); s.note(name='events.1'); print('held', flush=True);"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(directory), data.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def in_child(work: Callable[[], Any]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(30)
            code = 0 if work() else 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_spooled_file_has_its_bytes_and_its_header(directory: Path) -> None:
    storage = SpoolStorage.create(directory, HEADER)
    storage.append(b"exactly these")
    storage.note(name="events.1", sent=5)
    [path] = entries(directory)
    assert path.read_bytes() == b"exactly these"
    assert path.stat().st_mode & 0o077 == 0
    header = Header.load(path.with_suffix(".json"))
    assert header == storage.header == replace(HEADER, name="events.1", sent=5)
    assert header.target == "s3://bucket/exp/run 1/"
    storage.close()


def test_what_was_let_go_is_taken_with_all_it_holds(directory: Path) -> None:
    first = SpoolStorage.create(directory, HEADER)
    first.append(b"one")
    first.close()
    [path] = entries(directory)
    again = take(path)
    again.append(b"two")
    assert again.read(0, 6) == b"onetwo"
    assert again.header == HEADER
    again.remove()
    assert list(directory.iterdir()) == []
    assert list(entries(directory)) == []


def test_this_process_does_not_take_what_it_holds_and_does_not_lose_it_by_trying(directory: Path) -> None:
    storage = SpoolStorage.create(directory, HEADER)
    storage.append(b"x")
    [path] = entries(directory)
    assert SpoolStorage.take(path) is None
    assert not taken_elsewhere(path)
    storage.close()
    assert taken_elsewhere(path)


def test_a_file_that_another_process_holds_is_left_alone_until_that_is_killed(directory: Path) -> None:
    with holder(directory, b"logged") as process:
        [path] = entries(directory)
        assert SpoolStorage.take(path) is None
        assert path.read_bytes() == b"logged"
        process.kill()
        process.wait()
        storage = take(path)
        assert storage.read(0, 6) == b"logged"
        assert storage.header.name == "events.1"
        storage.close()


def test_a_forked_child_neither_takes_nor_frees_it(directory: Path) -> None:
    storage = SpoolStorage.create(directory, HEADER)
    storage.append(b"x")
    [path] = entries(directory)

    def child() -> bool:
        taken = SpoolStorage.take(path)
        storage.close()
        return taken is None and SpoolStorage.take(path) is None

    assert in_child(child) == 0
    assert not taken_elsewhere(path)
    storage.append(b"y")
    assert path.read_bytes() == b"xy"
    storage.close()


def test_a_forked_child_can_hold_a_file_of_its_own_and_its_end_frees_it(directory: Path) -> None:
    storage = SpoolStorage.create(directory, HEADER)
    storage.append(b"parent")

    def child() -> bool:
        SpoolStorage.create(directory, replace(HEADER, log_id="log2")).append(b"child")
        return True

    assert in_child(child) == 0
    [parents, childs] = entries(directory)
    assert SpoolStorage.take(parents) is None
    of_child = take(childs)
    assert of_child.read(0, 5) == b"child"
    of_child.close()
    storage.close()


def test_a_log_id_is_used_once(directory: Path) -> None:
    storage = SpoolStorage.create(directory, HEADER)
    with pytest.raises(FileExistsError):
        SpoolStorage.create(directory, HEADER)
    storage.append(b"unharmed")
    [path] = entries(directory)
    assert not taken_elsewhere(path)
    storage.close()


def test_a_header_without_data_is_finished_and_removed(directory: Path) -> None:
    SpoolStorage.create(directory, HEADER).close()
    [path] = entries(directory)
    path.unlink()
    assert list(entries(directory)) == [path]
    assert SpoolStorage.take(path) is None
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "age", "kept"), [(b"", 3600, False), (b"", 0, True), (b"bytes", 3600, True)]
)
def test_data_without_a_header_is_removed_only_if_old_and_empty(
    data: bytes, age: float, kept: bool, directory: Path
) -> None:
    path = directory / "log9.tfevents"
    path.write_bytes(data)
    os.utime(path, (time.time() - age,) * 2)
    assert SpoolStorage.take(path) is None
    assert path.exists() is kept


def test_a_file_that_never_got_a_byte_is_removed(directory: Path) -> None:
    SpoolStorage.create(directory, HEADER).close()
    [path] = entries(directory)
    assert SpoolStorage.take(path) is None
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"format": 1}', '{"format": "x"}', "\xff", '{"format": 1, "log_id": "log1"'],
)
def test_a_header_that_is_none_is_told_and_everything_stays(text: str, directory: Path) -> None:
    storage = SpoolStorage.create(directory, HEADER)
    storage.append(b"x")
    storage.close()
    [path] = entries(directory)
    path.with_suffix(".json").write_bytes(text.encode("latin-1"))
    for _ in range(2):
        with pytest.raises(CorruptDataError, match=r"log1\.json"):
            SpoolStorage.take(path)
    assert path.read_bytes() == b"x"


def test_a_header_of_a_newer_format_is_for_a_newer_version(directory: Path) -> None:
    SpoolStorage.create(directory, HEADER).close()
    [path] = entries(directory)
    header = path.with_suffix(".json")
    header.write_text(json.dumps(json.loads(header.read_text()) | {"format": 2, "unheard": "of"}))
    with pytest.raises(CorruptDataError, match="format 2") as caught:
        SpoolStorage.take(path)
    assert "newer" in caught.value.hint


def test_a_header_with_more_than_we_know_is_read(directory: Path) -> None:
    SpoolStorage.create(directory, HEADER).close()
    header = directory / "log1.json"
    header.write_text(json.dumps(json.loads(header.read_text()) | {"unheard": "of"}))
    assert Header.load(header) == HEADER


def test_notes_that_can_not_be_written_are_no_error(directory: Path) -> None:
    storage = SpoolStorage.create(directory, HEADER)
    (directory / "log1.json").unlink()
    directory.rename(directory.with_name("moved"))
    storage.note(name="n")
    assert storage.header.name == "n"
    storage.append(b"x")
    assert storage.error is None
    storage.remove()


def test_entries_are_the_spooled_files_in_order(directory: Path) -> None:
    for name in ("b.tfevents", "b.json", "a.json", "c.tfevents", "a.tmp", "note.txt"):
        (directory / name).touch()
    assert [path.name for path in entries(directory)] == ["a.tfevents", "b.tfevents", "c.tfevents"]
    assert list(entries(directory / "nowhere")) == []
    assert list(entries(directory / "note.txt")) == []


@pytest.mark.parametrize("finished", [False, True])
def test_a_header_that_was_being_written_is_removed_with_its_file(directory: Path, finished: bool) -> None:
    """Its holder was killed between the new header and its taking the old one's place."""
    with holder(directory, b"data") as process:
        process.kill()
        process.wait()
    path = directory / "log1.tfevents"
    path.with_suffix(".tmp").write_text("{}")
    if finished:
        path.unlink()
        assert SpoolStorage.take(path) is None
    else:
        take(path).remove()
    assert list(directory.iterdir()) == []
