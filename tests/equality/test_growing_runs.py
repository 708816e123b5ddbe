"""Files that grow, begin and go while they are looked at: at every stage what the stock one tells."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from boards import ours, stock, unequal

from bucketboard.testing import Server

Written = Callable[[str], Path]


class Twins:
    """A directory and a prefix of a bucket with the same content."""

    def __init__(self, client: Any, bucket: str, directory: Path) -> None:
        self._client = client
        self._bucket = bucket
        self.directory = directory

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/exp"

    def put(self, path: str, body: bytes) -> None:
        """Replace the object; let the file grow as a writer does, under the reader's hands."""
        place = self.directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("ab") as file:
            file.write(body[file.tell() :])
        self._client.put_object(Bucket=self._bucket, Key=f"exp/{path}", Body=body)

    def remove(self, run: str) -> None:
        for path in (self.directory / run).rglob("*tfevents*"):
            key = f"exp/{path.relative_to(self.directory).as_posix()}"
            self._client.delete_object(Bucket=self._bucket, Key=key)
        shutil.rmtree(self.directory / run)


@pytest.fixture
def twins(moto_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Twins]:
    for name, value in moto_server.environ().items():
        monkeypatch.setenv(name, value)
    client = moto_server.client()
    bucket = f"growing-{uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    (tmp_path / "logs").mkdir()
    yield Twins(client, bucket, tmp_path / "logs")
    client.close()


@pytest.mark.slow
def test_every_stage_is_told_as_the_stock_one_tells_it(written: Written, twins: Twins) -> None:
    whole = {
        path.relative_to(written("torch")).as_posix(): path.read_bytes()
        for path in sorted(written("torch").rglob("*tfevents*"))
        if path.relative_to(written("torch")).parts[0] in ("all", "long", "restarted")
    }
    first, *rest = whole
    twins.put(first, whole[first][:5000])
    with stock(twins.directory) as expected, ours(twins.url) as found:
        assert unequal(expected, found, twins.directory) == ""
        # Cut at any byte: a record may be torn, and is told when it is whole.
        for share in (0.3, 0.61):
            for path in (first, *rest[::2]):
                twins.put(path, whole[path][: int(len(whole[path]) * share)])
            assert unequal(expected, found, twins.directory) == "", share
        for path, body in whole.items():
            twins.put(path, body)
        assert unequal(expected, found, twins.directory) == ""
        twins.remove("all")
        assert unequal(expected, found, twins.directory) == ""
