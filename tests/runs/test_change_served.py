"""A viewer that is open, by its process and HTTP, while runs are moved and removed: each is shown once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from changing import EVENTS, Runs, start

from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server

NAMES = ("a", "b/train", "c", "d")
MOMENTS = (
    (Fault(FaultKind.HOLD, "CopyObject", nth=1), False),
    (Fault(FaultKind.HOLD, "PutObject", "*/.bucketboard-journal/*", nth=1), False),
    (Fault(FaultKind.HOLD, "DeleteObjects", nth=1), True),
    (Fault(FaultKind.HOLD, "DeleteObject", "*/.bucketboard-journal/*", nth=1), True),
)
"""Where the change is held, one after the other, and whether it has turned by then."""


class Viewer:
    """What an open ``bucketboard serve`` answers."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(
            f"{self._url}data/{path}?{urllib.parse.urlencode(query)}", timeout=60
        ) as answer:
            return json.load(answer)

    def runs(self) -> list[str]:
        return [run for run in self.get("runs") if not run.startswith("marker")]

    def loss(self, run: str) -> float:
        [(_, _, value)] = self.get("plugin/scalars/scalars", run=run, tag="loss")
        return float(value)


@pytest.fixture
def runs(server: Server, bucket: tuple[Any, str]) -> Runs:
    return Runs(server, *bucket)


@pytest.fixture
def viewer(runs: Runs) -> Iterator[Viewer]:
    for number, name in enumerate(NAMES):
        put(runs, f"exp/{name}", float(number))
    command = [sys.executable, "-m", "bucketboard", "serve", runs.url(""), "--port", "0"]
    command += ["--reload-interval", "0.1", "--endpoint-url", runs.server.endpoint]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Viewer(process.stdout.readline().strip())
    finally:
        process.terminate()
        process.communicate()


def put(runs: Runs, run: str, loss: float) -> None:
    """A finished run with one scalar."""
    body = frame(file_version_event(1e9)) + ScalarEncoder().record("loss", loss, 0, 1e9)
    runs.put(f"{run}/{EVENTS}", body)


def check(viewer: Viewer, runs: Runs, marker: str, expected: set[str]) -> None:
    """Until the viewer has looked anew, what it shows is ``expected`` or was so before; then it is."""
    put(runs, marker, 0.0)
    deadline = time.monotonic() + 120
    while marker not in viewer.get("runs"):
        assert time.monotonic() < deadline, "the viewer looks again"
        shown = viewer.runs()
        tails = [name.partition("/")[2] for name in shown]
        assert len(tails) == len(set(tails)), f"a run is shown twice: {shown}"
    assert set(viewer.runs()) == expected


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["mv", "rm", "prune"])
def test_an_open_viewer_shows_each_run_once_while_runs_change(name: str, viewer: Viewer, runs: Runs) -> None:
    before = {f"exp/{run}" for run in NAMES}
    check(viewer, runs, "marker/first", before)
    source = runs.url("exp" if name == "prune" else "exp/b")
    gone = {f"exp/{run}" for run in (NAMES[:3] if name == "prune" else NAMES[1:2])}
    come = {"old/b/train"} if name == "mv" else set()
    after = (before - gone) | come
    losses = {f"{top}/{run}": float(number) for number, run in enumerate(NAMES) for top in ("exp", "old")}
    with FaultProxy(runs.server.endpoint) as proxy:
        arguments = [source, *([runs.url("old/b")] if name == "mv" else [])]
        held = proxy.inject(MOMENTS[0][0])
        process = start(name, proxy.url, *arguments)
        try:
            for number, (_, turned) in enumerate(MOMENTS):
                held.wait_fired(timeout=120)
                expected = after if turned else before
                check(viewer, runs, f"marker/{number}", expected)
                assert {run: viewer.loss(run) for run in expected} == {run: losses[run] for run in expected}
                following = proxy.inject(MOMENTS[number + 1][0]) if number + 1 < len(MOMENTS) else None
                held.remove()
                held = following or held
            _, complaint = process.communicate(timeout=120)
        finally:
            held.remove()
            process.kill()
            process.communicate()
    assert process.returncode == 0, complaint.decode()
    check(viewer, runs, "marker/last", after)
    assert {run: viewer.loss(run) for run in after} == {run: losses[run] for run in after}
