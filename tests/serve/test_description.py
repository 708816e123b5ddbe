"""TensorBoard tells what the writers said of their runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from viewing import Page, Store, event_file, eventually

from bucketboard import EventFileWriter
from bucketboard.index import BucketObjects, update
from bucketboard.source import BucketSource
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url


@pytest.mark.parametrize("indexed", [False, True])
def test_what_writers_say_is_the_experiments_description(
    store: Store, show: Callable[..., Page], indexed: bool
) -> None:
    for run, lr in (("a", 0.1), ("b", 0.2)):
        writer = EventFileWriter(
            f"{store.url}/{run}", metadata={"team": "vision", "lr": lr}, gather_metadata=False, spool=None
        )
        writer.add_scalar("loss", 1.0, 1, 1e9)
        writer.close()
    if indexed:
        bucket, url = Bucket(store.bucket, Settings.resolve()), S3Url.parse(store.url)
        assert update(BucketSource(url, bucket), BucketObjects(bucket, url.prefix)).files == 2
    page = show()
    eventually(page.runs, ["a", "b"])
    eventually(
        lambda: page.get("environment")["experiment_description"],
        "all runs: team=vision\na: lr=0.1\nb: lr=0.2",
    )


def test_where_nobody_says_anything_there_is_none(store: Store, show: Callable[..., Page]) -> None:
    store.put("a", event_file(1.0))
    page = show()
    eventually(page.runs, ["a"])
    assert page.get("environment")["experiment_description"] == ""
