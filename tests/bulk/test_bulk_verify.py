"""``verify`` by processes says what ``verify`` says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tensorboard.compat.proto.event_pb2 import Event

from bucketboard.bulk.verify import verify_runs
from bucketboard.errors import InvalidError
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import crc32c, frame
from bucketboard.index import BucketObjects, update
from bucketboard.replication.log import State
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.runs.verify import verify
from bucketboard.source import BucketSource
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from promised import Place


def test_processes_find_what_one_finds(new_place: Callable[..., Place]) -> None:
    place = new_place("moto")
    encoder = ScalarEncoder()
    body = frame(file_version_event(1e9)) + b"".join(
        encoder.record("loss", step / 3, step, 1e9 + step) for step in range(50)
    )
    damaged = bytearray(body)
    damaged[200] ^= 1
    for run, data in (("a", body), ("b", bytes(damaged)), ("c/d", body)):
        key = f"exp/{run}/events.out.tfevents.1.host.1.0"
        place.client.put_object(Bucket=place.bucket, Key=key, Body=data)
    url, access = f"s3://{place.bucket}/exp", {"endpoint_url": place.proxy.url}
    expected = verify(url, **access)
    assert len(expected.findings) == 1
    for workers in (1, 2):
        found = verify_runs(url, workers=workers, **access)
        assert found.runs == expected.runs


def put(place: Place, key: str, log_id: str, image: int = 7, loss: float = 1.0) -> None:
    """A run of fifty scalars and a picture, as a writer of ours stores it."""
    encoder = ScalarEncoder()
    records = [
        encoder.record("loss", step * (loss if step == 20 else 1), step, 1e9 + step) for step in range(50)
    ]
    picture = Event(step=image, wall_time=1e9)
    picture.summary.value.add(tag="picture").image.encoded_image_string = b"png"
    body = frame(file_version_event(1e9)) + frame(picture.SerializeToString()) + b"".join(records)
    headers = ObjectMetadata(log_id, "w", len(body), crc32c(body), State.CLOSED).headers()
    place.client.put_object(Bucket=place.bucket, Key=key, Body=body, Metadata=headers)


def test_processes_compare_the_index(new_place: Callable[..., Place]) -> None:
    place = new_place("moto")
    keys = [f"exp/{run}/events.out.tfevents.1.host.1.0" for run in "abc"]
    for key in keys:
        put(place, key, key)
    url, access = f"s3://{place.bucket}/exp", {"endpoint_url": place.proxy.url}
    bucket = Bucket(place.bucket, Settings.resolve(**access))
    update(BucketSource(S3Url.parse(url), bucket), BucketObjects(bucket, "exp/"))
    assert verify_runs(url, **access).sound
    put(place, keys[1], keys[1], loss=2.0)  # as long as before, with the same end, under the same log id
    put(place, keys[2], keys[2], image=8)
    expected = verify(url, **access)
    assert [(finding.kind, finding.key) for finding in expected.findings] == [
        ("index", keys[1]),
        ("index", keys[2]),
    ]
    assert "'loss'" in expected.findings[0].message
    assert "'picture'" in expected.findings[1].message
    for workers in (1, 2):
        assert verify_runs(url, workers=workers, **access) == expected


def test_a_directory_is_refused(tmp_path: object) -> None:
    with pytest.raises(InvalidError, match="not in a bucket"):
        verify_runs(str(tmp_path))
