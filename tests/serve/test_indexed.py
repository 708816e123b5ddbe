"""With an index a viewer shows the same and reads less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard import context
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.data.provider import RunTagFilter
from viewing import Store, event_file, records

from bucketboard.events.record import frame
from bucketboard.index import BucketObjects, local_index, update
from bucketboard.serve.catalog import Catalog
from bucketboard.serve.indexing import Indexing, keep_for_index
from bucketboard.serve.mount import Mount
from bucketboard.serve.provider import CatalogProvider, UnavailableNow
from bucketboard.source import BucketSource
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import Fault, FaultKind

Open = Callable[..., Catalog]


@pytest.fixture
def source(store: Store) -> BucketSource:
    url = S3Url.parse(store.url)
    return BucketSource(url, Bucket(url.bucket, Settings.resolve()))


@pytest.fixture
def publish(source: BucketSource) -> Callable[[], None]:
    def index() -> None:
        assert isinstance(source.bucket, Bucket)
        update(source, BucketObjects(source.bucket, source.url.prefix))

    return index


@pytest.fixture
def look(source: BucketSource) -> Iterator[Open]:
    catalogs = []

    def start(**options: Any) -> Catalog:
        mount = Mount(source)
        mount.list()
        catalog = Catalog([mount], **options)
        catalogs.append(catalog)
        catalog.refresh(listing=False)
        return catalog

    yield start
    for catalog in catalogs:
        catalog.close()


def everything(catalog: Catalog) -> dict[str, Any]:
    provider, ctx = CatalogProvider(catalog), context.RequestContext()
    names = provider.list_plugins(ctx, experiment_id="")
    found: dict[str, Any] = {
        "plugins": names,
        "runs": provider.list_runs(ctx, experiment_id=""),
    }
    for name in names:
        for kind in ("scalars", "tensors", "blob_sequences"):
            asked: dict[str, Any] = {"experiment_id": "", "plugin_name": name}
            found[f"list {name} {kind}"] = getattr(provider, f"list_{kind}")(ctx, **asked)
            found[f"read {name} {kind}"] = getattr(provider, f"read_{kind}")(ctx, **asked, downsample=1000)
    return found


def loss(catalog: Catalog, tag: str = "loss") -> dict[str, list[float]]:
    chosen = RunTagFilter(tags=[tag])
    read = CatalogProvider(catalog).read_scalars(
        context.RequestContext(),
        experiment_id="",
        plugin_name="scalars",
        downsample=10_000,
        run_tag_filter=chosen,
    )
    return {run: [datum.value for datum in tags[tag]] for run, tags in read.items()}


def texts(*values: bytes, first: int = 0) -> bytes:
    """Records of a text series, as TensorFlow 2 writes it: only the first has metadata."""
    out = b""
    for step, text in enumerate(values, first):
        value = Summary.Value(tag="note")
        value.tensor.dtype = 7
        value.tensor.tensor_shape.SetInParent()
        value.tensor.string_val.append(text)
        if step == 0:
            value.metadata.plugin_data.plugin_name = "text"
        event = Event(wall_time=9.0 + step, step=step, summary=Summary(value=[value]))
        out += frame(event.SerializeToString())
    return out


def test_it_shows_the_same(store: Store, publish: Callable[[], None], look: Open) -> None:
    store.put("run1", event_file(*range(1500)) + texts(b"a", b"b" * 2000, b"c"), log="one")
    store.put("run2", event_file(*range(20)))
    store.put("run2", event_file(*range(100, 120), first=10), number=2)
    publish()
    store.put("run1", event_file(*range(1500)) + texts(b"a", b"b" * 2000, b"c", b"d"), log="one")
    store.put("run2", event_file(*range(100, 125), first=10), number=2)
    store.put("run3", event_file(3.0))
    indexed = everything(look())
    store.delete("exp/.bucketboard/v1/manifest.json")
    assert indexed == everything(look())
    assert len(indexed["read scalars scalars"]["run1"]["loss"]) == 1000


def test_opening_reads_no_event_file(store: Store, publish: Callable[[], None], look: Open) -> None:
    for number in range(20):
        store.put(f"run{number}", event_file(*range(100)))
    publish()
    before = store.proxy.counts
    catalog = look()
    opened = (store.proxy.counts - before).requests
    assert opened["ListObjectsV2"] == 1
    assert opened["GetObject"] <= 3
    read = store.proxy.counts
    assert loss(catalog) == {f"run{number}": [float(value) for value in range(100)] for number in range(20)}
    assert (store.proxy.counts - read).requests["GetObject"] <= 3
    read = store.proxy.counts
    loss(catalog)
    catalog.refresh()
    assert (store.proxy.counts - read).requests == {"ListObjectsV2": 1}


def test_growth_before_and_after_the_points_are_asked_for(
    store: Store, publish: Callable[[], None], look: Open
) -> None:
    body = event_file(0.0, 1.0)
    store.put("run", body, log="one")
    publish()
    body += records(2.0, first=2)
    store.put("run", body, log="one")
    catalog = look()
    body += records(3.0, first=3)
    store.put("run", body, log="one")
    catalog.refresh()
    assert loss(catalog) == {"run": [0.0, 1.0, 2.0, 3.0]}
    body += records(4.0, first=4)
    store.put("run", body, log="one")
    catalog.refresh()
    assert loss(catalog) == {"run": [0.0, 1.0, 2.0, 3.0, 4.0]}


@pytest.mark.parametrize(("before", "after"), [("one", "other"), ("", "")])
def test_a_replaced_file_is_not_taken_from_the_index(
    store: Store, publish: Callable[[], None], look: Open, before: str, after: str
) -> None:
    store.put("run", event_file(1.0, 2.0), log=before)
    publish()
    store.put("run", event_file(7.0, 8.0, 9.0), log=after)
    assert loss(look()) == {"run": [7.0, 8.0, 9.0]}


def test_an_index_that_goes_while_it_is_used(store: Store, publish: Callable[[], None], look: Open) -> None:
    store.put("run1", event_file(1.0))
    store.put("run2", event_file(2.0))
    publish()
    catalog = look()
    for entry in store.client.list_objects_v2(Bucket=store.bucket, Prefix="exp/.bucketboard/")["Contents"]:
        store.delete(entry["Key"])
    assert loss(catalog) == {"run1": [1.0], "run2": [2.0]}
    assert everything(catalog)["plugins"] == ["scalars"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"format": 99}', b"\xff\xfe"])
def test_what_is_no_index_is_passed_over(store: Store, look: Open, body: bytes) -> None:
    store.put("run", event_file(1.0))
    store.client.put_object(Bucket=store.bucket, Key="exp/.bucketboard/v1/manifest.json", Body=body)
    assert loss(look()) == {"run": [1.0]}


def test_this_machine_s_own_index(
    store: Store, look: Open, source: BucketSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store.put("run", event_file(1.0, 2.0))
    update(source, local_index(source.identity, 1 << 20))
    before = store.proxy.counts
    assert loss(look(cache_size=1 << 20)) == {"run": [1.0, 2.0]}
    assert (store.proxy.counts - before).requests == {"ListObjectsV2": 1}


@pytest.mark.parametrize("publish_index", [True, False])
def test_what_was_read_whole_is_indexed_for_the_next_look(
    store: Store, source: BucketSource, look: Open, publish_index: bool
) -> None:
    for number in range(3):
        store.put(f"run{number}", event_file(*range(100)))
    mount = Mount(source)
    mount.list()
    kept = keep_for_index([mount], 1 << 20)
    catalog = Catalog([mount])
    catalog.refresh(listing=False)
    shown = everything(catalog)
    before = store.proxy.counts
    indexing = Indexing(kept, publish=publish_index, cache_size=1 << 20)
    indexing.start(delay=0)
    assert indexing.done.wait(30)
    catalog.close()
    # No event file is read for it once more.
    assert store.proxy.counts["GetObject"].requests - before["GetObject"].requests <= (
        3 if publish_index else 0
    )
    before = store.proxy.counts
    later = look(cache_size=1 << 20)
    assert (store.proxy.counts - before).requests.get("GetObject", 0) <= (3 if publish_index else 0)
    assert everything(later) == shown
    assert publish_index == any(".bucketboard/" in path for path in source.files())


def test_an_index_that_can_not_be_reached_for_now(
    store: Store, publish: Callable[[], None], look: Open
) -> None:
    store.put("run", event_file(1.0, 2.0))
    publish()
    catalog = look()
    fault = store.proxy.inject(Fault(FaultKind.STATUS, operation="GetObject"))
    with pytest.raises(UnavailableNow):
        loss(catalog)
    assert list(catalog.runs) == ["run"]
    fault.remove()
    assert loss(catalog) == {"run": [1.0, 2.0]}


def test_an_index_that_goes_while_nothing_else_can_be_read(
    store: Store, publish: Callable[[], None], look: Open
) -> None:
    store.put("run", event_file(1.0, 2.0))
    publish()
    catalog = look()
    for entry in store.client.list_objects_v2(Bucket=store.bucket, Prefix="exp/.bucketboard/")["Contents"]:
        store.delete(entry["Key"])
    fault = store.proxy.inject(Fault(FaultKind.STATUS, operation="GetObject", key="*tfevents*"))
    assert loss(catalog) == {}
    assert list(catalog.runs) == ["run"]
    fault.remove()
    catalog.refresh()
    assert loss(catalog) == {"run": [1.0, 2.0]}
