"""What the tests of changes share: runs in a bucket, what readers see of them, every byte that is stored."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

from bucketboard.errors import InvalidError
from bucketboard.events.record import crc32c, frame
from bucketboard.replication.log import State
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.runs.listing import list_runs
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import Server

EVENTS = "events.out.tfevents.1700000000.host.1.0"
SECOND = "events.out.tfevents.1700000001.host.1.0"

COMMAND = """
import sys
import bucketboard
name, endpoint, *arguments = sys.argv[1:]
options = {"keep_last": 1} if name == "prune" else {}
getattr(bucketboard, name)(*arguments, **options, endpoint_url=endpoint)
"""


class Runs:
    """A bucket with runs, written to and looked at behind the package's back."""

    def __init__(self, server: Server, client: Any, bucket: str) -> None:
        self.server = server
        self.client = client
        self.bucket = bucket

    def url(self, path: str) -> str:
        return f"s3://{self.bucket}/{path}"

    def put(self, key: str, body: bytes, *, state: State = State.CLOSED, tags: str = "") -> None:
        """Store an object as a writer of ours does."""
        headers = ObjectMetadata(
            f"log-{key.rpartition('/')[2]}", "w", len(body), crc32c(body), state
        ).headers()
        more = {"Tagging": tags} if tags else {}
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=headers, **more)

    def fill(self, prefix: str, names: str, **options: Any) -> dict[str, bytes]:
        """Runs of three files each, whose bytes nothing confuses with others; by key."""
        made = {}
        for name in names.split():
            for file in (EVENTS, SECOND, "hparams.yaml"):
                key = f"{prefix}/{name}/{file}"
                made[key] = frame(key.encode() * 3)
                self.put(key, made[key], **options)
        return made

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """All objects, by key."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        try:
            return {key: self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}
        except self.client.exceptions.NoSuchKey:
            return self.objects(prefix)  # the last request of a killed command arrived meanwhile

    def shown(self, url: str = "") -> Counter[bytes]:
        """What readers that list ``url`` see: the bytes of the runs' files, with how often they do."""
        bucket = Bucket(self.bucket, Settings(endpoint_url=self.server.endpoint))
        place = S3Url.parse(url or self.url(""))
        try:
            runs = list_runs(bucket, place)
        except InvalidError:
            return Counter()
        stored = self.objects(place.prefix)
        keys = [info.key for run in runs.values() for info in run.objects]
        return Counter(stored[key] for key in keys) if stored.keys() >= set(keys) else self.shown(url)


def start(name: str, endpoint: str, *arguments: str) -> subprocess.Popen[bytes]:
    """One of the functions in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, name, endpoint, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
