"""close() and the end of the process: in time, and with a word about what is left."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bucketboard import EventFileWriter, InvalidError, UnavailableError, recover
from bucketboard.testing import Fault, FaultKind
from promised import MIB, Place, blob, first_record, records


def test_close_with_a_hanging_server(new_place: Callable[..., Place], spool: Path | None) -> None:
    """It ends in time, says what is left and how it is sent; and that command sends it."""
    place = new_place("moto")
    hung = place.proxy.inject(Fault(FaultKind.HANG))
    writer = place.writer(spool=spool, close_timeout=2)
    for step in range(1000):
        writer.add_scalar("loss", step, step, 1e9)
    began = time.monotonic()
    writer.close()
    assert 1.9 < time.monotonic() - began < 3
    [error] = place.errors
    assert isinstance(error, UnavailableError)
    assert "1,000 events" in error.message
    if spool:
        assert str(spool) in error.message
        assert error.hint == "send them with: bucketboard recover"
    else:
        assert "lost" in error.message
    hung.remove()
    if spool:
        assert [result.state for result in recover(spool, wait=30)] == ["sent"]
        assert place.steps() == list(range(1000))


LATE = [
    ("ListObjectsV2", 1000),
    ("PutObject", 1000),
    ("CreateMultipartUpload", 3 * MIB),
    ("UploadPartCopy", 3 * MIB),
    ("UploadPart", 3 * MIB),
]


@pytest.mark.parametrize(
    ("server", "operation", "size"),
    [
        *(("moto", *late) for late in LATE),
        *(("juicefs", *late) for late in [("HeadObject", 1000), *LATE[2:]]),
    ],
)
def test_an_upload_that_close_gave_up_does_no_harm(
    new_place: Callable[..., Place], server: str, operation: str, size: int, spool: Path | None
) -> None:
    """Its thread wakes up when the log is gone: the object keeps to whole records, as long as it says."""
    place = new_place(server)
    writer = place.writer(spool=spool, close_timeout=0.2, upload_every=0.05)
    if operation != "ListObjectsV2":
        for step in range(1, 3):
            writer.add_event(blob(step, size))
        writer.sync(30)
    held = place.proxy.inject(Fault(FaultKind.HOLD, operation=operation))
    for step in range(3, 5):
        writer.add_event(blob(step, size))
    thread = _thread_of(writer)
    held.wait_fired(timeout=100)  # ten times what the upload before took
    writer.close()
    held.remove()
    thread.join(20)
    assert not thread.is_alive()
    for key in place.event_keys():
        data = place.get(key)
        assert list(records(data)), "empty object"
        assert len(data) == int(place.head(key)["Metadata"]["bucketboard-length"])
    found = place.steps()
    assert found == [1, 2, 3, 4][: len(found)] if operation != "ListObjectsV2" else found in ([], [3, 4])


def _thread_of(writer: EventFileWriter):  # type: ignore[no-untyped-def]
    writer.flush()
    assert writer._sink is not None
    return writer._sink._uploader._thread  # type: ignore[attr-defined]


UNCLOSED = """
import sys, time
from bucketboard import EventFileWriter
spool = sys.argv[2] or None
writer = EventFileWriter(sys.argv[1], spool=spool, close_timeout=float(sys.argv[3]))
for step in range(1000):
    writer.add_scalar("loss", step, step, 1e9)
print(time.time(), flush=True)
"""


def _script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "script.py"
    path.write_text(text)
    return path


def test_the_end_of_the_interpreter_closes(
    new_place: Callable[..., Place], tmp_path: Path, spool: Path | None
) -> None:
    place = new_place("moto")
    done = place.run(_script(tmp_path, UNCLOSED), place.url, spool or "", 30)
    assert (done.returncode, done.stderr) == (0, "")
    assert place.steps() == list(range(1000))
    [key] = place.event_keys()
    assert place.head(key)["Metadata"]["bucketboard-state"] == "closed"


def test_the_end_of_the_interpreter_with_a_hanging_server(
    new_place: Callable[..., Place], tmp_path: Path, spool: Path | None
) -> None:
    place = new_place("moto")
    hung = place.proxy.inject(Fault(FaultKind.HANG))
    done = place.run(_script(tmp_path, UNCLOSED), place.url, spool or "", 2)
    ended = time.time()
    assert done.returncode == 0
    assert 1.9 < ended - float(done.stdout) < 4
    assert "1,000 events" in done.stderr
    assert "Traceback" not in done.stderr
    assert ("bucketboard recover" in done.stderr) == (spool is not None)
    hung.remove()
    if spool:
        assert [result.state for result in recover(spool, wait=30)] == ["sent"]
        assert place.steps() == list(range(1000))


NO_THREADS = """
import atexit, sys, threading, time
import bucketboard.replication.plan
from bucketboard import EventFileWriter
from promised import blob
bucketboard.replication.plan.COPY_RANGE = 10 << 20

