"""``bucketboard run`` as the first process of a container."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from supervised import Stage, kinds, said, wait_for

UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _refused() -> str:
    if not shutil.which("unshare"):
        return "unshare is not installed"
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    return f"no PID namespace can be made here: {done.stderr.strip()}" if done.returncode else ""


REFUSED = _refused() if sys.platform == "linux" else "PID namespaces are Linux's"
pytestmark = pytest.mark.skipif(bool(REFUSED), reason=REFUSED)

ORPHANS = """
import os, pathlib, sys, time
assert b"--logdir" in pathlib.Path("/proc/1/cmdline").read_bytes()
for _ in range(20):
    if not os.fork():          # a daemon's first fork, whose end leaves its child to PID 1
        if not os.fork():
            os._exit(7)
        os._exit(0)
    os.wait()
def zombies():
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            found.append(entry.read_text().rpartition(")")[2].split()[0])
        except OSError:
            pass
    return found.count("Z")
while zombies():
    time.sleep(0.01)
print("reaped", flush=True)
sys.exit(int(sys.argv[1]))
"""


def only_child(pid: int) -> int:
    """The process that ``pid`` has started."""
    [child] = wait_for(lambda: children_of(pid), "a child")
    return int(child)


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize("status", [0, 5])
def test_orphans_are_reaped(stage: Stage, status: int) -> None:
    process = stage.start(stage.python(ORPHANS, status), prefix=UNSHARE)
    out, err = process.communicate(timeout=60)
    assert out == "reaped\n"
    assert process.returncode == status, err
    assert kinds(err) == ["replicating", "start", "exit", "report"]


LISTENER = """
import os, signal, sys, time
os.mkdir("runs")
def heard(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        open("runs/last", "w").write("x")
        sys.exit(0)
for name in ("TERM", "USR1"):
    signal.signal(getattr(signal, "SIG" + name), heard)
print("ready", flush=True)
while True:
    time.sleep(0.05)   # signal.pause() would miss what comes a moment before it
"""


def test_signals_reach_the_command(stage: Stage) -> None:
    process = stage.start(stage.python(LISTENER), prefix=UNSHARE)
    said(process, "ready")
    first = only_child(process.pid)
    for name in ("SIGUSR1", "SIGTERM"):
        os.kill(first, getattr(signal, name))
        said(process, name)
    out, err = process.communicate(timeout=60)
    assert out == ""
    assert process.returncode == 0, err
    assert kinds(err) == ["replicating", "start", "signal", "exit", "report"]
    assert stage.get("exp/last") == b"x"


def test_a_killed_supervisor_does_not_end_the_container(stage: Stage) -> None:
    process = stage.start(stage.python(LISTENER), prefix=UNSHARE)
    said(process, "ready")
    first = only_child(process.pid)
    supervisor = only_child(first)
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: str(supervisor) not in children_of(first))
    os.kill(first, signal.SIGUSR1)
    said(process, "SIGUSR1")
    os.kill(first, signal.SIGTERM)
    said(process, "SIGTERM")
    assert process.wait(60) == 137


def test_a_command_that_can_not_be_started(stage: Stage) -> None:
    process = stage.start(["no-such-command"], prefix=UNSHARE)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 127
    assert "no such command: no-such-command" in err
