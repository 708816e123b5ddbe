from __future__ import annotations

import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from viewing import NAME, Page, Store, event_file, eventually, records

from bucketboard.errors import BucketboardError, InvalidError, UnavailableError
from bucketboard.serve import serve
from bucketboard.testing import Fault, FaultKind

Show = Callable[..., Page]
ODD = "a b/run é+%25 [1]"


def test_runs_and_their_values(store: Store, show: Show) -> None:
    store.put("run1", event_file(0.5, 0.25, 1e-30))
    store.put(ODD, event_file(3.0))
    store.put("", event_file(7.0))
    page = show()
    eventually(page.runs, [".", ODD, "run1"])
    eventually(lambda: page.scalars("run1"), [0.5, 0.25, pytest.approx(1e-30)])
    eventually(lambda: page.scalars(ODD), [3.0])
    eventually(lambda: page.scalars("."), [7.0])


def test_what_is_written_meanwhile_appears(
    store: Store, show: Show, caplog: pytest.LogCaptureFixture
) -> None:
    page = show()
    assert "no event files" in caplog.text
    eventually(page.runs, [])
    body = event_file(0.0)
    store.put("run1", body)
    eventually(lambda: page.scalars("run1"), [0.0])
    for step in range(1, 4):
        body += records(float(step), first=step)
        store.put("run1", body)
        eventually(lambda: page.scalars("run1"), [float(value) for value in range(step + 1)])
    store.put("run1", event_file(4.0, first=4), number=2)
    eventually(lambda: page.scalars("run1"), [0.0, 1.0, 2.0, 3.0, 4.0])
    store.put("run2", event_file(5.0))
    eventually(page.runs, ["run1", "run2"])


def test_two_processes_that_write_to_one_run(store: Store, show: Show) -> None:
    one, other = event_file(1.0, tag="one"), event_file(2.0, tag="other")
    store.put("run1", one, number=1)
    store.put("run1", other, number=2)
    page = show()
    eventually(lambda: page.scalars("run1", "one") + page.scalars("run1", "other"), [1.0, 2.0])
    store.put("run1", one + records(3.0, tag="one", first=1), number=1)
    eventually(lambda: page.scalars("run1", "one"), [1.0, 3.0])
    store.put("run1", other + records(4.0, tag="other", first=1), number=2)
    eventually(lambda: page.scalars("run1", "other"), [2.0, 4.0])


def test_our_own_keys_are_not_runs(store: Store, show: Show) -> None:
    store.put(".bucketboard-trash/1/old", event_file(1.0))
    store.put("run1", event_file(1.0))
    store.put("run1/.bucketboard/x", event_file(1.0))
    page = show()
    eventually(page.runs, ["run1"])
    eventually(lambda: page.scalars("run1"), [1.0])
    assert page.runs() == ["run1"]


def test_a_deleted_run_goes_and_the_others_live_on(store: Store, show: Show) -> None:
    key = store.put("run1", event_file(1.0))
    store.put("run2", event_file(2.0))
    page = show()
    eventually(lambda: page.scalars("run1") + page.scalars("run2"), [1.0, 2.0])
    store.delete(key)
    eventually(page.runs, ["run2"])
    store.put("run2", event_file(2.0, 3.0))
    eventually(lambda: page.scalars("run2"), [2.0, 3.0])
    store.put("run1", event_file(4.0))
    eventually(lambda: page.scalars("run1"), [4.0])


def test_the_only_run_may_go(store: Store, show: Show) -> None:
    key = store.put("", event_file(1.0))
    page = show()
    eventually(lambda: page.scalars("."), [1.0])
    store.delete(key)
    eventually(page.runs, [])
    store.put("", event_file(2.0), number=2)
    eventually(lambda: page.scalars("."), [2.0])


def test_a_run_written_anew_shows_only_what_is_new(store: Store, show: Show) -> None:
    key = store.put("run1", event_file(1.0, 2.0, 3.0))
    page = show(reload_interval=0.3)
    eventually(lambda: page.scalars("run1"), [1.0, 2.0, 3.0])
    store.put("run1", event_file(9.0), number=2)
    store.delete(key)
    eventually(lambda: page.scalars("run1"), [9.0])


