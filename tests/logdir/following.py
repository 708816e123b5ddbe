"""A directory, a bucket behind a proxy, and followers that bring one to the other pass by pass."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bucketboard.errors import BucketboardError, FencedError
from bucketboard.events.record import crc32c, frame
from bucketboard.logdir.cache import Row
from bucketboard.logdir.follower import Follower, Outcome
from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.source import Source
from bucketboard.logdir.tree import Found
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.replication.replica import LogChanged
from bucketboard.replication.uploader import Target
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.capabilities import Capabilities
from bucketboard.store.settings import Settings
from bucketboard.testing import FaultProxy, Server

EVENTS = "run/events.out.tfevents.1"
MIB = 1 << 20


def records(count: int, size: int = 100, seed: int = 0) -> bytes:
    """Event records, each with a payload of its own."""
    return b"".join(frame((f"{seed}/{number}/".encode() * (size // 4 + 1))[:size]) for number in range(count))


def big(mib: int, seed: int = 0) -> bytes:
    """At least so many MiB of records."""
    return records(mib * 16, MIB // 16, seed)


@dataclass
class World:
    """``client`` goes past the proxy."""

    root: Path
    client: Any
    name: str
    proxy: FaultProxy
    server: Server
    can: Capabilities = field(default_factory=Capabilities)
    rows: dict[str, Row] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        settings = Settings(endpoint_url=self.proxy.url)
        return Target(Bucket(self.name, settings), "exp/", user={"who": "tests"})

    def put(self, path: str, data: bytes) -> None:
        at = self.root / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(data)

    def append(self, path: str, data: bytes) -> None:
        with open(self.root / path, "ab") as file:
            file.write(data)

    def local(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def stored(self, path: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=f"exp/{path}")["Body"].read()  # type: ignore[no-any-return]

    def metadata(self, path: str) -> ObjectMetadata:
        answer = self.client.head_object(Bucket=self.name, Key=f"exp/{path}")
        parsed = ObjectMetadata.parse({key.lower(): text for key, text in answer["Metadata"].items()})
        assert parsed is not None
        return parsed

    def uploads(self) -> list[str]:
        return [
            each["Key"] for each in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ())
        ]

    def foreign(self, path: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=f"exp/{path}", Body=data)

    def delete(self, path: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=f"exp/{path}")

    def check(self, path: str = EVENTS) -> None:
        """The object is the file, says so, and nothing else was left."""
        data = self.local(path)
        assert self.stored(path) == data
        metadata = self.metadata(path)
        assert (metadata.length, metadata.crc32c) == (len(data), crc32c(data))
        assert metadata.user == {"who": "tests"}
        assert self.uploads() == []

    def follower(self, path: str = EVENTS, *, row: bool = True, **options: Any) -> Follower:
        """As a new process would make it: what the bucket lists, and (``row``) what the cache has."""
        listed = {
            info.key: info
            for info in Bucket(self.name, Settings(endpoint_url=self.server.endpoint)).list("exp/").objects
        }

        def remember(row: Row, at_once: bool) -> None:
            self.rows[path] = row

        return Follower(
            self.target,
            SyncOptions(**options),
            self.can,
            self.rows.get(path) if row else None,
            listed.get(f"exp/{path}"),
            remember,
        )

    def blind(self, path: str = EVENTS) -> Follower:
        """As where listing is denied."""
        return Follower(
            self.target, SyncOptions(), self.can, None, ObjectInfo("", 0, ""), lambda row, at_once: None
        )

    def found(self, path: str = EVENTS) -> Found:
        return Found.of(path, os.stat(self.root / path))

    def once(self, follower: Follower, path: str = EVENTS, *, final: bool = False) -> Outcome:
        """One pass."""
        return follower.advance(Source(self.root, self.found(path)), final=final)

    def until_done(
        self, follower: Follower, path: str = EVENTS, *, final: bool = False
    ) -> tuple[Outcome, list[BucketboardError]]:
        """Passes until one succeeds, and the errors of the others."""
        errors: list[BucketboardError] = []
        while True:
            try:
                return self.once(follower, path, final=final), errors
            except (BucketboardError, LogChanged) as error:
                if isinstance(error, LogChanged | FencedError) or len(errors) == 5:
                    raise
                errors.append(error)

    def settle(self, path: str = EVENTS) -> None:
        """Let the file be older than a clock's tick."""
        status = os.stat(self.root / path)
        past = status.st_mtime_ns - 10_000_000_000
        os.utime(self.root / path, ns=(past, past))


@contextlib.contextmanager
def world(root: Path, server: Server, client: Any, name: str) -> Iterator[World]:
    """In a bucket that is there; leaves no objects."""
    root.mkdir()
    with FaultProxy(server.endpoint, record=True) as proxy:
        made = World(root, client, name, proxy, server)
        yield made
        for each in client.list_objects_v2(Bucket=name).get("Contents", ()):
            client.delete_object(Bucket=name, Key=each["Key"])
