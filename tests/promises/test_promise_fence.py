"""One writer per object: whoever comes second is refused, or at least found out; nothing is interleaved."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bucketboard import EventFileWriter, FencedError, UnavailableError, recover
from bucketboard.testing import Fault, FaultKind
from promised import MIB, Place, blob, first_record, framed, records, steps

SMALL, LARGE = 2000, 3 * MIB
"""Bytes of an event: two of them stay below the size from which objects grow by copying, or exceed it."""


def log(writer: EventFileWriter, first: int, last: int, size: int) -> None:
    for step in range(first, last + 1):
        writer.add_event(blob(step, size))


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("server", ["seaweedfs", "moto", "juicefs", "rclone"])
def test_a_foreign_object_is_left_alone(
    new_place: Callable[..., Place], server: str, size: int, spool: Path | None
) -> None:
    place = new_place(server)
    writer = place.writer(spool=spool)
    log(writer, 1, 2, size)
    writer.sync(30)
    key = place.event_keys()[-1]
    foreign = b"somebody else's" * 400_000  # as long as ours, so that a copied range would be found in it
    place.client.put_object(Bucket=place.bucket, Key=key, Body=foreign)
    log(writer, 3, 4, size)
    with pytest.raises(FencedError, match="changed by somebody else") as caught:
        writer.sync(30)
    assert key in str(caught.value)
    assert "run of its own" in caught.value.hint
    assert FencedError in place.kinds()
    writer.close()
    assert place.get(key) == foreign


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_the_first_append_by_copying_is_fenced_too(new_place: Callable[..., Place], server: str) -> None:
    """Also before it is known whether the server heeds conditions."""
    place = new_place(server)
    with_copy = place.writer(spool=None)
    log(with_copy, 1, 2, LARGE)
    with_copy.sync(30)
    [key] = place.event_keys()
    foreign = b"x" * (7 * MIB)
    place.client.put_object(Bucket=place.bucket, Key=key, Body=foreign)
    log(with_copy, 3, 3, SMALL)
    with pytest.raises(FencedError):
        with_copy.sync(30)
    with_copy.close()
    assert place.get(key) == foreign


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("server", ["seaweedfs", "moto", "juicefs"])
def test_of_two_copies_of_a_log_the_second_is_refused(
    new_place: Callable[..., Place], tmp_path: Path, server: str, size: int
) -> None:
    """The same state on two machines: what the first has stored stays as it is."""
    place = new_place(server)
    spool, copied = tmp_path / "spool", tmp_path / "copied"
    writer = place.writer(spool=spool)
    log(writer, 1, 2, size)
    writer.sync(30)
    shutil.copytree(spool, copied)  # before the first goes on: from here on the two differ
    log(writer, 3, 3, size)
    writer.sync(30)
    [key] = place.event_keys()
    before = place.get(key)
    [data] = copied.glob("*.tfevents")
    renamed = data.read_bytes() + framed(blob(33, size))
    data.write_bytes(renamed)
    script = tmp_path / "second.py"
    script.write_text(
        "import sys, bucketboard\n"
        "[result] = bucketboard.recover(sys.argv[1], wait=10)\n"
        "print(result.state, result.error)\n"
    )
    second = place.run(script, copied)
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith("failed"), second.stdout
    assert "changed by somebody else" in second.stdout
    assert place.get(key) == before
    log(writer, 4, 4, size)
    writer.sync(30)
    writer.close()
    assert place.errors == []
    assert steps(place.only()) == [1, 2, 3, 4]


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_a_deleted_object(
    new_place: Callable[..., Place], server: str, size: int, spool: Path | None
) -> None:
    """The spool writes it again; memory no longer has its beginning, goes on in another file and says so."""
    place = new_place(server)
    writer = place.writer(spool=spool)
    log(writer, 1, 2, size)
    writer.sync(30)
    [key] = place.event_keys()
    place.client.delete_object(Bucket=place.bucket, Key=key)
    log(writer, 3, 4, size)
    writer.sync(30)
    writer.close()
    if spool is None and size == LARGE:
        assert place.steps() == [3, 4]
        assert key not in place.event_keys()
        [error] = place.errors
        assert isinstance(error, UnavailableError)
        assert "2 events are lost" in str(error)
    else:
        assert place.event_keys() == [key]
        assert place.steps() == [1, 2, 3, 4]
        assert place.errors == []


def test_a_name_that_is_taken_means_the_next_name(
    new_place: Callable[..., Place], spool: Path | None
) -> None:
    """Somebody else takes the name between our LIST and our first PUT."""
    place = new_place("seaweedfs")
    held = place.proxy.inject(Fault(FaultKind.HOLD, operation="PutObject", nth=1))
    writer = place.writer(spool=spool)
    log(writer, 1, 2, SMALL)
    held.wait_fired()
    writer.flush()
    name = _name_being_put(writer)
    place.client.put_object(Bucket=place.bucket, Key=f"exp/run/{name}", Body=b"foreign")
    held.remove()
    writer.sync(30)
    writer.close()
    ours = [key for key in place.event_keys() if not key.endswith(name)]
    assert len(ours) == 1
    assert place.get(f"exp/run/{name}") == b"foreign"
    assert ours[0] > f"exp/run/{name}"
    assert steps(place.get(ours[0])) == [1, 2]
    assert place.errors == []


def _name_being_put(writer: EventFileWriter) -> str:
    assert writer._sink is not None
    return writer._sink.log.files[0].name


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_our_own_write_that_arrives_late_is_not_a_foreigner(
    new_place: Callable[..., Place], size: int, spool: Path | None
) -> None:
    """A write that nobody waits for any more is done after all, when the next one is under way."""
    place = new_place("seaweedfs")
    writer = place.writer(spool=spool, timeout=1.0, upload_every=0.1)
    log(writer, 1, 2, size)
    writer.sync(30)
    last = "PutObject" if size == SMALL else "CompleteMultipartUpload"
    warm = size == LARGE
    if warm:  # so that the server's abilities are known, and each append takes one Complete
        log(writer, 3, 3, size)
        writer.sync(30)
    late = place.proxy.inject(Fault(FaultKind.HOLD, operation=last, nth=1))
    next_one = place.proxy.inject(Fault(FaultKind.HOLD, operation=("PutObject", "UploadPart"), nth=2))
    log(writer, 4, 4, 1000)
    writer.flush()
    late.wait_fired()
    for step in range(5, 45):
        writer.add_event(blob(step, 1000))
        writer.flush()  # many small appends, so that the late one's end is none of the known boundaries
    next_one.wait_fired()  # it was planned on what was stored before
    stored = place.head(place.event_keys()[0])["ETag"]
    late.remove()
    _until(lambda: place.head(place.event_keys()[0])["ETag"] != stored)
    next_one.remove()
    writer.sync(30)
    writer.close()
    assert FencedError not in place.kinds(), place.errors
    expected = [1, 2, *([3] if warm else []), *range(4, 45)]
    assert place.steps() == expected


def _until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    """Wait for something in the server that nobody tells us of."""
    pause = threading.Event()
    for _ in range(int(timeout / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise TimeoutError


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_two_writers_of_one_run_write_different_files(
    new_place: Callable[..., Place], server: str, tmp_path: Path
) -> None:
    place = new_place(server)
    writers = [place.writer(spool=tmp_path / "spool"), place.writer(spool=None)]
    for step in range(1, 21):
        writers[step % 2].add_scalar("loss", step, step, 1e9)
        if step % 5 == 0:
            for writer in writers:
                writer.sync(30)
    for writer in writers:
        writer.close()
    assert len(place.event_keys()) == 2
    assert sorted(place.steps()) == list(range(1, 21))
    assert place.errors == []
    assert all(first_record(data) and list(records(data)) for data in place.files())


def test_recovering_what_a_living_writer_holds_is_left_to_it(
    new_place: Callable[..., Place], tmp_path: Path
) -> None:
    place = new_place("moto")
    place.proxy.down()
    writer = place.writer(spool=tmp_path)
    log(writer, 1, 2, SMALL)
    writer.flush()
    assert [result.state for result in recover(tmp_path)] == ["held"]
    script = tmp_path / "recover.py"
    script.write_text("import sys, bucketboard\nprint([r.state for r in bucketboard.recover(sys.argv[1])])\n")
    assert place.run(script, tmp_path).stdout.strip() == "['held']"
    place.proxy.up()
    writer.sync(60)
    writer.close()
    assert place.steps() == [1, 2]
    assert recover(tmp_path) == []
