"""Exports and other bulk work on a Dask cluster of several worker processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest
import work

import bucketboard
from bucketboard.bulk.engine import Outcome, fan_out
from bucketboard.bulk.index import index_runs
from bucketboard.bulk.verify import verify_runs
from bucketboard.cli.main import main
from bucketboard.errors import InvalidError, UnavailableError
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.index import BucketObjects, share
from bucketboard.index.manifest import read_manifest
from bucketboard.runs.verify import verify
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.testing import Server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
RUNS = 24


def until(condition: Callable[[], Any], what: str, timeout: float = 60) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what} within {timeout:g} s"
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def cluster(directory: Path, environ: dict[str, str], workers: int = 3) -> Iterator[str]:
    """A scheduler and workers in processes of their own; gives the scheduler's address."""
    source = os.pathsep.join([str(Path(bucketboard.__file__).parents[1]), str(Path(__file__).parent)])
    environ = {**os.environ, **environ, "PYTHONPATH": source}
    file = directory / "scheduler.json"
    quiet = ["--no-dashboard", "--host", "127.0.0.1"]
    dask = [sys.executable, "-W", "ignore", "-m", "dask"]
    with contextlib.ExitStack() as stack:

        def start(log: str, *arguments: str) -> None:
            output = stack.enter_context((directory / log).open("wb"))
            process = subprocess.Popen(
                [*dask, *arguments], env=environ, cwd=directory, stdout=output, stderr=output
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)

        start("scheduler.log", "scheduler", *quiet, "--port", "0", "--scheduler-file", str(file))
        until(file.exists, "scheduler")
        start(
            "workers.log", "worker", *quiet, "--scheduler-file", str(file), "--nthreads", "1",
            "--nworkers", str(workers), "--local-directory", str(directory / "scratch"),
        )  # fmt: skip
        address = until(lambda: json.loads(file.read_text() or "{}").get("address"), "address")
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield address


def event_file(run: int, steps: int) -> bytes:
    encoder = ScalarEncoder()
    records = [
        encoder.record(f"metric/{tag}", run + step / 7, step, 1e9 + step)
        for step in range(steps)
        for tag in range(3)
    ]
    return frame(file_version_event(1e9)) + b"".join(records)


def tables(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.glob("*/run=*/*")}