def forbid():
    def start(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")
    threading.Thread.start = start
    threading.Thread._start_new_thread = start

writer = EventFileWriter(sys.argv[1], spool=sys.argv[2] or None, close_timeout=20)
if sys.argv[3] == "long":
    for step in range(12):
        writer.add_event(blob(step, 2 << 20))
    writer.sync()
writer.add_event(blob(12, 1000))
atexit.register(forbid)
"""


@pytest.mark.parametrize("run", ["short", "long"])
def test_the_end_of_the_interpreter_allows_no_new_threads(
    new_place: Callable[..., Place], tmp_path: Path, run: str, spool: Path | None
) -> None:
    """From Python 3.12 on exit handlers can't start threads; executors can't be used there in any version."""
    place = new_place("seaweedfs")
    done = place.run(_script(tmp_path, NO_THREADS), place.url, spool or "", run)
    assert done.returncode == 0
    assert "not stored" not in done.stderr
    assert place.steps() == (list(range(13)) if run == "long" else [12])


def test_a_bucket_that_does_not_exist(new_place: Callable[..., Place], spool: Path | None) -> None:
    place = new_place("seaweedfs")
    writer = place.writer("s3://no-such-bucket-here/run", spool=spool)
    writer.add_scalar("loss", 1, 1, 1e9)
    began = time.monotonic()
    with pytest.raises(InvalidError, match="no-such-bucket-here") as caught:
        writer.sync()
    assert "create the bucket" in caught.value.hint
    writer.close()
    assert time.monotonic() - began < 5
    assert any("not stored" in error.message for error in place.errors)


def test_nothing_logged_leaves_nothing(new_place: Callable[..., Place], spool: Path | None) -> None:
    place = new_place("moto")
    writer = place.writer(spool=spool)
    writer.flush()
    writer.sync(1)
    writer.close()
    assert place.keys() == []
    assert place.proxy.counts.total.requests == 0
    assert spool is None or not spool.exists() or list(spool.iterdir()) == []


def test_construction_asks_nobody(new_place: Callable[..., Place], spool: Path | None) -> None:
    place = new_place("moto")
    place.proxy.down()
    began = time.perf_counter()
    writer = place.writer(spool=spool, close_timeout=0)
    took = time.perf_counter() - began
    assert took < 0.05
    assert place.proxy.counts.total.requests == 0
    writer.close()
    assert place.errors == []


TERMINATED = """
import signal, sys, threading, time
from bucketboard import EventFileWriter
if sys.argv[3] == "chained":
    def chained(number, frame):
        print("chained", flush=True)
        sys.exit(7)
    signal.signal(signal.SIGTERM, chained)
writer = EventFileWriter(sys.argv[1], spool=sys.argv[2] or None, drain_on_sigterm=True, upload_every=3600.0)
writer.add_scalar("loss", 0, 0, 1e9)
writer.sync()
for step in range(1, 1000):
    writer.add_scalar("loss", step, step, 1e9)
print("ready", flush=True)
while True:
    time.sleep(0.05)   # signal.pause() would miss what comes a moment before it
"""


@pytest.mark.parametrize("before", ["default", "chained"])
def test_draining_on_sigterm(
    new_place: Callable[..., Place], tmp_path: Path, before: str, spool: Path | None
) -> None:
    place = new_place("moto")
    process = place.start(
        _script(tmp_path, TERMINATED), place.url, spool or "", before, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert len(place.steps()) == 1
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert place.steps() == list(range(1000))
    assert err == ""
    assert (process.returncode, out) == ((7, "chained\n") if before == "chained" else (-signal.SIGTERM, ""))


def test_sigterm_without_draining_ends_the_process(new_place: Callable[..., Place], tmp_path: Path) -> None:
    place = new_place("moto")
    text = TERMINATED.replace("drain_on_sigterm=True, ", "")
    process = place.start(_script(tmp_path, text), place.url, tmp_path / "spool", "default")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_only_rank_zero_writes(
    new_place: Callable[..., Place], name: str, spool: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = new_place("moto")
    for other in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(other, raising=False)
    for rank in ("1", "0"):
        monkeypatch.setenv(name, rank)
        writer = place.writer(spool=spool, rank_zero_only=True)
        writer.add_scalar("loss", float(rank), 1 + int(rank), 1e9)
        writer.sync(30)
        writer.close()
        assert place.steps() == ([] if rank == "1" else [1])
    assert place.errors == []


def test_without_a_place_for_the_spool_the_log_is_in_memory(
    new_place: Callable[..., Place], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once for all that is logged."""
    place = new_place("moto")
    (tmp_path / "file").touch()
    writer = place.writer(spool=tmp_path / "file" / "spool", on_error=None, roll_size=1 << 16)
    for step in range(3):
        writer.add_event(blob(step, 60_000))
        writer.sync(30)
    writer.close()
    assert place.steps() == [0, 1, 2]
    [warning] = [record for record in caplog.records if record.name == "bucketboard"]
    assert "kept in memory" in warning.message
    assert "spool=" in warning.message


def test_the_default_spool_on_a_read_only_file_system(
    new_place: Callable[..., Place], tmp_path: Path
) -> None:
    """/proc takes no files, whoever asks."""
    place = new_place("moto")
    script = UNCLOSED.replace("spool=spool, ", "")
    state = {"XDG_STATE_HOME": "/proc/state", "TMPDIR": "/proc/tmp"}
    done = place.run(_script(tmp_path, script), place.url, "", 30, environ=state)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("kept in memory") == 1
    assert "Traceback" not in done.stderr
    assert place.steps() == list(range(1000))


def test_reopening_goes_on_in_a_later_file(new_place: Callable[..., Place], spool: Path | None) -> None:
    place = new_place("moto")
    writer = place.writer(spool=spool)
    for part in range(3):
        writer.add_scalar("loss", part, part, 1e9)
        writer.close()
        writer.reopen()
    writer.close()
    assert [first_record(data) > 0 for data in place.files()] == [True] * 3
    assert place.steps() == [0, 1, 2]