def test_a_key_deleted_after_the_listing(store: Store, show: Show) -> None:
    store.put("run1", event_file(1.0))
    store.put("run2", event_file(2.0))
    gone = store.proxy.inject(
        Fault(FaultKind.STATUS, operation="GetObject", key="*run1*", status=404, code="NoSuchKey")
    )
    page = show()
    eventually(lambda: page.scalars("run2"), [2.0])
    gone.wait_fired()
    gone.remove()
    eventually(lambda: page.scalars("run1"), [1.0])


def test_a_failed_listing_is_not_an_empty_bucket(
    store: Store, show: Show, caplog: pytest.LogCaptureFixture
) -> None:
    store.put("run1", event_file(1.0))
    page = show()
    eventually(lambda: page.scalars("run1"), [1.0])
    fault = store.proxy.inject(Fault(FaultKind.STATUS, operation="ListObjectsV2"))
    eventually(lambda: page.runs() and fault.fired >= 6, True)
    assert "the listing failed" in caplog.text
    assert page.scalars("run1") == [1.0]
    health = page.health()
    assert (health["ok"], health["runs"]) == (False, 1)
    assert "SlowDown" in health["trouble"]
    fault.remove()
    store.put("run2", event_file(2.0))
    eventually(page.runs, ["run1", "run2"])
    assert page.health()["ok"]
    assert caplog.text.count("the listing failed") == 1
    eventually(lambda: "everything can be read again" in caplog.text, True)


def test_a_bucket_that_is_down_comes_back(store: Store, show: Show, caplog: pytest.LogCaptureFixture) -> None:
    store.put("run1", event_file(1.0))
    page = show()
    eventually(lambda: page.scalars("run1"), [1.0])
    store.proxy.down()
    eventually(lambda: "the listing failed" in caplog.text, True)
    assert page.scalars("run1") == [1.0]
    store.proxy.up()
    store.put("run1", event_file(1.0, 2.0))
    eventually(lambda: page.scalars("run1"), [1.0, 2.0])


@pytest.mark.parametrize(
    "kind", [FaultKind.STATUS, FaultKind.RESET, FaultKind.TRUNCATE, FaultKind.LOST_REPLY]
)
def test_a_failed_read_is_read_later(store: Store, show: Show, kind: FaultKind) -> None:
    store.put("run1", event_file(*range(500)))
    store.put("run2", event_file(2.0))
    fault = store.proxy.inject(Fault(kind, operation="GetObject", key="*run1*"))
    page = show()
    eventually(lambda: page.scalars("run2"), [2.0])
    fault.wait_fired(2)
    fault.remove()
    eventually(lambda: page.scalars("run1"), [float(value) for value in range(500)])


