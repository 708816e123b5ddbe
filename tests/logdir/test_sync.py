"""A directory brought over once: what arrives, and what it costs in requests and bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from logdirs import NAME, OPENING, age, append, event_file, framed, in_bucket, on_disk, write

from bucketboard import EventFileWriter, IncompleteError, InvalidError, SyncReport, sync
from bucketboard.index import BucketObjects, Index
from bucketboard.logdir import replicator
from bucketboard.logdir.publish import publish_index
from bucketboard.logdir.report import SyncEvent
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.testing import Fault, FaultKind
from promised import MIB, Place, real_etags, records


@pytest.fixture
def place(new_place: Callable[..., Place]) -> Place:
    return new_place()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def go(place: Place, root: Path, **options: object) -> SyncReport:
    options = {"endpoint_url": place.proxy.url, **options}
    return sync(root, f"s3://{place.bucket}/exp", **options)  # type: ignore[arg-type]


def spent(place: Place, root: Path, **options: object) -> tuple[dict[str, int], int, SyncReport]:
    """Requests by operation, bytes sent, and the report."""
    before = place.proxy.counts
    report = go(place, root, **options)
    used = place.proxy.counts - before
    assert report.requests == used.total.requests
    return used.requests, used.total.bytes_sent, report


def mixed(root: Path) -> None:
    write(root / "a" / NAME.format(1), event_file(200_000))
    write(root / "a" / NAME.format(2), event_file(30_000))
    write(root / "b/deep/er" / NAME.format(1), event_file(7 * MIB))
    write(root / "b/projector_config.pbtxt", b"embeddings {}\n")
    write(root / "b/plugins/profile/2026/host.xplane.pb", os.urandom(40 * MIB))
    write(root / "empty.txt", b"")
    write(root / "ünï cödé %41+&?#.txt", b"x")


@pytest.mark.parametrize("server", ["seaweedfs", "moto", "juicefs", "rclone"])
def test_the_bucket_equals_the_directory(new_place: Callable[..., Place], root: Path, server: str) -> None:
    place = new_place(server)
    mixed(root)
    report = go(place, root)
    assert in_bucket(place) == on_disk(root)
    assert (report.files, report.unchanged, report.failed) == (7, 0, [])
    append(root / "b/deep/er" / NAME.format(1), framed(b"more"))
    append(root / "a" / NAME.format(2), framed(b"more"))
    write(root / "b/projector_config.pbtxt", b"embeddings { tensor_name: 'x' }\n")
    report = go(place, root)
    assert in_bucket(place) == on_disk(root)
    assert (report.files, report.unchanged) == (3, 4)
    assert place.uploads() == [] or server == "rclone"


def test_metadata_tells_length_checksum_and_state(place: Place, root: Path) -> None:
    mixed(root)
    go(place, root, metadata={"team": "vision"})
    for key in place.keys("exp/"):
        metadata = place.head(key)["Metadata"]
        assert metadata["bucketboard-length"] == str(len(place.get(key)))
        assert (metadata["bucketboard-state"], metadata["bucketboard-user"]) == ("closed", "team=vision")


def test_what_is_unchanged_costs_a_listing(place: Place, root: Path) -> None:
    for number in range(1, 1201):
        write(root / f"run{number}" / NAME.format(1), OPENING)
    go(place, root)
    assert spent(place, root)[:2] == ({"ListObjectsV2": 2}, 0)
    shutil.rmtree(os.environ["XDG_CACHE_HOME"])
    requests, sent, report = spent(place, root)
    assert requests == {"ListObjectsV2": 2, "ListMultipartUploads": 1, "HeadObject": 1200}
    assert (sent, report.unchanged) == (0, 1200)
    assert spent(place, root)[:2] == ({"ListObjectsV2": 2}, 0)


def test_with_checksum_every_object_is_looked_at(place: Place, root: Path) -> None:
    path = write(root / "a" / NAME.format(1), event_file(1000))
    go(place, root)
    changed = bytearray(path.read_bytes())
    changed[-10] ^= 1
    times = path.stat()
    path.write_bytes(changed)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert go(place, root).files == 0  # nothing that a look at the directory could tell has changed
    report = go(place, root, checksum=True)
    assert [path for path, _ in report.replaced] == [f"a/{NAME.format(1)}"]
    assert in_bucket(place) == on_disk(root)


def test_what_was_appended_is_all_that_travels(place: Place, root: Path) -> None:
    """10 KB more in each of several files of 6 MB, by growing the objects inside S3."""
    names = [write(root / f"run{number}" / NAME.format(1), event_file(6 * MIB)) for number in range(5)]
    go(place, root)
    append(names[0], framed(b"the first append finds out whether the server heeds conditions"))
    go(place, root)
    for name in names:
        append(name, framed(os.urandom(10_000)))
    requests, sent, _ = spent(place, root)
    assert in_bucket(place) == on_disk(root)
    assert sent < 5 * 11_000
    uploads = {name: count for name, count in requests.items() if name != "ListObjectsV2"}
    assert uploads == {
        "CreateMultipartUpload": 5,
        "UploadPartCopy": 5,
        "UploadPart": 5,
        "CompleteMultipartUpload": 5,
    }


def test_a_large_file_goes_in_parts_and_a_grown_one_by_its_tail(place: Place, root: Path) -> None:
    path = write(root / "model.ckpt", os.urandom(50 * MIB))
    requests, sent, _ = spent(place, root)
    assert requests["UploadPart"] == 4
    assert 50 * MIB <= sent < 50 * MIB + 2000
    append(path, os.urandom(40 * MIB))
    requests, sent, _ = spent(place, root)
    assert (requests["UploadPartCopy"], requests["UploadPart"]) == (1, 3)
    assert sent < 40 * MIB + 2000
    assert in_bucket(place) == on_disk(root)


def test_a_file_that_was_replaced_replaces_its_object_and_says_so(place: Place, root: Path) -> None:
    path = write(root / "a" / NAME.format(1), event_file(1000))
    go(place, root)
    before = place.head(f"exp/a/{path.name}")["Metadata"]["bucketboard-log"]
    write(path, event_file(2000))
    events: list[SyncEvent] = []
    report = go(place, root, on_event=events.append)
    assert [(event.kind, event.path) for event in events] == [("replaced", f"a/{path.name}")]
    assert report.replaced == [(f"a/{path.name}", events[0].message)]
    assert place.head(f"exp/a/{path.name}")["Metadata"]["bucketboard-log"] != before
    assert in_bucket(place) == on_disk(root)


def test_a_shorter_file_replaces_a_longer_object(place: Place, root: Path) -> None:
    path = write(root / NAME.format(1), event_file(9 * MIB))
    go(place, root)
    write(path, path.read_bytes()[: len(OPENING)])
    assert [name for name, _ in go(place, root).replaced] == [path.name]
    assert in_bucket(place) == on_disk(root)


@pytest.mark.parametrize("tail", [b"torn"[:3], framed(b"x" * 100)[:-1], bytes(64), b"\xff" * 40])
def test_a_torn_or_damaged_file_goes_as_it_is_and_is_marked(place: Place, root: Path, tail: bytes) -> None:
    whole = event_file(1000)
    path = write(root / "a" / NAME.format(1), whole + tail)
    report = go(place, root)
    assert [name for name, _ in report.damaged] == [f"a/{path.name}"]
    assert in_bucket(place) == on_disk(root)
    assert place.head(f"exp/a/{path.name}")["Metadata"]["bucketboard-damaged"] == str(len(whole))
    assert spent(place, root)[:2] == ({"ListObjectsV2": 1}, 0)


def test_a_torn_record_that_is_completed_goes_on(place: Place, root: Path) -> None:
    record = framed(b"y" * 500)
    path = write(root / "a" / NAME.format(1), event_file(1000) + record[:100])
    go(place, root)
    append(path, record[100:] + framed(b"z"))
    go(place, root)
    data = in_bucket(place)[f"a/{path.name}"]
    assert data == path.read_bytes()
    assert list(records(data))[-1] == b"z"
    assert "bucketboard-damaged" not in place.head(f"exp/a/{path.name}")["Metadata"]


@real_etags
@pytest.mark.parametrize("size", [0, 1000, 9 * MIB, 20 * MIB])
def test_what_the_aws_command_uploaded_is_known_by_its_etag(place: Place, root: Path, size: int) -> None:
    path = write(root / "a" / NAME.format(1), event_file(size))
    place.client.upload_file(
        str(path), place.bucket, f"exp/a/{path.name}"
    )  # as the AWS CLI does, 8 MiB parts
    requests, sent, report = spent(place, root)
    assert (sent, report.unchanged) == (0, 1)
    assert requests["HeadObject"] == 1
    append(path, framed(b"more"))
    age(path)
    report = go(place, root)
    assert (report.files, report.replaced) == (1, [])
    assert in_bucket(place) == on_disk(root)


def test_only_what_is_wanted_takes_part(place: Place, root: Path) -> None:
    mixed(root)
    write(root / ".bucketboard/v1/manifest.json", b"{}")
    go(place, root, exclude=("b/plugins", "*.txt"))
    assert sorted(in_bucket(place)) == [
        f"a/{NAME.format(1)}",
        f"a/{NAME.format(2)}",
        f"b/deep/er/{NAME.format(1)}",
        "b/projector_config.pbtxt",
    ]
    write(root / "c/new.txt", b"new")
    go(place, root, include=("c",))
    assert "c/new.txt" in in_bucket(place)
    before = place.keys()
    write(root / "d/model.ckpt", b"weights")
    go(place, root, events_only=True)
    assert place.keys() == before


def test_links_inside_are_followed_and_others_refused(place: Place, root: Path, tmp_path: Path) -> None:
    write(tmp_path / "secret", b"secret")
    path = write(root / "a" / NAME.format(1), event_file(100))
    (root / "latest").symlink_to("a")
    (root / "a/again").symlink_to("..")
    (root / "secret").symlink_to(tmp_path / "secret")
    (root / "nothing").symlink_to("nowhere")
    report = go(place, root)
    assert sorted(in_bucket(place)) == [f"a/{path.name}", f"latest/{path.name}"]
    assert sorted(name for name, _ in report.refused) == ["a/again", "latest/again", "nothing", "secret"]
    assert report.complete


def test_nothing_is_deleted_unless_asked(place: Place, root: Path) -> None:
    mixed(root)
    go(place, root)
    place.client.put_object(Bucket=place.bucket, Key="exp/.bucketboard/v1/x", Body=b"")
    place.client.put_object(Bucket=place.bucket, Key="exp/foreign", Body=b"")
    for run in ("a", "b/deep/er"):  # labels of a run that stays, and of one that goes
        place.client.put_object(Bucket=place.bucket, Key=f"exp/{run}/bucketboard.json", Body=b"{}")
    (root / "empty.txt").unlink()
    shutil.rmtree(root / "b")
    before = place.keys()
    go(place, root)
    assert place.keys() == before
    told: list[SyncEvent] = []
    report = go(place, root, delete=True, dry_run=True, on_event=told.append)
    assert place.keys() == before
    gone = {
        "b/deep/er/" + NAME.format(1),
        "b/deep/er/bucketboard.json",
        "b/plugins/profile/2026/host.xplane.pb",
        "b/projector_config.pbtxt",
    }
    gone |= {"empty.txt", "foreign"}
    assert {event.path for event in told if event.kind == "would delete"} == gone
    assert report.deleted == len(gone)
    go(place, root, delete=True, exclude=("foreign",))
    assert set(place.keys()) == set(before) - {f"exp/{path}" for path in gone - {"foreign"}}


def test_a_dry_run_sends_nothing_and_tells_all(place: Place, root: Path) -> None:
    mixed(root)
    told: list[SyncEvent] = []
    requests, sent, report = spent(place, root, dry_run=True, on_event=told.append)
    assert (set(requests), sent) == ({"ListObjectsV2", "ListMultipartUploads"}, 0)
    assert sorted(event.path for event in told) == sorted(on_disk(root))
    assert {event.kind for event in told} == {"would send"}
    assert report.files == 7
    assert place.keys() == []


def test_a_passing_fault_delays_and_costs_nothing_else(place: Place, root: Path) -> None:
    mixed(root)
    place.proxy.inject(Fault(FaultKind.STATUS, probability=0.15))
    place.proxy.inject(Fault(FaultKind.LOST_REPLY, probability=0.1))
    place.proxy.inject(Fault(FaultKind.RESET, probability=0.05))
    report = go(place, root)
    assert report.complete
    place.proxy.clear()
    assert in_bucket(place) == on_disk(root)
    go(place, root)
    assert place.uploads() == []


def test_an_outage_ends_in_an_error_that_says_so(place: Place, root: Path) -> None:
    mixed(root)
    place.proxy.inject(Fault(FaultKind.STATUS))
    with pytest.raises(Exception, match="SlowDown"):
        go(place, root, patience=0.5)


def test_files_that_are_refused_leave_the_others_alone(place: Place, root: Path) -> None:
    mixed(root)
    denied = Fault(FaultKind.STATUS, key="exp/a/*", status=403, code="AccessDenied")
    place.proxy.inject(denied)
    with pytest.raises(IncompleteError, match="2 files could not be stored") as caught:
        go(place, root)
    assert len(caught.value.report.failed) == 2
    place.proxy.clear()
    assert sorted({*on_disk(root)} - {*in_bucket(place)}) == [f"a/{NAME.format(1)}", f"a/{NAME.format(2)}"]


def test_what_can_not_work_is_said_at_once(place: Place, root: Path) -> None:
    with pytest.raises(InvalidError, match="no such directory"):
        go(place, root)
    mixed(root)
    with pytest.raises(InvalidError, match="NoSuchBucket"):
        sync(root, "s3://no-such-bucket-here/exp", endpoint_url=place.proxy.url)
    with pytest.raises(InvalidError, match="unknown setting"):
        go(place, root, upload_evry=1)


def test_a_versioned_bucket_gets_whole_files_and_few_versions(
    new_place: Callable[..., Place], root: Path
) -> None:
    place = new_place(versioned=True)
    path = write(root / "a" / NAME.format(1), event_file(9 * MIB))
    told: list[SyncEvent] = []
    go(place, root)
    append(path, framed(b"more"))
    go(place, root, on_event=told.append)
    assert in_bucket(place) == on_disk(root)
    assert [event.kind for event in told] == ["sent", "whole"]


def test_beside_the_aws_command_an_increment_is_small(place: Place, root: Path) -> None:
    """What grew by 10 KB: ``aws s3 sync`` sends whole files, this sends what is new."""
    names = [write(root / f"run{number}" / NAME.format(1), event_file(6 * MIB)) for number in range(4)]
    go(place, root)
    command = [
        f"{sysconfig.get_path('scripts')}/aws",
        *("s3", "sync", str(root), f"s3://{place.bucket}/aws", "--endpoint-url", place.proxy.url),
    ]
    environ = {**place.environ(), "PYTHONPATH": ""}
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    for name in names:
        append(name, framed(os.urandom(10_000)))
    before = place.proxy.counts.total.bytes_sent
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    theirs = place.proxy.counts.total.bytes_sent - before
    _, ours, _ = spent(place, root)
    print(json.dumps({"aws s3 sync": theirs, "bucketboard sync": ours}))
    assert ours < 50_000
    assert theirs > 24 * MIB


@real_etags
def test_the_index_is_made_of_the_files_here(place: Place, root: Path) -> None:
    """Asked for, the index covers what was sent, without fetching it; what others have there stays theirs."""
    for run in ("a", "b"):
        writer = EventFileWriter(str(root / run))
        for step in range(50):
            writer.add_scalar("loss", step / 2, step, 1e9)
        writer.close()
    place.client.put_object(Bucket=place.bucket, Key=f"exp/other/{NAME.format(1)}", Body=event_file(10))
    told: list[SyncEvent] = []
    requests, _, report = spent(place, root, publish_index=True, on_event=told.append)
    assert requests.get("GetObject", 0) <= 2  # an index that is not there
    assert "100 new values of 2 event files" in next(event.message for event in told if event.kind == "index")
    bucket = Bucket(place.bucket, Settings(endpoint_url=place.proxy.url))
    found = Index.open(BucketObjects(bucket, "exp/"))
    assert sorted(found.files) == sorted(on_disk(root))
    for path, covered in found.files.items():
        assert covered.etag == place.head(f"exp/{path}")["ETag"]
    assert in_bucket(place, "exp/a/") == on_disk(root / "a")
    assert report.complete
    assert spent(place, root, publish_index=True)[0] == {"ListObjectsV2": 1}


@pytest.mark.parametrize("change", ["edited", "replaced", "shorter", "a pipe"])
def test_the_index_says_nothing_that_the_object_does_not_hold(
    place: Place, root: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A file that changes between the upload and the index is left out of the index."""
    for run in ("a", "b"):
        writer = EventFileWriter(str(root / run))
        for step in range(50):
            writer.add_scalar("loss", step / 2, step, 1e9)
        writer.close()
    [file] = (root / "a").iterdir()

    def later(*arguments: Any) -> str:
        data = file.read_bytes()
        if change == "edited":
            with file.open("r+b") as opened:
                opened.write(data[: len(OPENING)] + data[len(OPENING) :].replace(b"loss", b"gain"))
        else:
            file.unlink()
            if change == "a pipe":
                os.mkfifo(file)
            else:
                file.write_bytes(OPENING if change == "shorter" else data.replace(b"loss", b"gain"))
        return publish_index(*arguments)

    monkeypatch.setattr(replicator, "publish_index", later)
    report = go(place, root, publish_index=True)
    assert report.complete
    found = Index.open(BucketObjects(Bucket(place.bucket, Settings(endpoint_url=place.proxy.url)), "exp/"))
    assert [path.partition("/")[0] for path in found.files] == ["b"]
