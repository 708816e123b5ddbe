"""What a `SummaryWriter` inside the command spools: sent when it has died, and never while it lives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from supervised import Stage, alive, events, kill, kinds, wait_for

from bucketboard.cli.main import main
from bucketboard.events.record import scan

WRITER = """
import os, sys
from bucketboard import EventFileWriter
writer = EventFileWriter(sys.argv[1], upload_every=3600.0)
writer.add_scalar("loss", 0, 0, 1e9)
writer.sync()
for step in range(1, 1000):
    writer.add_scalar("loss", step, step, 1e9)
writer.flush()
print(os.getpid(), os.environ["BUCKETBOARD_SPOOL"], flush=True)
sys.stdin.readline()
writer.close()
"""


def events_stored(stage: Stage, prefix: str) -> list[int]:
    """Of each event file below ``prefix``: its events, without the record that opens it."""
    listed = stage.keys()
    keys = [key for key in listed if key.startswith(prefix)]
    return [sum(1 for _ in scan(stage.get(key))) - 1 for key in keys]


def started(stage: Stage, script: str = WRITER, *options: str, **popen: Any) -> tuple[Any, int, Path]:
    process = stage.start(stage.python(script, f"s3://{stage.bucket}/direct"), *options, **popen)
    assert process.stdout is not None
    pid, spool = process.stdout.readline().split()
    return process, int(pid), Path(spool)


def test_what_a_killed_writer_left_is_sent_to_where_it_belongs(stage: Stage) -> None:
    process, pid, spool = started(stage)
    assert spool.parent == stage.spool
    assert spool.name.startswith("run-")
    assert spool.stat().st_mode & 0o077 == 0
    assert events_stored(stage, "direct/") == [1]
    kill(pid)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 137
    assert kinds(err) == ["replicating", "start", "exit", "recovered", "report"]
    [recovered] = [event for event in events(err) if event["kind"] == "recovered"]
    assert (recovered["events"], recovered["target"]) == (1000, f"s3://{stage.bucket}/direct/")
    assert events_stored(stage, "direct/") == [1000]
    assert list(stage.spool.iterdir()) == []


def test_a_writer_that_closed_leaves_nothing(stage: Stage) -> None:
    process, _, _ = started(stage)
    _, err = process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert kinds(err) == ["replicating", "start", "exit", "report"]
    assert events_stored(stage, "direct/") == [1000]
    assert list(stage.spool.iterdir()) == []


def test_s3_is_away_when_the_writer_was_killed(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """It stays where `bucketboard recover` finds it by default."""
    process, pid, spool = started(stage, WRITER, "--drain-timeout", "3")
    stage.proxy.down()
    kill(pid)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 137
    summary = events(err)[-1]
    assert summary["complete"] is False
    assert any(spool.iterdir())
    stage.proxy.up()
    recover_by_default(stage, capsys)


SURVIVOR = """
import os, sys
reader, sender = os.pipe()
if os.fork():
    os.wait()
    os.read(reader, 1)
    sys.exit(0)
if os.fork():
    os._exit(0)
""" + WRITER.replace("sys.stdin.readline()", 'os.write(sender, b"."); open(sys.argv[2]).read()')


def test_a_writer_that_outlives_the_command_keeps_what_it_holds(stage: Stage, tmp_path: Path) -> None:
    """Its lock is held: nothing is taken from it, and it sends all of it itself."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    process = stage.start(stage.python(SURVIVOR, f"s3://{stage.bucket}/direct", gate))
    assert process.stdout is not None
    pid, spool = process.stdout.readline().split()
    process.wait(60)
    assert process.returncode == 0
    assert alive(int(pid))
    assert events_stored(stage, "direct/") == [1]
    assert any(Path(spool).iterdir())
    gate.write_text("go")
    wait_for(lambda: not alive(int(pid)))
    assert events_stored(stage, "direct/") == [1000]
    _, err = process.communicate(timeout=60)
    assert kinds(err) == ["replicating", "start", "exit", "held", "report"]


def test_a_killed_supervisors_spool_is_found_by_recover(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, pid, spool = started(stage)
    process.kill()
    process.wait()
    for name, value in stage.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("BUCKETBOARD_SPOOL")
    assert main(["recover"]) == 0
    assert "held" in capsys.readouterr().out
    kill(pid)
    recover_by_default(stage, capsys)
    assert not spool.exists()


def recover_by_default(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stage.environ().items():
            patch.setenv(name, value)
        patch.delenv("BUCKETBOARD_SPOOL", raising=False)
        # The kernel lets go of a killed process's locks a moment after it looks dead.
        wait_for(lambda: main(["recover", "--dry-run"]) == 0 and "1,000 events" in capsys.readouterr().out)
        assert main(["recover"]) == 0
        assert f"→ s3://{stage.bucket}/direct" in capsys.readouterr().out
    assert events_stored(stage, "direct/") == [1000]
    assert list(stage.spool.iterdir()) == []


@pytest.mark.parametrize("chosen", ["a directory", "none"])
def test_a_spool_of_the_users_choice_stays_the_users(stage: Stage, chosen: str) -> None:
    path = str(stage.path / "mine") if chosen == "a directory" else chosen
    process, pid, spool = started(stage, environ={"BUCKETBOARD_SPOOL": path})
    assert str(spool) == path
    kill(pid)
    _, err = process.communicate(timeout=60)
    assert kinds(err) == ["replicating", "start", "exit", "report"]
    assert not stage.spool.exists()
    if chosen != "none":
        assert len(list(spool.glob("*.tfevents"))) == 1


def test_without_a_place_for_a_spool_the_command_runs(stage: Stage) -> None:
    state = {"XDG_STATE_HOME": "/proc/state", "TMPDIR": str(stage.path)}
    done = stage.run(["sh", "-c", "echo ${BUCKETBOARD_SPOOL-none}"], environ=state)
    assert (done.returncode, done.stdout) == (0, "none\n")


def test_an_empty_spool_that_was_tidied_away_is_made_again(stage: Stage) -> None:
    script = WRITER.replace(
        'writer.add_scalar("loss", 0,', 'sys.stdin.readline()\nwriter.add_scalar("loss", 0,'
    )
    script = script.replace("writer = ", "print(0, os.environ['BUCKETBOARD_SPOOL'], flush=True)\nwriter = ")
    process, _, spool = started(stage, script)
    wait_for(spool.exists)
    spool.rmdir()
    process.stdin.write("\n")
    process.stdin.flush()
    pid, again = process.stdout.readline().split()
    assert Path(again) == spool
    assert len(list(spool.glob("*.tfevents"))) == 1
    kill(int(pid))
    process.communicate(timeout=60)
    assert events_stored(stage, "direct/") == [1000]
