"""``bucketboard recover`` on what a killed writer left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bucketboard.cli.main import main
from bucketboard.events.record import scan
from bucketboard.testing import Server

VICTIM = """
import sys
from bucketboard import EventFileWriter
writer = EventFileWriter(sys.argv[1], spool=sys.argv[2], metadata={"team": "vision", "notes": "x" * 3000})
for step in range(1000):
    writer.add_scalar("loss", step / 2, step, 1e9)
writer.flush()
print("flushed", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def here(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)


def start(url: str, spool: Path) -> subprocess.Popen[str]:
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, url, str(spool)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert victim.stdout is not None
    assert victim.stdout.readline() == "flushed\n"
    return victim


def steps(client: Any, bucket: str) -> list[int]:
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", ())]
    events = [key for key in keys if "tfevents" in key]
    bodies = [client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in sorted(events)]
    return [sum(1 for _ in scan(body)) - 1 for body in bodies]


def test_a_killed_writers_events_are_sent_once(
    here: None,
    bucket: tuple[Any, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client, name = bucket
    spool = tmp_path / "left"
    victim = start(f"s3://{name}/exp/run 1", spool)
    command = ["recover", "--spool", str(spool)]

    assert main(command) == 0
    assert "held" in capsys.readouterr().out

    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert main([*command, "--dry-run", "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {entry["state"] for entry in said} == {"pending"}
    assert any(entry["events"] == 1000 for entry in said)

    assert main(command) == 0
    shown = capsys.readouterr().out
    assert f"1,000 events, {said[0]['bytes']:,} bytes → s3://{name}/exp/run 1" in shown
    assert steps(client, name) == [1000]
    assert (
        b'"team": "vision"' in client.get_object(Bucket=name, Key="exp/run 1/bucketboard.json")["Body"].read()
    )

    assert main(command) == 0
    assert capsys.readouterr().out == "nothing to recover\n"
    assert list(spool.iterdir()) == []


def test_what_can_not_be_sent_stays(
    here: None,
    bucket: tuple[Any, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spool = tmp_path / "left"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    victim = start(f"s3://{bucket[1]}/run", spool)
    victim.kill()
    victim.communicate()
    assert main(["recover", "--spool", str(spool), "--wait", "5"]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err
    assert main(["recover", "--spool", str(spool), "--dry-run"]) == 0
    assert "1,000 events" in capsys.readouterr().out
    (header,) = [path for path in spool.glob("*.json") if '"kind": "events"' in path.read_text()]
    header.write_text("{")
    assert main(["recover", "--spool", str(spool), "--dry-run"]) == 1
    assert "is no spool header" in capsys.readouterr().err


def test_nothing_to_recover(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recover", "--spool", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == "nothing to recover\n"
