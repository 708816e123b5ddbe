"""``bucketboard doctor`` on servers that differ."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bucketboard.cli.main import main
from bucketboard.testing import SERVERS, Fault, FaultKind, FaultProxy, Server


def ask(target: str, *options: str, environ: dict[str, str]) -> tuple[int, dict[str, dict[str, Any]]]:
    """The command in a process of its own, because clients and their credentials last as long as theirs."""
    command = [sys.executable, "-m", "bucketboard", "doctor", target, "--json", *options]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert (environ.get("AWS_SECRET_ACCESS_KEY") or "bucketboard-secret") not in done.stdout
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {check["name"]: check for check in checks}


def examine(server: Server, bucket: str) -> tuple[int, dict[str, bool | None]]:
    """What is said of a prefix of the bucket."""
    status, checks = ask(f"s3://{bucket}/some runs/ü", environ=server.environ())
    return status, {name: check["ok"] for name, check in checks.items()}


ALL = {
    *("endpoint", "identity", "bucket", "region", "clock", "list", "write", "versioning", "read"),
    *("conditional writes", "checksums", "append", "conditional append", "cleanup", "delete", "encryption"),
    *("replication", "notifications", "object lock", "lifecycle", "commands", "cost", "verdict"),
}


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("seaweedfs", set()),
        ("moto", {"checksums", "conditional append"}),
        (
            "juicefs",
            {"conditional writes", "checksums", "conditional append", "replication", "object lock"},
        ),
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
        assert {check for check in ok if not ok[check]} == {*lacking, "lifecycle"}
        assert ALL - set(ok) == ({"conditional append"} if name == "rclone" else set())
        assert client.list_objects_v2(Bucket=bucket).get("KeyCount", 0) == 0


def test_a_versioned_bucket(server: Server, bucket: tuple[Any, str]) -> None:
    client, name = bucket
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    status, ok = examine(server, name)
    assert (status, ok["versioning"], ok["append"], ok["delete"]) == (0, False, True, True)
    left = client.list_object_versions(Bucket=name)
    assert not left.get("Versions")
    assert not left.get("DeleteMarkers")


def test_an_identity_that_may_only_write(server: Server, bucket: tuple[Any, str]) -> None:
    status, ok = examine(server.as_identity("writer"), bucket[1])
    assert (status, ok["list"], ok["write"], ok["read"]) == (0, False, True, False)


def test_an_identity_that_may_only_read(server: Server, bucket: tuple[Any, str]) -> None:
    status, ok = examine(server.as_identity("reader"), bucket[1])
    assert (status, ok["list"], ok["write"]) == (1, True, False)
    assert "read" not in ok


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


@pytest.fixture
def moto_bucket(moto_server: Server, clients: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    client = clients.setdefault(moto_server.endpoint, moto_server.client())
    name = f"doctor-{uuid4().hex}"
    client.create_bucket(Bucket=name)
    return client, name


def test_what_a_bucket_is_configured_to_do(moto_server: Server, moto_bucket: tuple[Any, str]) -> None:
    client, name = moto_bucket
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "key"}
    client.put_bucket_encryption(
        Bucket=name,
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": default}]},
    )
    _status, checks = ask(f"s3://{name}/exp", environ=moto_server.environ())
    assert "bucket key" in checks["encryption"]["detail"]
    assert checks["lifecycle"]["ok"] is False
    assert checks["lifecycle"]["data"]["missing"] == [
        "AbortIncompleteMultipartUpload",
        "NoncurrentVersionExpiration",
    ]
    rule = checks["lifecycle"]["data"]["rule"]
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})
    _, checks = ask(f"s3://{name}/exp", environ=moto_server.environ())
    assert checks["lifecycle"]["ok"] is True, "the rule that was advised is enough"
    _, checks = ask(f"s3://{name}/other", environ=moto_server.environ())
    assert checks["lifecycle"]["ok"] is False, "and is one for its own prefix"
    assert client.list_object_versions(Bucket=name).get("Versions") is None


def test_a_bucket_in_another_region_is_named(moto_server: Server, clients: dict[str, Any]) -> None:
    client = clients.setdefault(moto_server.endpoint, moto_server.client())
    name = f"doctor-{uuid4().hex}"
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    _, checks = ask(f"s3://{name}/exp", "--region", "ap-south-1", environ=moto_server.environ())
    assert checks["region"]["ok"] is False
    assert "--region eu-west-1" in checks["region"]["detail"]
    assert ask(f"s3://{name}", "--region", "eu-west-1", environ=moto_server.environ())[1]["region"]["ok"]


@contextlib.contextmanager
def listener(answer: bytes) -> Iterator[int]:
    """A port that answers anything with ``answer``."""
    code = (
        "import socket, sys\n"
        "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
        "while True:\n"
        f"    c = s.accept()[0]; c.recv(100); c.sendall({answer!r}); c.close()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def test_what_keeps_an_endpoint_from_being_reached_is_told_apart() -> None:
    def verdict(endpoint: str) -> str:
        status, checks = ask("s3://bucket/exp", "--endpoint-url", endpoint, environ={})
        assert status == 1
        assert list(checks) == ["endpoint", "verdict"]
        return str(checks["endpoint"]["detail"])

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refused
        assert "no connection" in verdict(f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert "can't be resolved" in verdict("https://no-such-name.invalid")
    with listener(b"HTTP/1.1 400 no\r\n\r\n") as port:
        assert "no TLS" in verdict(f"https://127.0.0.1:{port}")


def test_without_a_bucket_or_credentials(moto_server: Server, tmp_path: Path) -> None:
    status, checks = ask("s3://no-such-bucket-here/exp", environ=moto_server.environ())
    assert (status, checks["bucket"]["ok"]) == (1, False)
    assert "write" not in checks
    nobody = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    status, checks = ask("s3://bucket/exp", environ={**moto_server.environ(), **nobody})
    assert (status, checks["identity"]["ok"]) == (1, False)


def test_an_identity_that_may_not_delete_leaves_an_empty_object_and_says_so(
    moto_bucket: tuple[Any, str], moto_server: Server
) -> None:
    client, name = moto_bucket
    denied = Fault(FaultKind.STATUS, operation="DeleteObject", status=403, code="AccessDenied")
    with FaultProxy(moto_server.endpoint) as proxy:
        proxy.inject(denied)
        status, checks = ask(f"s3://{name}/exp", environ=moto_server.through(proxy.url).environ())
    assert status == 0
    assert checks["delete"]["ok"] is False
    assert checks["commands"]["data"]["index"] is False
    assert checks["commands"]["data"]["writer"] is True
    [left] = client.list_objects_v2(Bucket=name)["Contents"]
    assert left["Size"] == 0
    assert f"s3://{name}/{left['Key']}" in checks["delete"]["detail"]


def test_the_smallest_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "s3://my-bucket/exp", "--policy", "writer"]) == 0
    printed = json.loads(capsys.readouterr().out)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    [documented] = re.findall(r"```json\n(\{\n  \"Version\".*?)```", readme, re.DOTALL)

    def rules(policy: Any) -> set[tuple[str, str]]:
        return {
            (action, statement["Resource"])
            for statement in policy["Statement"]
            for action in statement["Action"]
            if not action.startswith("kms:")
        }

    assert rules(printed) == rules(json.loads(documented))
    key = "arn:aws:kms:eu-central-1:111122223333:key/KEY"
    options = ["--sse", "aws:kms", "--sse-kms-key-id", key]
    assert main(["doctor", "s3://my-bucket", "--policy", "serve,index", *options]) == 0
    both = json.loads(capsys.readouterr().out)["Statement"]
    assert [statement["Resource"] for statement in both] == [
        "arn:aws:s3:::my-bucket/*",
        "arn:aws:s3:::my-bucket/.bucketboard/*",
        "arn:aws:s3:::my-bucket",
        key,
    ]
    assert main(["doctor", "s3://my-bucket", "--policy", "train"]) == 2
    assert "known are: writer" in capsys.readouterr().err


def test_the_table_of_permissions_is_what_policies_are_made_of() -> None:
    from bucketboard.store.permissions import NEEDS

    readme = (Path(__file__).parents[2] / "README.md").read_text()
    rows = [line.split("|")[1:-1] for line in readme.splitlines() if re.match(r"\| .*`s3:", line)]
    names = {"writer, `run`, `sync`, `recover`": "writer", "writer, write-only": "write-only"}
    seen = set()
    for command, *cells in rows:
        found = set(itertools.chain(*(re.findall(r"`(\w+:\w+)`", cell) for cell in cells)))
        for name in (
            [names.get(command.strip())] if command.strip() in names else re.findall(r"`(\w+)`", command)
        ):
            needs = NEEDS[str(name)]
            if name not in ("doctor", "archive", "thaw"):  # in words
                assert found == {*needs.actions, *needs.key}, name
            seen.add(name)
    assert seen >= {"writer", "write-only", "serve", "pull", "verify", "compact", "index", "doctor"}
