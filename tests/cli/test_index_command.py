"""``bucketboard index`` on a bucket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from bucketboard.cli.main import main
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.testing import Server

NAME = "events.out.tfevents.1.host.1.0"


@pytest.fixture
def url(server: Server, bucket: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    return f"s3://{bucket[1]}/exp"


def put(bucket: tuple[Any, str], run: str, steps: int) -> None:
    encoder = ScalarEncoder()
    records = [encoder.record("loss", step * 0.5, step, 1e9 + step) for step in range(steps)]
    body = frame(file_version_event(1e9)) + b"".join(records)
    bucket[0].put_object(Bucket=bucket[1], Key=f"exp/{run}/{NAME}", Body=body)


def names(bucket: tuple[Any, str]) -> list[str]:
    found = bucket[0].list_objects_v2(Bucket=bucket[1], Prefix="exp/.bucketboard/").get("Contents", ())
    return [entry["Key"].removeprefix("exp/.bucketboard/v1/") for entry in found]


@pytest.fixture(autouse=True)
def emptied(bucket: tuple[Any, str]) -> Any:
    yield
    client, name = bucket
    for entry in client.list_objects_v2(Bucket=name).get("Contents", ()):
        client.delete_object(Bucket=name, Key=entry["Key"])


def test_index_says_what_it_did(url: str, bucket: Any, capsys: pytest.CaptureFixture[str]) -> None:
    put(bucket, "a", 10)
    put(bucket, "b", 20)
    assert main(["index", url, "--dry-run"]) == 0
    assert "2 of 2 event files have grown" in capsys.readouterr().out
    assert names(bucket) == []

    assert main(["index", url]) == 0
    assert "2 event files, 30 new values of 2 files" in capsys.readouterr().out
    assert len(names(bucket)) == 3

    put(bucket, "b", 25)
    assert main(["index", url, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["files"], said["read"], said["rows"], said["segments"]) == (2, 1, 5, 2)
    assert said["failures"] == {}


def test_watch_follows_until_it_is_stopped(url: str, bucket: Any) -> None:
    put(bucket, "a", 10)
    command = [sys.executable, "-m", "bucketboard", "index", url, "--watch", "--interval", "0.1", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["rows"] == 10
        put(bucket, "a", 13)
        rows = next(said["rows"] for line in process.stdout if (said := json.loads(line))["read"])
        assert rows == 3
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def test_what_can_not_be(url: str, bucket: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "nowhere"]) == 2
    assert main(["index", url, "--interval", "0"]) == 2
    bucket[0].put_object(Bucket=bucket[1], Key="exp/.bucketboard/v1/manifest.json", Body=b'{"format": 7}')
    put(bucket, "a", 1)
    capsys.readouterr()
    assert main(["index", url]) == 2
    assert "version 7" in capsys.readouterr().err


def test_without_pyarrow_it_says_what_to_install(url: str) -> None:
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from bucketboard.cli.main import main\n"
        f"sys.exit(main(['index', {url!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "bucketboard[" in done.stderr
    assert "Traceback" not in done.stderr
