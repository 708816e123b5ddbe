"""A prefix of a bucket behind a proxy, filled with runs as writers leave them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bucketboard import EventFileWriter
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.index import BucketObjects, update
from bucketboard.source import BucketSource
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from promised import Place

NAME = "events.out.tfevents.1700000000.host.1.0"


@dataclass
class Experiment:
    """Runs below ``s3://<bucket>/exp``."""

    place: Place

    @property
    def url(self) -> str:
        return f"s3://{self.place.bucket}/exp"

    def run(self, name: str = "", **options: Any) -> EventFileWriter:
        return self.place.writer(f"{self.url}/{name}", spool=None, **options)

    def put(
        self, run: str, steps: int, state: str = "closed", user: str = "", tags: tuple[str, ...] = ("loss",)
    ) -> None:
        """A run's event file as a writer of ours leaves it: scalars ``run_number + step``."""
        encoder = ScalarEncoder()
        number = int("".join(filter(str.isdigit, run)) or 0)
        records = [
            encoder.record(tag, number + step, step, 1.7e9 + step) for step in range(steps) for tag in tags
        ]
        metadata = {
            "bucketboard-format": "1",
            "bucketboard-log": run.replace("/", "-"),
            "bucketboard-state": state,
            "bucketboard-user": user,
        }
        self.place.client.put_object(
            Bucket=self.place.bucket,
            Key=f"exp/{run}/{NAME}",
            Body=frame(file_version_event(1.7e9)) + b"".join(records),
            Metadata={name: value for name, value in metadata.items() if value},
        )

    def said(self, run: str) -> Any:
        """What ``bucketboard.json`` of a run holds."""
        return json.loads(self.place.get(f"exp/{run}/bucketboard.json"))

    def index(self) -> Any:
        bucket = Bucket(self.place.bucket, Settings.resolve(endpoint_url=self.place.proxy.url))
        url = S3Url.parse(self.url)
        return update(BucketSource(url, bucket), BucketObjects(bucket, url.prefix))

    def requests(self, call: Callable[[], Any]) -> tuple[Any, dict[str, int]]:
        """What a call gives, and the requests it made."""
        before = self.place.proxy.counts
        found = call()
        return found, dict((self.place.proxy.counts - before).requests)


@pytest.fixture
def experiment(new_place: Callable[..., Place], request: pytest.FixtureRequest) -> Iterator[Experiment]:
    """On moto, or on the server that the test is parametrized with."""
    place = new_place(getattr(request, "param", "moto"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUCKETBOARD_ENDPOINT_URL", place.proxy.url)
        yield Experiment(place)
