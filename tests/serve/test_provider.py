"""Values that are read from their files when they are asked for."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tensorboard import context, errors
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.data.provider import RunTagFilter
from viewing import Store, event_file

from bucketboard.events.record import frame
from bucketboard.serve.catalog import Catalog
from bucketboard.serve.mount import Mount
from bucketboard.serve.provider import CatalogProvider, UnavailableNow
from bucketboard.source import BucketSource
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import Fault, FaultKind

CTX = context.RequestContext()


@pytest.fixture
def catalog(store: Store) -> Iterator[Catalog]:
    url = S3Url.parse(store.url)
    catalog = Catalog([Mount(BucketSource(url, Bucket(url.bucket, Settings.resolve())))])
    yield catalog
    catalog.close()


@pytest.fixture
def provider(catalog: Catalog) -> CatalogProvider:
    return CatalogProvider(catalog)


def images(*contents: bytes) -> bytes:
    values = (
        Summary.Value(tag="cat", image=Summary.Image(height=2, width=3, encoded_image_string=content))
        for content in contents
    )
    events = (
        Event(step=step, wall_time=5.0, summary=Summary(value=[value])) for step, value in enumerate(values)
    )
    return b"".join(frame(event.SerializeToString()) for event in events)


def histograms(count: int) -> bytes:
    out = b""
    for step in range(count):
        histogram = HistogramProto(min=-1, max=step + 2, bucket_limit=[0, 1.0, 9.0], bucket=[1, 2, step])
        value = Summary.Value(tag="weights", histo=histogram)
        event = Event(step=step, wall_time=7.0, summary=Summary(value=[value]))
        out += frame(event.SerializeToString())
    return out


def blobs(provider: CatalogProvider) -> list[Any]:
    read = provider.read_blob_sequences(CTX, experiment_id="e", plugin_name="images", downsample=10)
    found: list[Any] = read.get("run", {}).get("cat", [])
    return found


def weights(provider: CatalogProvider) -> list[Any]:
    read = provider.read_tensors(
        CTX,
        experiment_id="e",
        plugin_name="histograms",
        downsample=1000,
        run_tag_filter=RunTagFilter(["run", "none"], ["weights", "none"]),
    )
    found: list[Any] = read["run"]["weights"]
    return found


def test_blobs_are_read_by_their_keys(store: Store, catalog: Catalog, provider: CatalogProvider) -> None:
    store.put("run", event_file(1.0) + images(b"one", b"two"))
    catalog.refresh()
    listed = provider.list_blob_sequences(CTX, experiment_id="e", plugin_name="images")
    assert listed["run"]["cat"].max_length == 3
    before = store.proxy.counts
    found = blobs(provider)
    assert store.proxy.counts.requests == before.requests
    assert [datum.step for datum in found] == [0, 1]
    keys = [value.blob_key for value in found[1].values]
    assert [provider.read_blob(CTX, blob_key=key) for key in keys] == [b"3", b"2", b"two"]
    # The record was read once, and it alone.
    used = (store.proxy.counts - before)["GetObject"]
    assert used.requests == 1
    assert used.bytes_received < 100


@pytest.mark.parametrize(
    "key",
    [
        "",
        "?",
        "AAAA",
        ["e", "images", "run", "cat", 0],
        ["e", "images", "run", "cat", 0, 3],
        ["e", "images", "run", "cat", 0, -1],
        ["e", "images", "run", "cat", 7, 0],
        ["e", "images", "run", "loss", 0, 0],
        ["e", "images", "../other", "cat", 0, 0],
        ["e", "images", ["run"], "cat", 0, 0],
        ["e", "images", "run", "cat", "0", 0],
        {"run": 1},
        5,
    ],
)
def test_no_other_key_reads_anything(
    store: Store, catalog: Catalog, provider: CatalogProvider, key: Any
) -> None:
    store.put("run", event_file(1.0) + images(b"one"))
    catalog.refresh()
    before = store.proxy.counts
    text = key if isinstance(key, str) else base64.urlsafe_b64encode(json.dumps(key).encode()).decode()
    with pytest.raises(errors.NotFoundError):
        provider.read_blob(CTX, blob_key=text)
    assert (store.proxy.counts - before)["GetObject"].bytes_received < 200


def test_neighbouring_values_are_read_at_once(
    store: Store, catalog: Catalog, provider: CatalogProvider
) -> None:
    store.put("run", event_file(1.0) + histograms(50))
    catalog.refresh()
    before = store.proxy.counts
    found = weights(provider)
    assert np.array_equal(found[3].numpy, [[-1, 0, 1], [0, 1, 2], [1, 5, 3]])
    assert found[3].numpy.dtype == np.float64
    assert len(found) == 50
    assert (store.proxy.counts - before).requests == {"GetObject": 1}
    weights(provider)
    assert (store.proxy.counts - before).requests == {"GetObject": 1}


def test_a_bucket_that_does_not_answer_is_said(
    store: Store, catalog: Catalog, provider: CatalogProvider
) -> None:
    store.put("run", histograms(5))
    catalog.refresh()
    fault = store.proxy.inject(Fault(FaultKind.STATUS, operation="GetObject"))
    with pytest.raises(UnavailableNow, match="SlowDown"):
        weights(provider)
    fault.remove()
    assert len(weights(provider)) == 5


def test_a_file_replaced_under_the_reader_shows_nothing_wrong(
    store: Store, catalog: Catalog, provider: CatalogProvider
) -> None:
    store.put("run", event_file(1.0) + histograms(5), log="one")
    catalog.refresh()
    store.put("run", event_file(*range(20)) + histograms(7), log="two")
    assert weights(provider) == []
    catalog.refresh()
    assert len(weights(provider)) == 7


def test_memory_for_values_is_bounded(store: Store, catalog: Catalog) -> None:
    catalog.records._limit = 10_000
    store.put("run", images(*(bytes([number]) * 1000 for number in range(10))))
    catalog.refresh()
    provider = CatalogProvider(catalog)
    keys = [datum.values[2].blob_key for datum in blobs(provider)]
    for key in [*keys, *keys]:
        provider.read_blob(CTX, blob_key=key)
        assert catalog.records._size <= 10_000
    catalog.records.forget({catalog.runs["run"]})
    assert catalog.records._size == 0


def test_downsample_is_asked_for(catalog: Catalog, provider: CatalogProvider) -> None:
    with pytest.raises(TypeError, match="downsample"):
        provider.read_scalars(CTX, experiment_id="e", plugin_name="scalars")


def test_hyperparameters_come_from_the_plugin_s_own_tags(provider: CatalogProvider) -> None:
    listed = provider.list_hyperparameters(CTX, experiment_ids=["e"])
    assert (listed.hyperparameters, listed.session_groups) == ([], [])
    assert provider.read_hyperparameters(CTX, experiment_ids=["e"]) == []
