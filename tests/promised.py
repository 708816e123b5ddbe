"""What the tests of the promises share: a bucket behind a proxy, and a reader of event files of its own."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import google_crc32c
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

import bucketboard
from bucketboard import EventFileWriter
from bucketboard.errors import BucketboardError
from bucketboard.testing import FaultProxy, Gateway, Server

MIB = 1 << 20
SOURCE = Path(bucketboard.__file__).parents[1]
OPAQUE = bool(os.environ.get("OPAQUE_ETAGS"))
"""Whether every place is behind a gateway that signs anew and has ETags of its own: see `make opaque`."""
real_etags = pytest.mark.skipif(OPAQUE, reason="compares the server's own ETags")


def _masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def framed(payload: bytes) -> bytes:
    """The TFRecord of ``payload``."""
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", _masked(length)) + payload + struct.pack("<I", _masked(payload))


def records(data: bytes, offset: int = 0) -> Iterator[bytes]:
    """The payloads of an event file; fails on a torn or damaged record. Owes nothing to the package."""
    while offset < len(data):
        assert offset + 12 <= len(data), f"torn header at {offset} of {len(data)}"
        length, crc = struct.unpack_from("<QI", data, offset)
        assert crc == _masked(data[offset : offset + 8]), f"damaged length at {offset}"
        end = offset + 12 + length
        assert end + 4 <= len(data), f"torn record at {offset} of {len(data)}"
        payload = data[offset + 12 : end]
        assert struct.unpack_from("<I", data, end) == (_masked(payload),), f"damaged record at {offset}"
        yield payload
        offset = end + 4


def first_record(data: bytes) -> int:
    """The length of the record that opens an event file, which must be a ``file_version``."""
    opening = next(records(data))
    assert Event.FromString(opening).file_version == "brain.Event:2"
    return len(opening) + 16


def steps(data: bytes) -> list[int]:
    """The steps of an event file's events, without the record that opens it."""
    found = [Event.FromString(payload) for payload in records(data)]
    assert found[0].file_version == "brain.Event:2"
    return [event.step for event in found[1:]]


def blob(step: int, size: int, tag: str = "blob") -> bytes:
    """A serialised event of about ``size`` bytes that nothing can compress or confuse with another."""
    image = Summary.Image(height=1, width=1, colorspace=1, encoded_image_string=os.urandom(size))
    value = Summary.Value(tag=tag, image=image)
    return Event(wall_time=1e9 + step, step=step, summary=Summary(value=[value])).SerializeToString()


@dataclass
class Place:
    """A bucket on a server, behind a proxy of its own."""

    server: Server
    bucket: str
    proxy: FaultProxy
    client: Any
    errors: list[BucketboardError] = field(default_factory=list)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/exp/run"

    def writer(self, url: str | None = None, **options: Any) -> EventFileWriter:
        """A writer that reaches the bucket through the proxy and reports into ``errors``."""
        options = {"endpoint_url": self.proxy.url, "on_error": self._note, **options}
        return EventFileWriter(url or self.url, **options)

    def _note(self, error: BucketboardError) -> None:
        # What JuiceFS's gateway answers now and then when SQLite, where its keys are, is busy.
        if self.server.name != "juicefs" or "InvalidAccessKeyId" not in error.message:
            self.errors.append(error)

    def environ(self) -> dict[str, str]:
        """The environment of a process whose writer does the same."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("BUCKETBOARD_")}
        python = {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(Path(__file__).parent)])}
        return {**inherited, **python, **self.server.through(self.proxy.url).environ()}

    def start(self, script: Path, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """A Python process of its own."""
        command = [sys.executable, str(script), *map(str, arguments)]
        environ = {**self.environ(), **options.pop("environ", {})}
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True, **options)
        self.processes.append(process)
        return process

    def run(
        self, script: Path, *arguments: object, timeout: float = 120, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """A Python process of its own, ended."""
        command = [sys.executable, str(script), *map(str, arguments)]
        environ = {**self.environ(), **options.pop("environ", {})}
        return subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=timeout, **options
        )

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", ()))

    def event_keys(self, prefix: str = "") -> list[str]:
        return [key for key in self.keys(prefix) if "tfevents" in key]

    def get(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def head(self, key: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.head_object(Bucket=self.bucket, Key=key)
        return answer

    def files(self, prefix: str = "") -> list[bytes]:
        """The event files in the order of their names."""
        return [self.get(key) for key in self.event_keys(prefix)]

    def only(self) -> bytes:
        [data] = self.files()
        return data

    def steps(self, prefix: str = "") -> list[int]:
        """The steps of all event files in the order of their names."""
        return [step for data in self.files(prefix) for step in steps(data)]

    def payloads(self, prefix: str = "") -> list[bytes]:
        """The events of all event files, without the records that open them."""
        return [payload for data in self.files(prefix) for payload in records(data, first_record(data))]

    def uploads(self) -> list[str]:
        """The keys of the multipart uploads under way."""
        return [
            entry["Key"]
            for entry in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())
        ]

    def version_bytes(self) -> int:
        """The bytes of all stored versions."""
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket)
        return sum(entry["Size"] for page in pages for entry in page.get("Versions", ()))

    def kinds(self) -> list[type[BucketboardError]]:
        return [type(error) for error in self.errors]


def opaque_gateway(server: Server) -> Gateway:
    """One that knows everybody whom ``server`` knows."""
    known = [(server.access_key, server.secret_key), *server.identities.values()]
    return Gateway({access_key: (access_key, secret) for access_key, secret in known}, opaque=True)


@contextlib.contextmanager
def place(server: Server, *, versioned: bool = False, **options: Any) -> Iterator[Place]:
    """A new bucket on ``server``; ``options`` are the proxy's."""
    client = server.client()
    bucket = f"promise-{uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    if versioned:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    if OPAQUE:
        options.setdefault("gateway", opaque_gateway(server))
    with FaultProxy(server.endpoint, **options) as proxy:
        made = Place(server, bucket, proxy, client)
        try:
            yield made
        finally:
            for process in made.processes:
                process.kill()
                process.communicate()
            if server.name == "seaweedfs":
                _remove(client, bucket)
            client.close()


def _remove(client: Any, bucket: str) -> None:
    """SeaweedFS keeps volumes for each bucket, and has room for some thirty of them."""
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            version = {} if entry["VersionId"] == "null" else {"VersionId": entry["VersionId"]}
            client.delete_object(Bucket=bucket, Key=entry["Key"], **version)
    with contextlib.suppress(client.exceptions.ClientError):
        client.delete_bucket(Bucket=bucket)


def sent_bytes(proxy: FaultProxy) -> int:
    return proxy.counts.total.bytes_sent


__all__ = [
    "MIB",
    "Place",
    "blob",
    "first_record",
    "framed",
    "opaque_gateway",
    "place",
    "real_etags",
    "records",
    "sent_bytes",
    "steps",
]
