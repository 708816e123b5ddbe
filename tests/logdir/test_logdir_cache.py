"""A cache: what was put is there again, however the process ended; a bad one is done without."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bucketboard.logdir import cache as room
from bucketboard.logdir.cache import Cache, Row, default_path

ROW = Row(12, 345, 1_700_000_000_123_456_789, '"etag"', 300, 0xDEADBEEF, 290, "ab" * 16, "closed", True)
INTEGERS = st.integers(0, 2**63 - 1)
ROWS = st.builds(
    Row,
    INTEGERS,
    INTEGERS,
    INTEGERS,
    st.text(max_size=40),
    INTEGERS,
    st.integers(0, 2**32 - 1),
    INTEGERS,
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.sampled_from(["live", "rolled", "closed"]),
    st.booleans(),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cache.sqlite3"


def read(path: Path) -> dict[str, Row]:
    cache = Cache(path)
    cache.close()
    return cache.rows


STEPS = st.lists(st.tuples(st.text(max_size=5), st.none() | st.tuples(ROWS, st.booleans())), max_size=12)


@given(STEPS, STEPS)
@settings(max_examples=60)
def test_what_was_put_is_there_again(
    first: list[tuple[str, tuple[Row, bool] | None]], second: list[tuple[str, tuple[Row, bool] | None]]
) -> None:
    expected: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "c"
        for number, steps in enumerate((first, second)):
            cache = Cache(path)
            assert cache.found == (number > 0)
            assert cache.rows == expected
            for key, what in steps:
                if what is None:
                    cache.remove(key)
                    expected.pop(key, None)
                else:
                    cache.put(key, what[0], now=what[1])
                    expected[key] = what[0]
                assert cache.rows == expected
            cache.close()
            cache.close()
        assert read(path) == expected


def test_what_is_put_at_once_is_there_at_once(path: Path) -> None:
    cache = Cache(path)
    assert not cache.found
    cache.put("later", ROW)
    assert read(path) == {}
    cache.put("now", ROW, now=True)
    assert read(path) == {"later": ROW, "now": ROW}
    cache.remove("later")
    assert read(path) == {"later": ROW, "now": ROW}
    cache.close()
    assert read(path) == {"now": ROW}


def test_it_is_written_once_a_second(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(room.time, "monotonic", lambda: now)
    cache = Cache(path)
    for number in range(20):
        now += 0.26
        cache.put(str(number), ROW)
        assert len(read(path)) == (number + 1) // 4 * 4
    cache.close()


WRITER = """
import sys
from pathlib import Path
from bucketboard.logdir.cache import Cache, Row
cache = Cache(Path(sys.argv[1]))
number = 0
while True:
    cache.put(f"{number % 50}", Row(size=number, log_id="x" * 2000), now=number % 7 == 0)
    if number % 7 == 0:
        print(number, flush=True)
    number += 1
"""


def test_killed_it_loses_what_was_not_written_and_nothing_else(path: Path) -> None:
    least = 0
    for round_ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(20 + 7 * round_):
                least = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            least = max([least, *(int(line) for line in process.stdout if line.endswith("\n"))])
        rows = read(path)
        assert len(rows) == 50
        assert max(row.size for row in rows.values()) >= least
        assert all(row.size % 50 == int(key) for key, row in rows.items())
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def works(path: Path) -> None:
    """Begins anew, and keeps what is put from now on."""
    cache = Cache(path)
    assert cache.rows == {}
    cache.put("a", ROW, now=True)
    cache.close()
    assert read(path) == {"a": ROW}


def does_without(path: Path) -> None:
    """Holds rows in memory, and leaves the file alone."""
    before = path.read_bytes() if path.is_file() else None
    cache = Cache(path)
    cache.put("b", ROW, now=True)
    assert cache.rows["b"] == ROW
    cache.remove("b")
    cache.close()
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.fixture
def filled(path: Path) -> Path:
    cache = Cache(path)
    for number in range(300):
        cache.put(f"run{number}/{'x' * 50}", ROW)
    cache.close()
    return path


@pytest.mark.parametrize("data", [b"garbage", b"SQLite format 3\0" + b"\xff" * 5000, os.urandom(9000)])
def test_a_file_that_is_none_begins_anew(path: Path, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    works(path)


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert not Cache(path).found
    works(path)


def test_a_file_of_another_version_begins_anew(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as connection:
        connection.execute("PRAGMA user_version=99")
    cache = Cache(filled)
    assert not cache.found
    cache.close()
    works(filled)


@given(st.data())
@settings(max_examples=150)
def test_damage_anywhere_costs_rows_at_most(data: st.DataObject) -> None:
    """Rows that come back are of the right kind, and the next process has a cache that works."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "c"
        cache = Cache(path)
        for number in range(200):
            cache.put(f"run{number}/{'x' * 50}", ROW)
        cache.close()
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at : at + 30] = data.draw(st.binary(min_size=1, max_size=30))
        path.write_bytes(content[: data.draw(st.integers(1, len(content)) | st.just(len(content)))])
        cache = Cache(path)
        for key, row in cache.rows.items():
            check(key, row)
        for key in ("new", "run7/new"):
            cache.put(key, ROW, now=True)
            cache.put(f"{key} too", ROW)
            assert cache.rows[key] == ROW
        cache.close()
        for key, row in read(path).items():
            check(key, row)