def test_a_read_that_fails_amid_a_large_file_loses_nothing(
    store: Store, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bucketboard.serve.reading.CHUNK", 1000)
    store.put("run1", event_file(*range(400)))
    store.put("run1", event_file(400.0, first=400), number=2)
    fault = store.proxy.inject(Fault(FaultKind.STATUS, operation="GetObject", nth=5, times=3))
    page = show()
    fault.wait_fired(3)
    eventually(lambda: page.scalars("run1"), [float(value) for value in range(401)])


def test_objects_that_may_not_be_read_are_named(
    store: Store, show: Show, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("run1", "run2"):
        store.put(name, event_file(1.0))
    store.proxy.inject(Fault(FaultKind.STATUS, operation="GetObject", status=403, code="AccessDenied"))
    page = show()
    eventually(lambda: "2 of the files could not be read" in caplog.text, True)
    assert "s3:GetObject" in caplog.text
    listings = store.requests["ListObjectsV2"]
    eventually(lambda: page.runs() == [] and store.requests["ListObjectsV2"] > listings + 3, True)
    assert caplog.text.count("could not be read") == 1


def test_interval_0_reads_once(store: Store, show: Show) -> None:
    store.put("run1", event_file(1.0))
    page = show(reload_interval=0)
    eventually(lambda: page.scalars("run1"), [1.0])
    assert store.requests == {"ListObjectsV2": 1, "GetObject": 1}


def test_a_directory(tmp_path: Path, show: Show) -> None:
    run = tmp_path / "run1"
    run.mkdir()
    (run / NAME.format(1)).write_bytes(event_file(1.0))
    page = show(tmp_path)
    eventually(lambda: page.scalars("run1"), [1.0])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("s3://", "no bucket"),
        ("s3://no-such-bucket-here/exp", "NoSuchBucket"),
        ("gs://bucket/exp", "neither s3:// nor a directory"),
        ("/no/such/directory", "no such directory"),
    ],
)
def test_a_wrong_target_is_refused(store: Store, target: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        serve(target, port=0)


def test_a_prefix_that_may_not_be_listed(store: Store) -> None:
    store.proxy.inject(Fault(FaultKind.STATUS, operation="ListObjectsV2", status=403, code="AccessDenied"))
    with pytest.raises(InvalidError, match="s3:ListBucket"):
        serve(store.url, port=0)


def test_a_server_that_is_down(store: Store) -> None:
    store.proxy.down()
    with pytest.raises(UnavailableError, match="no connection"):
        serve(store.url, port=0)


@pytest.mark.parametrize(
    "options",
    [
        {"reload_interval": -1},
        {"colour": "red"},
        {"tensorboard_args": ["--logdir=x"]},
        {"tensorboard_args": ["--bind_all"]},
        {"tensorboard_args": ["--no-such-flag"]},
        {"host": "192.0.2.1"},
        {"port": 70000},
    ],
)
def test_a_wrong_option_is_refused_and_leaves_nothing(
    store: Store, show: Show, options: dict[str, object]
) -> None:
    with pytest.raises(BucketboardError):
        serve(store.url, **{"port": 0, **options})  # type: ignore[arg-type]
    show()


def test_a_taken_port(store: Store, show: Show, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidError, match="in use"):
            serve(store.url, port=port)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 6006))
            taken.listen()
        except OSError:
            logging.getLogger(__name__).info("6006 is taken by somebody else, which serves as well")
        page = show(port=None)
    assert page.server.port != 6006
    assert "port 6006 is taken" in caplog.text


def test_settings_reach_the_bucket(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = store.put("run1", event_file(1.0))
    store.client.put_object_acl(Bucket=store.bucket, Key=key, ACL="public-read")
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with serve(store.url, port=0, endpoint_url=store.proxy.url, unsigned=True, region="eu-west-1") as server:
        eventually(lambda: Page(server).scalars("run1"), [1.0])


def test_several_targets(store: Store, show: Show, tmp_path: Path) -> None:
    store.put("a/run1", event_file(1.0))
    store.put("b", event_file(2.0))
    (tmp_path / NAME.format(1)).write_bytes(event_file(3.0))
    page = show([f"one={store.url}/a", f"two={store.url}/b", f"three={tmp_path}"])
    eventually(page.runs, ["one/run1", "three/.", "two/."])
    assert page.scalars("two/.") == [2.0]
    assert page.scalars("three/.") == [3.0]


def test_only_some_runs(store: Store, show: Show) -> None:
    for name in ("resnet/a", "resnet/b", "vgg/a"):
        store.put(name, event_file(1.0))
    page = show(runs="^resnet")
    eventually(page.runs, ["resnet/a", "resnet/b"])
    assert store.requests == {"ListObjectsV2": store.requests["ListObjectsV2"], "GetObject": 2}


def test_the_same_prefix_twice(store: Store, show: Show) -> None:
    store.put("run1", event_file(1.0))
    one, other = show(), show()
    eventually(lambda: one.scalars("run1") + other.scalars("run1"), [1.0, 1.0])
    one.server.close()
    assert other.scalars("run1") == [1.0]


def test_close_ends_everything(store: Store) -> None:
    with serve(store.url, port=0, reload_interval=0.01) as server:
        assert not server.wait(0)
    assert server.wait(0)
    server.close()
    requests = store.requests
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.urlopen(server.url, timeout=5)
    assert store.requests == requests


def test_samples(store: Store, show: Show) -> None:
    store.put("run1", event_file(*range(2000)))
    assert len(show().scalars("run1")) == 1000
    assert len(show(samples_per_plugin={"scalars": 7}).scalars("run1")) == 7
    assert len(show(tensorboard_args=["--samples_per_plugin=scalars=0"]).scalars("run1")) == 2000
