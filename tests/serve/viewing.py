"""Event files, the bucket they are put into, and the page that shows them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from bucketboard.events.record import frame
from bucketboard.serve import TensorBoardServer
from bucketboard.testing import FaultProxy

T = TypeVar("T")
NAME = "events.out.tfevents.{}.host.1.0"


def eventually(get: Callable[[], T], expected: T, timeout: float = 30.0) -> None:
    """Wait until ``get()`` gives what is expected."""
    deadline = time.monotonic() + timeout
    while (seen := get()) != expected:
        assert time.monotonic() < deadline, f"{seen!r} is not {expected!r} within {timeout:g} s"
        time.sleep(0.02)


def records(*values: float, tag: str = "loss", first: int = 0) -> bytes:
    """The records of a series from step ``first`` on."""
    events = (
        Event(
            wall_time=1.0 + step,
            step=step,
            summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]),
        )
        for step, value in enumerate(values, first)
    )
    return b"".join(frame(event.SerializeToString()) for event in events)


def event_file(*values: float, tag: str = "loss", first: int = 0) -> bytes:
    """An event file with one series."""
    start = frame(Event(wall_time=0.5, file_version="brain.Event:2").SerializeToString())
    return start + records(*values, tag=tag, first=first)


@dataclass
class Store:
    """A bucket: written to directly, read through the proxy."""

    client: Any
    bucket: str
    proxy: FaultProxy

    def put(self, run: str, body: bytes, number: int = 1, log: str = "") -> str:
        """Store an event file; with ``log`` as one that bucketboard wrote."""
        key = "/".join(part for part in ("exp", run, NAME.format(number)) if part)
        metadata = {"bucketboard-log": log} if log else {}
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=metadata)
        return key

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=key)

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/exp"

    @property
    def requests(self) -> dict[str, int]:
        return self.proxy.counts.requests


@dataclass
class Page:
    """What a browser is told."""

    server: TensorBoardServer

    def get(self, path: str, **query: str) -> Any:
        url = f"{self.server.url}data/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)

    def health(self) -> Any:
        """What /healthz says."""
        with urllib.request.urlopen(f"{self.server.url}healthz", timeout=30) as answer:
            return json.load(answer)

    def runs(self) -> list[str]:
        return sorted(self.get("runs"))

    def scalars(self, run: str, tag: str = "loss") -> list[float]:
        # The tag is not known before the run's first event is read.
        if tag not in self.get("plugin/scalars/tags").get(run, {}):
            return []
        try:
            return [value for _, _, value in self.get("plugin/scalars/scalars", run=run, tag=tag)]
        except urllib.error.HTTPError as error:
            if error.code != 404:  # the run was let go between the two questions, to be read anew
                raise
            return []
