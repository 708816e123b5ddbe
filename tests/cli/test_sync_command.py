"""``bucketboard sync`` as a command: what it says, when it ends, and with which status."""

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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bucketboard.cli.main import main
from bucketboard.testing import Fault, FaultKind
from promised import Place


@pytest.fixture
def place(new_place: Callable[..., Place]) -> Place:
    return new_place()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "notes.txt").write_text(name * 1000)
    return root


def sync(place: Place, *arguments: object) -> int:
    return main(["sync", *map(str, arguments), "--endpoint-url", place.proxy.url])


def start(place: Place, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bucketboard", "sync", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--endpoint-url", place.proxy.url],
        env=place.environ(),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
    )
    place.processes.append(process)
    return process


def wait_for(place: Place, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(place.keys("exp/")) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_says_in_a_line_what_it_did(place: Place, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"s3://{place.bucket}/exp"
    assert sync(place, root, url) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{url}: 2 files sent, 0 unchanged, 2,000 B in ")
    assert said.err == ""
    assert sync(place, root, url, "--verbose") == 0
    assert "nothing sent, 2 unchanged" in capsys.readouterr().out


def test_json_tells_each_file_and_the_sum(
    place: Place, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync(place, root, f"s3://{place.bucket}/exp", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["kind"], line["path"]) for line in lines[:-1]] == [
        ("sent", "a/notes.txt"),
        ("sent", "b/notes.txt"),
    ]
    report = lines[-1]
    assert (report["kind"], report["complete"], report["files"], report["failed"]) == ("report", True, 2, [])


def test_a_dry_run_lists_and_sends_nothing(
    place: Place, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.client.put_object(Bucket=place.bucket, Key="exp/old.txt", Body=b"")
    assert sync(place, root, f"s3://{place.bucket}/exp", "--dryrun", "--delete") == 0
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "would delete: old.txt",
        "would send: a/notes.txt (1,000 B)",
        "would send: b/notes.txt (1,000 B)",
    ]
    assert place.keys() == ["exp/old.txt"]


def test_what_is_missing_makes_the_status(
    place: Place, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"s3://{place.bucket}/exp"
    place.proxy.inject(Fault(FaultKind.STATUS, key="exp/a/*", status=403, code="AccessDenied"))
    assert sync(place, root, url) == 3
    said = capsys.readouterr()
    assert "1 FAILED" in said.out
    assert "failed: a/notes.txt: PutObject" in said.err
    assert "this identity needs s3:PutObject" in said.err
    place.proxy.inject(Fault(FaultKind.STATUS, status=403, code="AccessDenied"))
    assert sync(place, root, f"s3://{place.bucket}/other") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "s3://bucket/exp"], "no such directory: 'nowhere'"),
        (["runs", "elsewhere"], "one of the two is s3://BUCKET/PREFIX"),
        (["s3://a/b", "s3://c/d"], "use aws s3 sync"),
        ([".", "s3://"], "no bucket in 's3://'"),
        ([".", "s3://bucket/exp", "--watch", "--dry-run"], "--dry-run looks once"),
        ([".", "s3://bucket/exp", "--metadata", "team"], "KEY=VALUE"),
        ([".", "s3://bucket/exp", "--jobs", "0"], "jobs=0 must be from 1 to 256"),
        ([".", "s3://bucket/exp", "--upload-every", "-1"], "upload_every=-1.0 must be above 0"),
    ],
)
def test_what_is_not_possible_is_said(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sync", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_wrong_credentials_are_named_and_not_shown(
    place: Place, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret-of-this-key")
    assert sync(place, root, f"s3://{place.bucket}/exp") in (1, 2)
    said = capsys.readouterr()
    assert "SignatureDoesNotMatch" in said.err
    assert "not-the-secret" not in said.err + said.out
    assert "Traceback" not in said.err


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_watching_ends_in_order_when_asked(place: Place, root: Path, ending: int) -> None:
    process = start(place, root, f"s3://{place.bucket}/exp", "--watch")
    wait_for(place, 2)
    late = root / "c.txt"
    late.write_text("late")
    process.send_signal(ending)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert place.get("exp/c.txt") == b"late"
    assert "3 files sent" in out
    assert "watching, Ctrl-C ends it" in err


def test_a_second_signal_ends_at_once(place: Place, root: Path) -> None:
    process = start(place, root, f"s3://{place.bucket}/exp", "--watch")
    wait_for(place, 2)
    place.proxy.inject(Fault(FaultKind.HANG))
    (root / "c.txt").write_text("late")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert "Traceback" not in process.communicate()[1]


def test_the_grace_after_sigterm_is_limited(place: Place, root: Path) -> None:
    process = start(place, root, f"s3://{place.bucket}/exp", "--watch", "--grace", 1)
    wait_for(place, 2)
    place.proxy.inject(Fault(FaultKind.HANG))
    (root / "c.txt").write_text("late")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 3
    assert "c.txt" in process.communicate()[1]


def test_watching_until_a_process_has_ended(place: Place, root: Path) -> None:
    trainer = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = start(place, root, f"s3://{place.bucket}/exp", "--until-exit", trainer.pid)
    wait_for(place, 2)
    assert process.poll() is None
    (root / "last.txt").write_text("last")
    trainer.kill()
    assert process.wait(60) == 0
    trainer.communicate()
    assert place.get("exp/last.txt") == b"last"


def test_watching_until_a_file_exists(place: Place, root: Path, tmp_path: Path) -> None:
    process = start(place, root, f"s3://{place.bucket}/exp", "--until-exit", tmp_path / "done")
    wait_for(place, 2)
    assert process.poll() is None
    (tmp_path / "done").touch()
    assert process.wait(60) == 0


def test_a_terminal_sees_a_bar_that_goes_away(place: Place, root: Path) -> None:
    (root / "large.bin").write_bytes(os.urandom(40 << 20))
    place.proxy.bandwidth = 40 << 20
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = start(place, root, f"s3://{place.bucket}/exp", stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            block = os.read(leader, 1000)
        except OSError:  # Linux tells the end of a terminal so
            break
        if not block:
            break
        shown += block
    os.close(leader)
    assert process.wait(60) == 0
    assert b"of 3 files" in shown
    assert b"B/s" in shown
