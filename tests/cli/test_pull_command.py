"""``bucketboard pull``: what it prints, and how it ends."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from bucketboard.cli.main import main
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server


@pytest.fixture(autouse=True)
def here(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)


def put(bucket: tuple[Any, str], *keys: str) -> None:
    client, name = bucket
    for key in keys:
        client.put_object(Bucket=name, Key=key, Body=b"x" * 1500)


def test_a_summary_and_a_status(
    bucket: tuple[Any, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(bucket, "exp/a/one", "exp/a/two")
    arguments = ["pull", f"s3://{bucket[1]}/exp", str(tmp_path / "runs")]
    assert main(arguments) == 0
    assert main(arguments) == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        "pulled 2 files, 3,000 bytes, 0 unchanged; 3 requests",
        "pulled 0 files, 0 bytes, 2 unchanged; 1 requests",
    ]
    assert err == ""


def test_what_is_refused_is_said_and_counts(
    bucket: tuple[Any, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(bucket, "exp/good", "exp/tab\there")
    target = tmp_path / "runs"
    done = subprocess.run(
        [sys.executable, "-m", "bucketboard", "pull", f"s3://{bucket[1]}/exp", str(target)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert done.stdout.endswith("pulled 1 files, 1,500 bytes, 0 unchanged, 1 refused; 2 requests\n")
    assert done.stderr == "bucketboard: refused: 'tab\\there': it has control characters in it\n"
    assert os.listdir(target) == ["good"]


def test_json(bucket: tuple[Any, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(bucket, "exp/good", "exp/tab\there")
    assert main(["pull", f"s3://{bucket[1]}/exp", str(tmp_path / "runs"), "--json"]) == 3
    [line] = capfd.readouterr().out.splitlines()
    assert json.loads(line) == {
        "complete": False,
        "files": 1,
        "bytes": 1500,
        "skipped": 0,
        "requests": 2,
        "replaced": [],
        "refused": [{"key": "tab\there", "reason": "it has control characters in it"}],
        "failed": [],
    }


def test_a_dry_run_says_what_would_be_done(
    bucket: tuple[Any, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(bucket, "exp/a", "exp/b")
    arguments = ["pull", f"s3://{bucket[1]}/exp", str(tmp_path / "runs"), "--dryrun", "--exclude", "b"]
    assert main(arguments) == 0
    assert capfd.readouterr().out.splitlines() == [
        "new       a  1,500 bytes",
        "would pull 1 files, 1,500 bytes, 0 unchanged; 1 requests",
    ]
    assert not (tmp_path / "runs").exists()


def test_nothing_there_is_a_failure(
    bucket: tuple[Any, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", f"s3://{bucket[1]}/exp", str(tmp_path / "runs")]) == 1
    assert "nothing to pull" in capfd.readouterr().err


def test_what_can_not_work_as_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "runs", str(tmp_path)]) == 2
    assert "not an S3 URL" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_soon_and_says_what_it_did(
    number: int, server: Server, bucket: tuple[Any, str], tmp_path: Path
) -> None:
    put(bucket, *(f"exp/{n}" for n in range(4)))
    with FaultProxy(server.endpoint) as proxy:
        slow = proxy.inject(Fault(FaultKind.SLOW, operation="GetObject", delay=1.0))
        command = [
            sys.executable,
            "-m",
            "bucketboard",
            "pull",
            f"s3://{bucket[1]}/exp",
            str(tmp_path / "runs"),
        ]
        process = subprocess.Popen(
            [*command, "--endpoint-url", proxy.url, "--jobs", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        slow.wait_fired(timeout=30)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert slow.fired < 4
    assert process.returncode == 130
    assert out.startswith("pulled ")
    assert err == ""


def test_a_terminal_shows_progress_without_secrets(
    server: Server, bucket: tuple[Any, str], tmp_path: Path
) -> None:
    put(bucket, "exp/a", "exp/b", "exp/tab\there")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    command = [sys.executable, "-m", "bucketboard", "pull", f"s3://{bucket[1]}/exp", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    process.communicate(timeout=60)
    assert process.returncode == 3
    assert b"2 of 2 files" in shown
    assert b"B/s" in shown
    assert b"refused" in shown
    assert server.secret_key.encode() not in shown