def check(key: str, row: Row) -> None:
    key.encode()
    for number in (row.inode, row.size, row.mtime_ns, row.length, row.crc, row.whole):
        assert type(number) is int
        assert number >= 0
    assert type(row.etag) is type(row.log_id) is str
    assert row.state in ("live", "rolled", "closed")
    assert type(row.strays) is bool


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("size", "'many'"),
        ("size", "-1"),
        ("crc", "NULL"),
        ("etag", "5"),
        ("state", "'gone'"),
        ("length", "1.5"),
    ],
)
def test_rows_that_make_no_sense_are_left_out(filled: Path, column: str, value: str) -> None:
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.execute(f"UPDATE files SET {column} = {value} WHERE path LIKE 'run7/%'")
    rows = read(filled)
    assert len(rows) == 299
    assert not any(key.startswith("run7/") for key in rows)


def test_a_file_that_another_holds_is_done_without(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(
        room.sqlite3, "connect", lambda path, **options: connect(path, **{**options, "timeout": 0.05})
    )
    with closing(connect(filled, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        does_without(filled)
        other.execute("ROLLBACK")
    assert len(read(filled)) == 300


def test_a_file_that_is_held_while_it_is_written_is_done_without(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(
        room.sqlite3, "connect", lambda path, **options: connect(path, **{**options, "timeout": 0.05})
    )
    cache = Cache(filled)
    with closing(connect(filled, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        cache.put("a", ROW, now=True)
        other.execute("ROLLBACK")
    assert cache.rows["a"] == ROW
    cache.put("b", ROW, now=True)
    cache.close()
    assert len(read(filled)) == 300


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of somebody who may not write everywhere, as whom the test runs."""
    with tempfile.TemporaryDirectory() as name:
        root = os.geteuid() == 0
        if root:
            os.chmod(name, 0o755)
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


@pytest.mark.parametrize("what", ["file", "directory", "both"])
def test_where_nothing_may_be_written_it_is_done_without(unprivileged: Path, what: str) -> None:
    directory = unprivileged / "d"
    path = directory / "cache"
    cache = Cache(path)
    cache.put("a", ROW)
    cache.close()
    if what != "directory":
        path.chmod(0o400)
    if what != "file":
        directory.chmod(0o500)
    does_without(path)
    directory.chmod(0o500)
    does_without(directory / "other")
    does_without(directory / "deeper" / "other")
    directory.chmod(0o700)


def test_a_place_that_is_no_file_is_done_without(tmp_path: Path) -> None:
    does_without(tmp_path)
    (tmp_path / "file").touch()
    does_without(tmp_path / "file" / "cache")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(directory)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be made here: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_costs_the_cache_alone(small_disk: Path) -> None:
    path = small_disk / "cache"
    cache = Cache(path)
    cache.put("first", ROW, now=True)
    for number in range(3000):
        cache.put(f"run{number}", ROW, now=number % 100 == 0)
    cache.close()
    assert len(cache.rows) == 3001
    rows = read(path)
    assert "first" in rows
    assert len(rows) < 3001
    path.unlink()
    fill(small_disk / "filler")
    cache = Cache(small_disk / "other")
    cache.put("b", ROW, now=True)
    assert cache.rows == {"b": ROW}
    cache.close()


def fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_two_processes_at_once_both_go_on(path: Path) -> None:
    """Two replications of a directory to one place are a mistake, but not one that breaks their cache."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            for _ in range(60):
                assert writer.stdout.readline()
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    rows = read(path)
    assert len(rows) == 50
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_each_replication_has_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    places = {
        default_path("/runs", "", "s3://b/exp"),
        default_path("/runs", "http://minio", "s3://b/exp"),
        default_path("/runs", "", "s3://b/ex"),
        default_path("/run", "s", "s3://b/exp"),
        default_path("/caf\udce9", "", "s3://b/exp"),
    }
    assert len(places) == 5
    assert all(place.is_relative_to(tmp_path) for place in places)