@pytest.fixture
def filled(server: Server, bucket: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    client, name = bucket
    for variable, value in server.environ().items():
        monkeypatch.setenv(variable, value)
    keys = [f"exp/run{number:02}/events.out.tfevents.1.host.1.0" for number in range(RUNS)]
    for number, key in enumerate(keys):
        client.put_object(Bucket=name, Key=key, Body=event_file(number, 400))
    yield f"s3://{name}/exp"
    for key in keys:
        client.delete_object(Bucket=name, Key=key)


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes_as_one_process(
    filled: str, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bucketboard.export(filled, tmp_path / "one").complete
    assert bucketboard.export(filled, tmp_path / "processes", workers=2).complete
    with cluster(tmp_path, server.environ()) as address:
        out = tmp_path / "cluster"
        assert main(["export", filled, str(out), "--cluster", address]) == 0
        assert f"exported {RUNS} runs" in capsys.readouterr().out
        assert main(["export", filled, str(out), "--cluster", address]) == 0
        assert f"exported 0 runs, {RUNS} unchanged" in capsys.readouterr().out
        assert main(["verify", filled, "--cluster", address]) == 0
        assert f"{RUNS:,} runs" in capsys.readouterr().out
        assert verify_runs(filled, cluster=address).runs == verify(filled).runs
    assert len(tables(tmp_path / "one")) == RUNS
    assert tables(tmp_path / "one") == tables(tmp_path / "processes") == tables(out)


@pytest.mark.slow
def test_a_killed_worker_of_a_cluster_costs_nothing(tmp_path: Path) -> None:
    tasks = {str(number): (str(tmp_path), number) for number in range(12)}
    with cluster(tmp_path, {}) as address:
        outcomes: list[Outcome[int]] = []
        thread = threading.Thread(
            target=lambda: outcomes.append(fan_out(work.say_and_wait, tasks, cluster=address))
        )
        thread.start()
        at_work = until(lambda: sorted(tmp_path.glob("pid-*")), "task")
        os.kill(int(at_work[0].name.split("-")[2]), signal.SIGKILL)
        (tmp_path / "go").touch()
        thread.join(60)
    number = at_work[0].name.split("-")[1]
    assert len(list(tmp_path.glob(f"pid-{number}-*"))) == 2, "another worker took the task over"
    assert outcomes[0].failures == {}
    assert outcomes[0].results == {name: number for name, (_, number) in tasks.items()}


@pytest.mark.slow
def test_a_scheduler_that_is_lost_is_said(tmp_path: Path) -> None:
    tasks = {str(number): (str(tmp_path), number) for number in range(4)}
    with cluster(tmp_path, {}, workers=1) as address:
        with distributed.Client(address, set_as_default=False) as client:
            scheduler = client.run_on_scheduler(os.getpid)

        def kill() -> None:
            until(lambda: list(tmp_path.glob("pid-*")), "task")
            os.kill(scheduler, signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises(UnavailableError, match="was lost"):
            fan_out(work.say_and_wait, tasks, cluster=address)
        thread.join()
        (tmp_path / "go").touch()


@pytest.mark.slow
def test_an_export_survives_a_killed_worker(filled: str, tmp_path: Path, server: Server) -> None:
    assert bucketboard.export(filled, tmp_path / "one").complete
    out = tmp_path / "cluster"
    with cluster(tmp_path, server.environ(), workers=2) as address:
        with distributed.Client(address, set_as_default=False) as client:
            pids = list(client.run(os.getpid).values())
        killed = threading.Event()

        def kill(progress: Any) -> None:
            if progress.runs == 3:
                os.kill(pids[0], signal.SIGKILL)
                killed.set()

        report = bucketboard.export(filled, out, cluster=address, on_progress=kill)
    assert killed.is_set()
    assert report.complete
    assert len(report.exported) == RUNS
    assert tables(out) == tables(tmp_path / "one")


@pytest.mark.slow
def test_an_index_by_a_cluster_has_the_same_bytes_and_survives_a_killed_worker(
    filled: str, tmp_path: Path, server: Server, bucket: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "_WORTH_IT", 1)
    objects = BucketObjects(Bucket(bucket[1], Settings.resolve()), "exp/")

    def made() -> list[bytes]:
        """The bytes of the segments; then the index is deleted."""
        named = read_manifest(objects).segments
        pieces = [piece.name for segment in named for piece in (segment.runs, segment.scalars) if piece]
        bodies = [objects.get(each)[0] for each in pieces]
        for stored in objects.list():
            objects.delete(stored.name)
        return bodies

    def kill(done: int, total: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[0], signal.SIGKILL)

    assert index_runs(filled, workers=1).read == RUNS
    expected = made()
    assert len(expected) == 16
    with cluster(tmp_path, server.environ(), workers=2) as address:
        assert main(["index", filled, "--cluster", address]) == 0
        assert made() == expected
        with distributed.Client(address, set_as_default=False) as connected:
            pids = list(connected.run(os.getpid).values())
        assert index_runs(filled, cluster=address, on_progress=kill).failures == {}
        assert made() == expected


@pytest.mark.slow
def test_a_cluster_prunes_as_one_change_whatever_becomes_of_a_worker(
    filled: str, tmp_path: Path, server: Server, bucket: tuple[Any, str]
) -> None:
    client, name = bucket
    before = {
        entry["Key"]: entry["ETag"]
        for entry in client.list_objects_v2(Bucket=name, Prefix="exp/")["Contents"]
    }
    with cluster(tmp_path, server.environ(), workers=2) as address:
        with distributed.Client(address, set_as_default=False) as connected:
            pids = list(connected.run(os.getpid).values())

        def kill(done: int, total: int) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[0], signal.SIGKILL)

        report = bucketboard.prune(filled, where='tag("metric/0") > 70', cluster=address, on_progress=kill)
    assert report.complete
    last = 399 / 7
    assert report.runs == [f"run{run:02}" for run in range(RUNS) if run + last > 70]
    assert bucketboard.undelete(filled, report.id).complete
    after = client.list_objects_v2(Bucket=name, Prefix="exp/")["Contents"]
    assert {entry["Key"]: entry["ETag"] for entry in after} == before


@pytest.mark.slow
def test_credentials_do_not_travel(tmp_path: Path, filled: str, server: Server) -> None:
    nothing = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    with cluster(tmp_path, nothing, workers=1) as address:
        report = bucketboard.export(filled, tmp_path / "out", cluster=address, runs="run00")
    assert not report.complete, "a worker without credentials of its own reads nothing"
    assert "credentials" in report.failures["run00"]


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "logs" / "run"
    directory.mkdir(parents=True)
    (directory / "events.out.tfevents.1.host.1.0").write_bytes(event_file(0, 3))
    with socket.socket() as taken:  # nothing listens there
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnavailableError, match="does not answer"):
            fan_out(work.square, {"1": 1}, cluster=address)
        assert main(["export", str(tmp_path / "logs"), str(tmp_path / "out"), "--cluster", address]) == 1
    shown = capsys.readouterr().err
    assert "does not answer" in shown
    assert "Traceback" not in shown
    with pytest.raises(InvalidError, match="no address"):
        fan_out(work.square, {"1": 1}, cluster="somewhere over there")


def test_a_missing_dask_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InvalidError, match="distributed is needed") as raised:
        fan_out(work.square, {"1": 1}, cluster="tcp://127.0.0.1:8786")
    assert "bucketboard[dask]" in str(raised.value)
