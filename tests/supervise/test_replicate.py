"""``bucketboard.replicate`` around a training: what arrives, and that the training never minds."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest
from supervised import Stage, alive, kill, said, wait_for

import bucketboard
from bucketboard.errors import InvalidError
from bucketboard.testing import Fault, FaultKind

PREAMBLE = """
import os, signal, sys, threading, time
import bucketboard

def log(text, name="runs/a/log"):
    os.makedirs(os.path.dirname(name), exist_ok=True)
    with open(name, "a") as file:
        file.write(text)

url = sys.argv[1]
before = [signal.getsignal(number) for number in signal.valid_signals()]
"""


def start(stage: Stage, script: str, **options: Any) -> subprocess.Popen[str]:
    command = [str(part) for part in stage.python(PREAMBLE + script, stage.url)]
    process = subprocess.Popen(
        command,
        env=stage.environ(),
        cwd=stage.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    stage.processes.append(process)
    return process


def ended(process: subprocess.Popen[str], text: str = "") -> tuple[int, str, str]:
    out, err = process.communicate(text, timeout=60)
    return process.returncode, out, err


def test_around_a_training(stage: Stage) -> None:
    """The host gets no thread, no signal handler, no heavy library; the bucket gets everything."""
    script = """
with bucketboard.replicate("runs", url) as replication:
    log("one ")
    sys.stdin.readline()
    log("two")
    log("x", "runs/b/other")
    assert threading.active_count() == 1
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before
assert not {"boto3", "obstore", "watchfiles", "numpy", "tensorboard"} & set(sys.modules)
print(replication.report)
"""
    process = start(stage, script)
    wait_for(lambda: stage.keys() and stage.get("exp/a/log") == b"one ")  # live
    status, out, err = ended(process, "\n")
    assert (status, err) == (0, "")
    assert out.startswith("SyncReport(files=2, unchanged=0, bytes=")
    assert stage.get("exp/a/log") == b"one two"
    assert stage.get("exp/b/other") == b"x"


WAITING = """
with bucketboard.replicate("runs", url) as replication:
    log("one")
    print(replication._process.pid, flush=True)
    {inside}
"""


def test_a_killed_host(stage: Stage) -> None:
    """The process drains alone, and ends."""
    hung = stage.proxy.inject(Fault(FaultKind.HOLD, operation="PutObject"))
    process = start(stage, WAITING.format(inside="sys.stdin.readline()"))
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    assert alive(pid)
    hung.remove()
    wait_for(lambda: not alive(pid))
    assert stage.get("exp/a/log") == b"one"


def test_a_killed_host_with_a_forked_child_that_lives(stage: Stage) -> None:
    """Such as a data loader's worker: it holds no pipe open, and leaving the block is not its affair."""
    inside = """
    if not os.fork():
        print(os.getpid(), flush=True)
        sys.stdin.readline()
        sys.exit(0)
    os.wait()
"""
    process = start(stage, WAITING.format(inside=inside))
    assert process.stdout is not None
    replicator, child = int(process.stdout.readline()), int(process.stdout.readline())
    process.kill()
    process.wait()
    wait_for(lambda: not alive(replicator))
    assert alive(child)
    assert stage.get("exp/a/log") == b"one"
    assert process.communicate("\n", timeout=60) == ("", "")
    wait_for(lambda: not alive(child))


def test_a_forked_child_leaves_the_block(stage: Stage) -> None:
    inside = """
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        log(" two")
print(pid == 0, replication.report and replication.report.complete, flush=True)
"""
    status, out, err = ended(start(stage, WAITING.format(inside=inside)))
    assert (status, err) == (0, "")
    assert out.splitlines()[1:] == ["True None", "False True"]
    assert stage.get("exp/a/log") == b"one two"


def test_an_exception_in_the_block_is_what_comes_out(stage: Stage) -> None:
    status, _, err = ended(start(stage, WAITING.format(inside="1 / 0")))
    assert status == 1
    assert "ZeroDivisionError" in err
    assert stage.get("exp/a/log") == b"one"


