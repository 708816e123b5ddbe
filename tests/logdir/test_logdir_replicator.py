"""A replicator's last pass and its deletions, where the directory is not as it was."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bucketboard.events.record import frame
from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.replicator import Replicator
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import Server

Make = Callable[..., Replicator]


@pytest.fixture
def directory() -> Iterator[Path]:
    """Of somebody who may not read everything, as whom the test runs."""
    with tempfile.TemporaryDirectory() as name:
        root = os.geteuid() == 0
        if root:
            os.chmod(name, 0o755)
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            path = Path(name) / "runs"
            path.mkdir()
            yield path
        finally:
            if root:
                os.seteuid(0)


@pytest.fixture
def make(server: Server, bucket: tuple[Any, str], directory: Path) -> Make:
    def made(**options: Any) -> Replicator:
        return Replicator(
            directory,
            S3Url.parse(f"s3://{bucket[1]}/exp"),
            SyncOptions(upload_every=0.05, settle=0.05, cache=directory.parent / "cache", **options),
            Settings(endpoint_url=server.endpoint),
        )

    return made


@pytest.fixture
def keys(bucket: tuple[Any, str]) -> Iterator[Callable[[], list[str]]]:
    client, name = bucket

    def listed() -> list[str]:
        return [each["Key"] for each in client.list_objects_v2(Bucket=name).get("Contents", ())]

    yield listed
    for key in listed():
        client.delete_object(Bucket=name, Key=key)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


moto_too = pytest.mark.parametrize("server", ["moto"], indirect=True)


@moto_too
@pytest.mark.parametrize("closed", [True, False])
def test_a_file_that_vanished_beside_what_can_not_be_read_holds_nobody_up(
    make: Make, directory: Path, keys: Callable[[], list[str]], closed: bool
) -> None:
    """The last pass is over with what is there, and does not wait out its patience."""
    (directory / "private").mkdir()
    (directory / "private" / "a").write_bytes(b"x")
    (directory / "b").write_bytes(b"x")
    (directory / "c").write_bytes(b"x")
    replicator = make(patience=1e9)
    replicator.start()
    wait_for(lambda: len(keys()) == 3)
    (directory / "b").unlink()
    if closed:
        (directory / "private").chmod(0)
    report = replicator.finish(timeout=100)
    (directory / "private").chmod(0o700)
    assert [path for path, _ in report.failed] == (["private"] if closed else [])
    assert report.seconds < 90


@moto_too
@pytest.mark.parametrize("live", [True, False])
def test_a_directory_that_is_not_there_deletes_nothing(
    make: Make, directory: Path, keys: Callable[[], list[str]], live: bool
) -> None:
    """It may be on a disk that is not mounted, or a command may not have begun to write."""
    (directory / "a").write_bytes(b"x")
    assert make().finish().complete
    directory.rename(directory.parent / "elsewhere")
    replicator = make(delete=True)
    if live:
        replicator.start()
    report = replicator.finish()
    assert report.deleted == 0
    assert keys() == ["exp/a"]
    assert [path for path, _ in report.refused] == [""]


@moto_too
def test_a_directory_that_goes_away_while_it_is_followed_deletes_nothing(
    make: Make, directory: Path, keys: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bucketboard.logdir import replicator as room

    monkeypatch.setattr(room, "_SCAN_EVERY", 0.05)
    (directory / "a").write_bytes(b"x")
    replicator = make(delete=True)
    replicator.start()
    wait_for(lambda: keys() == ["exp/a"])
    scans = 0
    scan = replicator._tree.scan

    def counted() -> Any:
        nonlocal scans
        scans += 1
        return scan()

    replicator._tree.scan = counted  # type: ignore[method-assign]
    shutil.rmtree(directory)
    wait_for(lambda: scans >= 5)
    assert keys() == ["exp/a"]
    report = replicator.finish()
    assert keys() == ["exp/a"]
    assert report.deleted == 0


@moto_too
def test_a_file_below_a_link_that_changes_in_the_last_moment_is_sent(
    make: Make, directory: Path, bucket: tuple[Any, str]
) -> None:
    (directory / "real").mkdir()
    (directory / "real" / "config.json").write_bytes(b"{}")
    (directory / "linked").symlink_to("real")
    replicator = make()
    scan = replicator._tree.scan

    def changed_since() -> Any:
        found = scan()
        (directory / "real" / "config.json").write_bytes(b"{'changed': 'since'}")
        return found

    replicator._tree.scan = changed_since  # type: ignore[method-assign]
    report = replicator.finish()
    assert report.complete, report.failed
    client, name = bucket
    for path in ("real", "linked"):
        body = client.get_object(Bucket=name, Key=f"exp/{path}/config.json")["Body"].read()
        assert body == b"{'changed': 'since'}"


@moto_too
def test_failures_of_before_do_not_count_at_the_end(
    make: Make, directory: Path, keys: Callable[[], list[str]]
) -> None:
    """A file that was never still while it was followed is, now that its writer has ended."""
    (directory / "a").write_bytes(b"x")
    replicator = make()
    replicator.start()
    wait_for(lambda: keys() == ["exp/a"])
    [entry] = list(replicator._agenda)
    for _ in range(9):
        entry.backoff.failed(time.monotonic())
    (directory / "a").write_bytes(b"longer")
    scan = replicator._tree.scan

    def changed_since() -> Any:
        found = scan()
        if replicator._final:
            (directory / "a").write_bytes(b"longer still")
        return found

    replicator._tree.scan = changed_since  # type: ignore[method-assign]
    report = replicator.finish()
    assert report.complete, report.failed


@moto_too
def test_a_pass_before_the_last_look_is_not_the_last(
    make: Make, directory: Path, bucket: tuple[Any, str], keys: Callable[[], list[str]]
) -> None:
    """One may come due between the end of the following and the look at what is there at the end."""
    path = directory / "events.out.tfevents.1"
    path.write_bytes(frame(b"one"))
    replicator = make()
    replicator._polling = True  # nobody else tells of the change
    replicator.start()
    wait_for(lambda: keys() != [] or replicator._agenda.entries != {})
    scan = replicator._tree.scan

    def slowly() -> Any:
        if replicator._final:
            path.write_bytes(frame(b"one") + frame(b"two"))
            [entry] = list(replicator._agenda)
            wait_for(lambda: not entry.busy)
            before = entry.last_start
            replicator._inbox.put(lambda: replicator._agenda.plan(entry, time.monotonic()))
            wait_for(lambda: entry.last_start > before and not entry.busy)
        return scan()

    replicator._tree.scan = slowly  # type: ignore[method-assign]
    report = replicator.finish()
    assert report.complete, report.failed
    client, name = bucket
    body = client.get_object(Bucket=name, Key=keys()[0])["Body"].read()
    assert body == frame(b"one") + frame(b"two")
