"""``bucketboard run``: what arrives, what is said, how it exits."""

from __future__ import annotations

import stat
import subprocess
import sys

import pytest
from supervised import OURS, Stage, events, kinds, said

TRAINING = """
import pathlib, sys
runs = pathlib.Path("runs/a")
runs.mkdir(parents=True)
(runs / "metrics.txt").write_text("0.5")
print(sys.stdin.readline().strip(), *sys.argv[1:])
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("status", [0, 3, 255])
def test_the_commands_status_and_streams_are_its_own(stage: Stage, status: int) -> None:
    done = stage.run(stage.python(TRAINING, status, "--", "--grace"), input="hello\n")
    assert done.returncode == status
    assert done.stdout == f"hello {status} -- --grace\n"
    begin, end = done.stderr.splitlines()
    assert begin == f"bucketboard: runs → {stage.url}"
    assert end == f"bucketboard: {stage.url} is complete: 1 files sent, 3 B"
    assert stage.get("exp/a/metrics.txt") == b"0.5"


def test_events_as_json(stage: Stage) -> None:
    done = stage.run(stage.python(TRAINING, 3), "--json", input="hello\n")
    assert kinds(done.stderr) == ["replicating", "start", "exit", "report"]
    assert [line for line in done.stderr.splitlines() if not line.startswith("{")] == []
    replicating, start, end, summary = [event for event in events(done.stderr) if event["kind"] in OURS]
    assert (replicating["directory"], replicating["target"]) == ("runs", stage.url)
    assert start["command"][0] == sys.executable
    assert start["pid"] > 0
    assert end["status"] == 3
    assert summary["complete"] is True
    assert (summary["status"], summary["command_status"]) == (3, 3)
    assert summary["failed"] == []


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGABRT"])
def test_a_command_that_dies_of_a_signal(stage: Stage, name: str) -> None:
    script = "import os, signal, sys\nos.mkdir('runs')\nopen('runs/a', 'w').write('x')\n"
    script += f"os.kill(os.getpid(), signal.{name})"
    done = stage.run(stage.python(script))
    assert done.returncode == 128 + {"SIGKILL": 9, "SIGTERM": 15, "SIGABRT": 6}[name]
    assert f"the command ended by {name}" in done.stderr
    assert stage.get("exp/a") == b"x"


def test_an_exception(stage: Stage) -> None:
    done = stage.run(stage.python("import os\nos.mkdir('runs')\nopen('runs/a', 'w').write('x')\n1 / 0"))
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert stage.get("exp/a") == b"x"


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        ("missing", 127, "no such command"),
        ("interpreter", 127, "interpreter in its first line"),
        ("plain", 126, "can't be executed"),
        ("directory", 126, "can't be executed"),
    ],
)
def test_a_command_that_can_not_be_started(stage: Stage, kind: str, status: int, message: str) -> None:
    path = stage.path / "command"
    if kind == "directory":
        path.mkdir()
    elif kind != "missing":
        path.write_text("#!/no/such/interpreter\n" if kind == "interpreter" else "text")
        path.chmod(path.stat().st_mode | (stat.S_IXUSR if kind == "interpreter" else 0))
    done = stage.run([path])
    assert done.returncode == status
    assert message in done.stderr
    assert f"bucketboard: error: {'no such command: ' if status == 127 else ''}{path}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(stage.spool.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--grace", "-1"], "grace=-1.0"), (["--drain-timeout", "nan"], "drain_timeout=nan"), (["--", "x"], "")],
)
def test_what_can_not_be(stage: Stage, options: list[str], message: str) -> None:
    if message:
        done = stage.run(["touch", "begun"], *options)
    else:
        (stage.path / "runs").touch()
        done = stage.run(["touch", "begun"])
        message = "runs is no directory"
    assert done.returncode == 2
    assert f"bucketboard: error: {message}" in done.stderr
    assert not (stage.path / "begun").exists()


def test_no_command(stage: Stage) -> None:
    done = stage.run([])
    assert done.returncode == 2
    assert "hint: write it after two dashes: -- python train.py" in done.stderr


@pytest.mark.parametrize("status", [0, 3])
def test_s3_is_away(stage: Stage, status: int) -> None:
    """A command that succeeded does not count as done; one that failed keeps its own status."""
    stage.proxy.down()
    done = stage.run(stage.python(TRAINING, status), "--drain-timeout", "3", input="hello\n")
    assert done.returncode == (status or 75)
    assert done.stdout == f"hello {status}\n"
    assert f"bucketboard: {stage.url} is incomplete: " in done.stderr
    assert f"hint: send the rest with: bucketboard sync runs {stage.url}" in done.stderr
    assert stage.proxy.url in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_was_logged(stage: Stage) -> None:
    done = stage.run(["true"])
    assert done.returncode == 0
    assert "nothing was logged to runs: is it the right --logdir?" in done.stderr


def test_standard_error_may_go_away(stage: Stage) -> None:
    """As a terminal's does that hangs up."""
    process = stage.start(stage.python(TRAINING, 0))
    assert process.stderr is not None
    assert process.stdin is not None
    process.stderr.close()
    process.stdin.write("hello\n")
    process.stdin.flush()
    said(process, "hello 0")
    assert process.wait(60) == 0
    assert stage.keys() == ["exp/a/metrics.txt"]


def test_the_command_inherits_no_file_of_ours(stage: Stage) -> None:
    script = "import os\nprint(sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:-1])"
    done = stage.run(stage.python(script))
    assert done.stdout == "[0, 1, 2]\n"


def dispositions(out: str) -> list[int]:
    """Of the signals that programs use; glibc lets what it spawns ignore two of its own."""
    return [int(line.split()[1], 16) & 0x7FFFFFFF for line in out.splitlines()]


@pytest.mark.parametrize("ignored", ["", "HUP INT"])
def test_signals_are_as_they_were(stage: Stage, ignored: str) -> None:
    """The mask and what is ignored: as without us, not as Python or we set it."""
    probe = ["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"]
    prefix = ["sh", "-c", f"trap '' {ignored}; exec \"$@\"", "sh"] if ignored else []
    alone = subprocess.run([*prefix, *probe], capture_output=True, text=True)
    out, _ = stage.start(probe, prefix=prefix).communicate(timeout=60)
    assert dispositions(out) == dispositions(alone.stdout)
    assert len(dispositions(out)) == 2
