"""Spooled log directories: what is written there arrives, whoever dies."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from pathlib import Path

import pytest
from supervised import Stage, alive, kill, kinds, wait_for

import bucketboard
from bucketboard.cli.main import main
from bucketboard.errors import BucketboardError, InvalidError
from bucketboard.supervise.directory import SpooledDirectory
from bucketboard.testing import Fault, FaultKind

WRITER = """
import os, sys
from bucketboard import SpooledDirectory
directory = SpooledDirectory(sys.argv[1])
(directory.path / "a").mkdir()
(directory.path / "a" / "log").write_text("one")
print(os.getpid(), directory._replication._process.pid, directory.path.parent, flush=True)
sys.stdin.readline()
(directory.path / "a" / "log").write_text("one two")
{end}
"""


@pytest.fixture
def here(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """This process logs to the stage."""
    for name, value in stage.environ().items():
        if name.startswith(("AWS_", "BUCKETBOARD_", "XDG_")):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("BUCKETBOARD_SPOOL", str(stage.spool))
    return stage


def started(stage: Stage, end: str = "") -> tuple[subprocess.Popen[str], int, int, Path]:
    """A process that writes "one", then waits; its id, that of the one that sends, the directory."""
    command = [str(part) for part in stage.python(WRITER.format(end=end), stage.url)]
    process = subprocess.Popen(
        command, env=stage.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    stage.processes.append(process)
    assert process.stdout is not None
    pid, sender, path = process.stdout.readline().split()
    return process, int(pid), int(sender), Path(path)


def test_what_is_written_arrives_and_the_directory_goes(here: Stage) -> None:
    with SpooledDirectory(here.url) as directory:
        (directory.path / "log").write_text("one")
        assert os.fspath(directory) == str(directory.path)
        assert directory.path.parent.stat().st_mode & 0o077 == 0
        wait_for(lambda: here.keys() == ["exp/log"])  # live
        assert [result.state for result in bucketboard.recover(here.spool)] == ["held"]
    assert here.get("exp/log") == b"one"
    assert directory.report is not None
    assert (directory.report.complete, directory.report.stored) == (True, 3)
    assert list(here.spool.iterdir()) == []
    directory.close()


def test_the_end_of_the_interpreter_closes_it(here: Stage) -> None:
    process, *_ = started(here)
    process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert here.get("exp/a/log") == b"one two"
    assert list(here.spool.iterdir()) == []


def test_begun_to_close_it_is_sent_without_anybody_waiting(here: Stage) -> None:
    directory = SpooledDirectory(here.url)
    (directory.path / "log").write_text("one")
    directory.begin_close()
    replication = directory._replication
    assert replication._process is not None
    sender = replication._process.pid
    wait_for(lambda: not alive(sender))
    assert not directory.path.exists()
    assert here.get("exp/log") == b"one"
    replication._ends_by = time.monotonic() - 1  # as hours later: its answer still counts
    directory.end_close()
    assert directory.report is not None
    assert directory.report.complete


def test_a_killed_writer_is_sent_by_the_process_that_sends(here: Stage) -> None:
    hung = here.proxy.inject(Fault(FaultKind.HOLD, operation="PutObject"))
    _, pid, sender, path = started(here)
    wait_for(lambda: here.proxy.counts.total.requests)
    kill(pid)
    assert [result.state for result in bucketboard.recover(here.spool, dry_run=True)] == ["held"]
    hung.remove()
    wait_for(lambda: not alive(sender))
    assert here.get("exp/a/log") == b"one"
    assert not path.exists()


def test_recover_waits_for_the_process_that_sends(here: Stage) -> None:
    hung = here.proxy.inject(Fault(FaultKind.HOLD, operation="PutObject"))
    process, pid, *_ = started(here)
    kill(pid)
    process.wait()
    command = [*here.program, "recover", "--json"]
    recovery = subprocess.Popen(command, env=here.environ(), stdout=subprocess.PIPE, text=True)
    here.processes.append(recovery)
    hung.remove()
    out, _ = recovery.communicate(timeout=60)
    states = [json.loads(line)["state"] for line in out.splitlines()]
    assert states in (["sent"], [])  # or it was over before
    assert here.get("exp/a/log") == b"one"


def test_what_both_leave_is_recovered(here: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    here.proxy.down()
    process, pid, sender, path = started(here)
    assert main(["recover"]) == 0
    assert "held" in capsys.readouterr().out
    kill(sender)
    kill(pid)
    process.wait()
    wait_for(lambda: not alive(sender))
    assert main(["recover", "--dry-run"]) == 0
    assert capsys.readouterr().out == f"pending  3 bytes of a log directory → {here.url}\n"
    assert main(["recover", "--wait", "1"]) == 1
    assert f"failed   {path}: " in capsys.readouterr().err
    here.proxy.up()
    assert main(["recover"]) == 0
    assert capsys.readouterr().out == f"sent     3 bytes of a log directory → {here.url}\n"
    assert here.get("exp/a/log") == b"one"
    assert main(["recover"]) == 0
    assert capsys.readouterr().out == "nothing to recover\n"
    assert list(here.spool.iterdir()) == []


def test_below_a_run_what_is_left_is_sent_by_it(stage: Stage) -> None:
    """Also when both are killed, as in a container that runs out of memory."""
    script = WRITER.format(end="").replace(
        "print(", "os.kill(directory._replication._process.pid, 9)\nprint("
    )
    target = f"s3://{stage.bucket}/direct"
    process = stage.start(stage.python(script, target), environ={"BUCKETBOARD_UPLOAD_EVERY": "3600"})
    assert process.stdout is not None
    pid = int(process.stdout.readline().split()[0])
    kill(pid)
    _, err = process.communicate(timeout=60)
    assert "report" in kinds(err)
    assert stage.get("direct/a/log") == b"one"
    assert list(stage.spool.iterdir()) == []


def test_refused_by_s3_the_gap_is_reported_once_and_kept(here: Stage) -> None:
    refused = here.proxy.inject(Fault(FaultKind.STATUS, status=403, code="AccessDenied"))
    errors: list[BucketboardError] = []
    directory = SpooledDirectory(here.url, on_error=errors.append, close_timeout=5)
    (directory.path / "log").write_text("one")
    directory.close()
    [error] = errors
    assert error.message.startswith(f"{here.url}: 3 of 3 bytes are not stored, they are kept in {here.spool}")
    assert error.hint == "send them with: bucketboard recover"
    refused.remove()
    assert [result.state for result in bucketboard.recover(here.spool)] == ["sent"]
    assert here.get("exp/log") == b"one"


def test_the_gap_is_what_was_appended_less_what_is_stored(here: Stage) -> None:
    errors: list[BucketboardError] = []
    directory = SpooledDirectory(here.url, on_error=errors.append, close_timeout=2)
    (directory.path / "first").write_bytes(b"1" * 1000)
    wait_for(lambda: here.keys() == ["exp/first"])
    here.proxy.down()
    (directory.path / "second").write_bytes(b"2" * 234)
    directory.close()
    [error] = errors
    assert f"{here.url}: 234 of 1,234 bytes are not stored" in error.message


def test_without_a_spool_the_temporary_directory_is_taken(
    here: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "no").write_text("a file")
    monkeypatch.setenv("BUCKETBOARD_SPOOL", str(tmp_path / "no"))
    with caplog.at_level(logging.WARNING), SpooledDirectory(here.url) as directory:
        (directory.path / "log").write_text("one")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["no spool"]
    assert not directory.path.parents[1].exists()
    assert here.get("exp/log") == b"one"


def test_a_forked_child_leaves_it_to_its_parent(here: Stage) -> None:
    with SpooledDirectory(here.url) as directory:
        child = os.fork()
        if not child:
            (directory.path / "child").write_text("from the child")
            directory.close()
            os._exit(0 if directory.closed else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert here.get("exp/child") == b"from the child"


def test_what_does_not_say_where_it_belongs_is_left(here: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    left = here.spool / "logdir-damaged"
    (left / "files").mkdir(parents=True)
    (left / "target.json").write_text("{")
    assert main(["recover"]) == 1
    assert "does not say where its files belong" in capsys.readouterr().err
    finished = here.spool / "logdir-finished"
    finished.mkdir()
    assert main(["recover"]) == 1
    assert not finished.exists()
    assert left.exists()


def test_wrong_arguments_are_refused(here: Stage) -> None:
    with pytest.raises(InvalidError, match="not an S3 URL"):
        SpooledDirectory("bucket/exp")
    with pytest.raises(InvalidError, match="unknown setting 'upload_evry'"):
        SpooledDirectory(here.url, upload_evry=1)
    assert not here.spool.exists()