def test_interrupted_at_a_terminal(stage: Stage) -> None:
    """Ctrl-C signals the whole group; the process that sends is outside it."""
    inside = """
    try:
        print("waiting", flush=True)
        while True:
            time.sleep(0.05)   # one signal.pause() would miss what comes a moment before it
    finally:
        log(" two")
"""
    process = start(stage, WAITING.format(inside=inside), start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    said(process, "waiting")
    os.killpg(process.pid, signal.SIGINT)
    status, _, err = ended(process)
    assert status == -signal.SIGINT
    assert err.count("KeyboardInterrupt") == 1
    assert stage.get("exp/a/log") == b"one two"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_scheduler_that_signals_every_process(stage: Stage, number: signal.Signals) -> None:
    process = start(stage, WAITING.format(inside="sys.stdin.readline(); log(' two')"))
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    wait_for(stage.keys)
    os.kill(pid, number)
    status, _, err = ended(process, "\n")
    assert (status, err) == (0, "")
    assert stage.get("exp/a/log") == b"one two"


def test_the_process_was_killed(stage: Stage) -> None:
    """Another one finishes."""
    process = start(stage, WAITING.format(inside="sys.stdin.readline(); log(' two')"))
    assert process.stdout is not None
    kill(int(process.stdout.readline()))
    status, _, err = ended(process, "\n")
    assert (status, err) == (0, "")
    assert stage.get("exp/a/log") == b"one two"


@pytest.mark.parametrize("check", [False, True])
def test_s3_is_away(stage: Stage, check: bool) -> None:
    stage.proxy.down()
    script = f"""
import logging
logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
try:
    with bucketboard.replicate("runs", url, close_timeout=1, check={check}) as replication:
        log("one")
    print("trained", replication.report.complete)
except bucketboard.UnavailableError as error:
    print("raised", error)
"""
    status, out, err = ended(start(stage, script))
    assert status == 0
    where = f"{stage.url} is incomplete: "
    if check:
        assert out.startswith(f"raised {where}")
        assert f"hint: send the rest with: bucketboard sync runs {stage.url}" in out
    else:
        assert out == "trained False\n"
        assert f"WARNING bucketboard: {where}" in err


def test_a_server_that_hangs(stage: Stage) -> None:
    """The end of the block comes when `close_timeout` is over, and the process ends too."""
    stage.proxy.inject(Fault(FaultKind.HANG))
    script = """
with bucketboard.replicate("runs", url, close_timeout=1, timeout=3000) as replication:
    log("one")
    print(replication._process.pid, flush=True)
print(replication.report.complete)
"""
    process = start(stage, script)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    status, out, _ = ended(process)
    assert (status, out) == (0, "False\n")
    wait_for(lambda: not alive(pid))


def test_neither_files_nor_secrets_are_handed_over(stage: Stage) -> None:
    inside = """
    inherited = os.open("secret", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(inherited, True)
    with bucketboard.replicate("runs", url) as second:
        time.sleep(0)
        pid = second._process.pid
        with open(f"/proc/{pid}/cmdline") as file:
            print("-secret" in file.read(), "secret" in {os.path.basename(os.readlink(f"/proc/{pid}/fd/{fd}"))
                  for fd in (0, 1, 2, inherited) if os.path.exists(f"/proc/{pid}/fd/{fd}")})
"""
    status, out, _ = ended(start(stage, WAITING.format(inside=inside)))
    assert (status, out.splitlines()[1:]) == (0, ["False False"])


def test_modules_beside_the_training_do_not_stand_in_for_the_libraries(stage: Stage) -> None:
    work = stage.path / "work"
    work.mkdir()
    for name in ("json", "random", "boto3", "bucketboard"):
        (work / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    script = f"""
os.chdir({str(work)!r})
with bucketboard.replicate("runs", url) as replication:
    log("one")
print(replication.report)
"""
    status, out, err = ended(start(stage, script))
    assert (status, err) == (0, "")
    assert "failed=[]" in out
    assert stage.get("exp/a/log") == b"one"


def test_wrong_arguments_are_refused_before_anything_begins() -> None:
    with pytest.raises(InvalidError, match="not an S3 URL"):
        bucketboard.replicate("runs", "bucket/exp")
    with pytest.raises(InvalidError, match="close_timeout"):
        bucketboard.replicate("runs", "s3://bucket/exp", close_timeout=-1)
    with pytest.raises(InvalidError, match="sse"):
        bucketboard.replicate("runs", "s3://bucket/exp", sse="rot13")
    with pytest.raises(InvalidError, match="unknown setting 'upload_evry'"):
        bucketboard.replicate("runs", "s3://bucket/exp", upload_evry=1)
