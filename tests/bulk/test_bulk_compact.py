"""Compacting by several processes: the same as by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import bucketboard
from promised import Place, blob, framed


@pytest.mark.slow
def test_two_processes(new_place: Callable[..., Place]) -> None:
    place = new_place("seaweedfs")
    wanted = {}
    for run in ("a", "b", "c"):
        data = [framed(blob(step, 50)) for step in range(3)]
        for step, body in enumerate(data):
            key = f"exp/{run}/events.out.tfevents.{step:010}.host.1.0"
            place.client.put_object(Bucket=place.bucket, Key=key, Body=body)
        wanted[run] = b"".join(data)
    results = bucketboard.compact(
        f"s3://{place.bucket}/exp", workers=2, force=True, endpoint_url=place.proxy.url
    )
    assert [(each.run, each.before, each.after, each.error) for each in results] == [
        (run, 3, 1, "") for run in wanted
    ]
    assert {run: place.get(place.event_keys(f"exp/{run}/")[0]) for run in wanted} == wanted
