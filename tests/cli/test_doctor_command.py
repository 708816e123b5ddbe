"""``bucketboard doctor`` on servers that differ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any
from uuid import uuid4

import pytest

from bucketboard.cli.main import main
from bucketboard.testing import SERVERS, Server


def examine(server: Server, bucket: str) -> tuple[int, dict[str, bool | None]]:
    """The command in a process of its own, because clients and their credentials last as long as theirs."""
    command = [sys.executable, "-m", "bucketboard", "doctor", f"s3://{bucket}/some runs/ü", "--json"]
    done = subprocess.run(
        command, env={**os.environ, **server.environ()}, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {check["name"]: check["ok"] for check in checks}


ALL = (
    "list",
    "write",
    "versioning",
    "read",
    "conditional writes",
    "checksums",
    "append",
    "conditional append",
)


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("seaweedfs", set()),
        ("moto", {"checksums", "conditional append"}),
        ("juicefs", {"conditional writes", "checksums", "conditional append"}),
        ("rclone", {"conditional writes", "checksums", "append"}),
    ],
)
def test_what_a_server_allows(name: str, lacking: set[str]) -> None:
    with SERVERS[name]() as server:
        client = server.client()
        bucket = f"test-{uuid4().hex}"
        client.create_bucket(Bucket=bucket)
        status, ok = examine(server, bucket)
        assert status == 0
        assert {check for check in ok if not ok[check]} == lacking
        assert set(ALL) - set(ok) == ({"conditional append"} if name == "rclone" else set())
        assert client.list_objects_v2(Bucket=bucket).get("KeyCount", 0) == 0


def test_a_versioned_bucket(server: Server, bucket: tuple[Any, str]) -> None:
    client, name = bucket
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    status, ok = examine(server, name)
    assert (status, ok["versioning"], ok["append"]) == (0, False, True)


def test_an_identity_that_may_only_write(server: Server, bucket: tuple[Any, str]) -> None:
    status, ok = examine(server.as_identity("writer"), bucket[1])
    assert (status, ok["list"], ok["write"], ok["read"]) == (0, False, True, False)


def test_an_identity_that_may_only_read(server: Server, bucket: tuple[Any, str]) -> None:
    status, ok = examine(server.as_identity("reader"), bucket[1])
    assert (status, ok["list"], ok["write"]) == (1, True, False)


def test_the_verdict_is_in_words(
    server: Server,
    bucket: tuple[Any, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    assert main(["doctor", f"s3://{bucket[1]}/exp"]) == 0
    shown = capsys.readouterr().out
    assert " ok  append" in shown
    assert shown.endswith("\nAll is well: writers work here as designed.\n")
