"""What an object holds beside a local file, whoever uploaded it and with what."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bucketboard.events.record import crc32c
from bucketboard.logdir.compare import Stored, compare
from bucketboard.logdir.source import Source
from bucketboard.logdir.tree import Found
from bucketboard.replication.log import State
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.replication.position import Boundary
from bucketboard.replication.replica import LogChanged
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.settings import Settings
from bucketboard.testing import Server

MIB = 1 << 20
DATA = bytes(range(256)) * 40
BIN = Path(sys.executable).parent


def source(directory: Path, data: bytes = DATA) -> Source:
    path = directory / "file"
    path.write_bytes(data)
    return Source(directory, Found.of("file", path.stat()))


def compared(directory: Path, info: ObjectInfo, data: bytes = DATA) -> Stored:
    with source(directory, data) as opened:
        return compare(opened, info)


def ours(data: bytes, *, state: State = State.CLOSED, size: int | None = None) -> ObjectInfo:
    metadata = ObjectMetadata("log", "write", len(data), crc32c(data), state)
    return ObjectInfo("key", len(data) if size is None else size, '"tag"', metadata=metadata.headers())


@pytest.mark.parametrize("length", [0, 1, 5000, len(DATA)])
@pytest.mark.parametrize("state", list(State))
def test_an_object_of_ours_that_the_file_begins_with(tmp_path: Path, length: int, state: State) -> None:
    stored = compared(tmp_path, ours(DATA[:length], state=state))
    assert stored == Stored('"tag"', Boundary(length, 0, crc32c(DATA[:length])), "log", state)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (DATA + b"x", "the object has 10,241 bytes, the file 10,240"),
        (b"x" + DATA[1:], "the object's 10,240 bytes are not how the file begins"),
        (DATA[:99] + b"x", "the object's 100 bytes are not how the file begins"),
    ],
)
def test_an_object_of_ours_that_is_another(tmp_path: Path, data: bytes, why: str) -> None:
    stored = compared(tmp_path, ours(data))
    assert (stored.etag, stored.boundary, stored.replaces) == ('"tag"', Boundary(), why)
    assert (stored.state, stored.found_log) == (State.LIVE, "log")
    assert stored.log_id not in ("", "log")


def test_metadata_that_are_not_of_these_bytes_do_not_count(tmp_path: Path) -> None:
    """As when a tool changed an object and kept its metadata."""
    stored = compared(tmp_path, ours(DATA[:100], size=200))
    assert stored.replaces
    assert stored.found_log == ""


def test_a_file_that_is_shorter_now_is_refused(tmp_path: Path) -> None:
    opened = source(tmp_path)
    os.truncate(tmp_path / "file", 10)
    with opened, pytest.raises(LogChanged):
        compare(opened, ours(DATA))
    with opened, pytest.raises(LogChanged):
        compare(opened, ObjectInfo("key", 100, f'"{hashlib.md5(DATA[:100]).hexdigest()}"'))


@pytest.mark.parametrize(
    "etag",
    [
        "",
        '""',
        '"0123456789abcdef0123456789abcdef"',
        '"0123456789abcdef0123456789abcdef-1"',
        '"0123456789abcdef0123456789abcdef-0"',
        '"0123456789abcdef0123456789abcdef-99999"',
        '"7e4b-opaque/KMS+etag=="',
        hashlib.md5(DATA).hexdigest().upper(),
        '"W/"' + hashlib.md5(DATA).hexdigest(),
    ],
)
@pytest.mark.parametrize("size", [0, 1, len(DATA)])
def test_an_etag_that_tells_nothing_makes_it_another(tmp_path: Path, etag: str, size: int) -> None:
    """An object under KMS, for one: its ETag is no MD5."""
    stored = compared(tmp_path, ObjectInfo("key", size, etag))
    assert stored.replaces == f"the object's {size:,} bytes are not how the file begins"
    assert (stored.etag, stored.boundary) == (etag, Boundary())


def uploaded(server: Server, client: Any, name: str, how: str, path: Path) -> None:
    if how == "put":
        client.put_object(Bucket=name, Key="exp/file", Body=path.read_bytes())
        return
    if how == "boto3":
        client.upload_file(str(path), name, "exp/file")
        return
    command = {
        "aws": [str(BIN / "aws"), "--endpoint-url", server.endpoint, "s3", "cp", "--quiet"],
        "s5cmd": [str(BIN / "s5cmd"), "--endpoint-url", server.endpoint, "--log", "error", "cp"],
    }[how]
    if not Path(command[0]).exists():
        pytest.skip(f"{how} is not installed here")
    environ = {**os.environ, **server.environ()}
    subprocess.run([*command, str(path), f"s3://{name}/exp/file"], check=True, env=environ, timeout=100)


SIZES = {"put": [0, 3000], "boto3": [3000, 8 * MIB, 17 * MIB + 5], "aws": [3000, 17 * MIB + 5]}
SIZES["s5cmd"] = [0, 3000, 51 * MIB]


@pytest.mark.parametrize(("how", "size"), [(how, size) for how, sizes in SIZES.items() for size in sizes])
def test_what_other_tools_uploaded_is_known(
    server: Server, bucket: tuple[Any, str], tmp_path: Path, how: str, size: int
) -> None:
    client, name = bucket
    data = random.Random(size).randbytes(size)
    path = tmp_path / "uploaded"
    path.write_bytes(data)
    uploaded(server, client, name, how, path)
    info = Bucket(name, Settings(endpoint_url=server.endpoint)).head("exp/file")
    assert ("-" in info.etag) == (size > 8 * MIB or (how in ("boto3", "aws") and size == 8 * MIB))

    same = compared(tmp_path, info, data)
    assert not same.replaces
    assert same.boundary == Boundary(size, 0, crc32c(data))
    assert same.state is State.LIVE
    assert len(same.log_id) == 32
    grown = compared(tmp_path, info, data + b"more")
    assert not grown.replaces
    assert grown.boundary == same.boundary
    if size:
        other = bytearray(data)
        other[-1] ^= 1
        assert compared(tmp_path, info, bytes(other)).replaces
        assert compared(tmp_path, info, data[:-1]).replaces
    client.delete_object(Bucket=name, Key="exp/file")
