"""With an index in the bucket, new or old, every answer is the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards import ours, stock, unequal

from bucketboard.store.url import S3Url
from bucketboard.testing import Server

Written = Callable[[str], Path]
Stored = Callable[[Path], str]


def index(url: str) -> None:
    subprocess.run([sys.executable, "-m", "bucketboard", "index", url], check=True, timeout=120)


def part_of(directory: Path, part: Path) -> Path:
    """A copy of all that had been written when every event file was half as long, torn at any byte."""
    for path in directory.rglob("*"):
        if path.is_file():
            body = path.read_bytes()
            copy = part / path.relative_to(directory)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(body[: len(body) // 2] if "tfevents" in path.name else body)
    return part


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "tensorboardX"])
def test_a_new_index(written: Written, stored: Stored, framework: str) -> None:
    directory = written(framework)
    url = stored(directory)
    index(url)
    with stock(directory) as expected, ours(url) as found:
        assert unequal(expected, found, directory) == ""


def test_an_old_index(written: Written, stored: Stored, moto_server: Server, tmp_path: Path) -> None:
    """Made when the files were half as long; they have grown since then."""
    directory = written("torch")
    url = stored(part_of(directory, tmp_path / "part"))
    index(url)
    put_all(moto_server.client(), S3Url.parse(url), directory)
    with stock(directory) as expected, ours(url) as found:
        assert unequal(expected, found, directory) == ""


def put_all(client: Any, url: S3Url, directory: Path) -> None:
    for path in directory.rglob("*tfevents*"):
        key = f"{url.prefix}{path.relative_to(directory).as_posix()}"
        client.put_object(Bucket=url.bucket, Key=key, Body=path.read_bytes())
    client.close()


@pytest.mark.slow
def test_an_index_of_doubles(written: Written, stored: Stored) -> None:
    directory = written("doubles")
    url = stored(directory)
    index(url)
    with stock(directory, fast=False) as expected, ours(url) as found:
        assert unequal(expected, found, directory) == ""


@pytest.mark.frameworks
@pytest.mark.timeout(400)
def test_an_index_of_what_tensorflow_wrote(
    written_by_tensorflow: Callable[[str], Path], stored: Stored, tmp_path: Path, moto_server: Server
) -> None:
    directory = written_by_tensorflow("all")
    url = stored(part_of(directory, tmp_path / "part"))
    index(url)
    put_all(moto_server.client(), S3Url.parse(url), directory)
    with stock(directory) as expected, ours(url) as found:
        assert unequal(expected, found, directory) == ""
