"""``verify`` by processes says what ``verify`` says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bucketboard.bulk.verify import verify_runs
from bucketboard.errors import InvalidError
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.runs.verify import verify
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


def test_a_directory_is_refused(tmp_path: object) -> None:
    with pytest.raises(InvalidError, match="not in a bucket"):
        verify_runs(str(tmp_path))
