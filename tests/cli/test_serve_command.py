from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bucketboard.testing import Server

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def bucket_name(moto_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in moto_server.environ().items():
        monkeypatch.setenv(name, value)
    client = moto_server.client()
    name = f"cli-{uuid4().hex}"
    client.create_bucket(Bucket=name)
    yield name
    client.close()


@pytest.fixture
def start() -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def serve(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bucketboard", "serve", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield serve
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_in_order(bucket_name: str, start: Start, number: int, status: int) -> None:
    process = start(f"s3://{bucket_name}/exp", "--port", "0", "--", "--window_title", "mine")
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with urllib.request.urlopen(f"{url}data/environment", timeout=30) as answer:
        told: Any = json.load(answer)
    assert told["window_title"] == "mine"
    assert told["data_location"] == f"s3://{bucket_name}/exp"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert out == ""
    assert (
        err
        == f"bucketboard: no event files below s3://{bucket_name}/exp yet: runs will show as they appear\n"
    )


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["s3://no-such-bucket-here/exp"], 2, "NoSuchBucket"),
        (["s3://{}/exp", "--profile", "nobody"], 2, "profile (nobody) could not be found"),
        (["s3://{}/exp", "--endpoint-url", "http://127.0.0.1:9"], 1, "no connection"),
        (["s3://{}/exp", "--reload-interval", "-1"], 2, "reload_interval"),
        (["s3://{}/exp", "--", "--port", "1"], 2, "--port can't be given to TensorBoard"),
        ([], 2, "name what to show, once"),
        (["s3://{}/exp", "--logdir", "s3://{}/exp"], 2, "name what to show, once"),
        (["s3://{}/a", "s3://{}/b"], 2, "several targets need names"),
        (["a=s3://{}/a", "a=s3://{}/b"], 2, "two targets have the name 'a'"),
        (["s3://{}/exp", "--bind_all", "--host", "0.0.0.0"], 2, "exclude each other"),
        (["s3://{}/exp", "--runs", "["], 2, "no regular expression"),
        (["s3://{}/exp", "--samples_per_plugin", "scalars"], 2, "not of the form plugin=number"),
        (["s3://{}/exp", "--auth-token-file", "/none"], 2, "the token can't be read"),
    ],
)
def test_what_can_not_be_served(
    bucket_name: str, start: Start, arguments: list[str], status: int, message: str
) -> None:
    process = start(*(argument.format(bucket_name) for argument in arguments))
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert out == ""
    assert message in err
    assert err.startswith("bucketboard: error: ")
    assert "Traceback" not in err


def test_tensorboard_s_own_spellings(bucket_name: str, start: Start) -> None:
    process = start(
        *("--logdir", f"s3://{bucket_name}/exp", "--port=0", "--host=127.0.0.1", "--reload_interval=1"),
        *("--samples_per_plugin=scalars=0,images=7", "--path_prefix=/boards", "--window_title=mine"),
        *("--cache-size=0",),
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.endswith("/boards/")
    with urllib.request.urlopen(f"{url}data/environment", timeout=30) as answer:
        assert json.load(answer)["window_title"] == "mine"


def test_a_logdir_spec(bucket_name: str, start: Start, tmp_path: Path) -> None:
    process = start(f"--logdir_spec=a:s3://{bucket_name}/exp,b:{tmp_path}", "--port=0")
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with urllib.request.urlopen(f"{url}data/environment", timeout=30) as answer:
        assert json.load(answer)["data_location"] == f"a:s3://{bucket_name}/exp,b:{tmp_path}"


def test_the_printed_link_has_the_token(bucket_name: str, start: Start) -> None:
    process = start(f"s3://{bucket_name}/exp", "--port=0", "--host=0.0.0.0")
    assert process.stdout is not None
    url, _, token = process.stdout.readline().strip().partition("?token=")
    request = urllib.request.Request(f"{url}data/runs", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer) == []
