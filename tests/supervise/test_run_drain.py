"""The end of ``bucketboard run``: what is still sent, until when, and in which order things happen."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import pytest
from supervised import OURS, Stage, events, kinds, read_until, said, wait_for

from bucketboard.testing import Fault, FaultKind

STUBBORN = """
import os, signal, sys, time
os.mkdir("runs")
log = open("runs/log", "w")
def heard(number, frame):
    print("TERM", flush=True)
signal.signal(signal.SIGTERM, heard)
print("ready", flush=True)
while True:
    log.write(sys.stdin.readline())
    log.flush()
    print("logged", flush=True)
"""
WILLING = """
import os, signal, sys, time
os.mkdir("runs")
def heard(number, frame):
    open("runs/log", "w").write("last")
    sys.exit(int(sys.argv[1]))
signal.signal(signal.SIGTERM, heard)
print("ready", flush=True)
while True:
    time.sleep(0.05)   # signal.pause() would miss what comes a moment before it
"""


def log(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    said(process, "logged")


def ended(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    assert process.stderr is not None
    err = process.stderr.read()  # communicate() would miss what was read ahead
    process.wait(60)
    return [event for event in events(err) if event["kind"] in OURS]


def test_a_command_that_does_not_end(stage: Stage) -> None:
    """What it logs after the signal travels at once; it is killed with time left for its final bytes."""
    process = stage.start(stage.python(STUBBORN), "--grace", "10")
    said(process, "ready")
    process.terminate()
    said(process, "TERM")
    log(process, "in grace")
    wait_for(lambda: stage.keys() and stage.get("exp/log") == b"in grace\n")
    assert process.poll() is None
    process.terminate()  # once more: for the command to see, and no reason to kill it
    said(process, "TERM")
    log(process, "more")
    found = ended(process)
    assert [event["kind"] for event in found if event["kind"] != "signal"][-3:] == [
        "kill",
        "exit",
        "report",
    ]
    assert [event["signal"] for event in found if event["kind"] == "signal"] == ["SIGTERM"] * 2
    assert process.returncode == 137
    assert found[-1]["complete"] is True
    assert stage.get("exp/log") == b"in grace\nmore\n"


def test_final_bytes_of_a_killed_command_are_sent_within_the_grace(stage: Stage) -> None:
    """S3 takes nothing while the command runs; the reserve is for what it left."""
    held = stage.proxy.inject(Fault(FaultKind.HOLD))
    process = stage.start(stage.python(STUBBORN), "--grace", "8")
    said(process, "ready")
    log(process, "late")
    process.terminate()
    read_until(process, "kill")
    held.remove()
    assert ended(process)[-1]["complete"] is True
    assert process.returncode == 137
    assert stage.get("exp/log") == b"late\n"


@pytest.mark.parametrize("status", [0, 3])
def test_a_command_that_obeys(stage: Stage, status: int) -> None:
    process = stage.start(stage.python(WILLING, status))
    said(process, "ready")
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert kinds(err) == ["replicating", "start", "signal", "exit", "report"]
    assert process.returncode == status
    assert stage.get("exp/log") == b"last"


@pytest.mark.parametrize("kind", [FaultKind.HANG, FaultKind.REFUSE])
def test_grace_ends_a_drain_that_comes_to_nothing(stage: Stage, kind: FaultKind) -> None:
    """Also where a request hangs that nothing can interrupt; else this test would run into its time limit."""
    process = stage.start(
        stage.python(WILLING, 0), "--grace", "2", "--drain-timeout", "3000", "--timeout", "3000"
    )
    said(process, "ready")
    stage.proxy.inject(Fault(kind))
    process.terminate()
    found = ended(process)
    assert [event["kind"] for event in found if event["kind"] != "trouble"] == [
        *("replicating", "start", "signal", "exit", "report")
    ]
    assert process.returncode == 75
    assert found[-1]["complete"] is False
    assert f"hint: send the rest with: bucketboard sync runs {stage.url}" in found[-1]["message"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_second_signal_ends_the_drain(stage: Stage, name: str) -> None:
    number = getattr(signal, name)
    stage.proxy.inject(Fault(FaultKind.HANG, operation="PutObject"))
    process = stage.start(
        stage.python("import os\nos.mkdir('runs')\nopen('runs/a', 'w').write('x')"),
        *("--grace", "3000", "--drain-timeout", "3000", "--timeout", "3000"),
    )
    read_until(process, "exit")
    process.send_signal(number)
    assert "once more ends it at once" in read_until(process, "signal")["message"]
    process.send_signal(number)
    assert "not waiting" in read_until(process, "signal")["message"]
    assert ended(process)[-1]["complete"] is False
    assert process.returncode == 75


def test_a_signal_to_the_command_and_one_in_the_drain(stage: Stage) -> None:
    process = stage.start(stage.python(WILLING, 3), "--grace", "3000", "--timeout", "3000")
    said(process, "ready")
    hung = stage.proxy.inject(Fault(FaultKind.HANG, operation="PutObject"))
    process.terminate()
    read_until(process, "exit")
    hung.wait_fired()
    process.terminate()
    assert ended(process)[-1]["complete"] is False
    assert process.returncode == 3


def test_a_drain_without_a_signal_outlasts_an_outage(stage: Stage) -> None:
    stage.proxy.inject(Fault(FaultKind.STATUS, operation="PutObject", times=3))
    done = stage.run(stage.python("import os\nos.mkdir('runs')\nopen('runs/a', 'w').write('x')"))
    assert done.returncode == 0
    assert stage.get("exp/a") == b"x"
