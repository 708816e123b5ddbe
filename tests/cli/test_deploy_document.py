"""docs/DEPLOY.md: its commands parse, its files are what they are to be, and what can run here runs."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
import yaml

import bucketboard
from bucketboard.cli import main as cli
from bucketboard.testing import Server

DOCUMENT = (Path(__file__).parents[2] / "docs" / "DEPLOY.md").read_text(encoding="utf-8")
SOURCE = Path(bucketboard.__file__).parents[1]
TRAIN = """
import os, sys
logdir = sys.argv[sys.argv.index("--logdir") + 1] if "--logdir" in sys.argv else os.environ["LOGDIR"]
os.makedirs(logdir)
open(os.path.join(logdir, "log.txt"), "w").write(" ".join(sys.argv[1:]))
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def block(language: str, containing: str) -> str:
    [found] = [text for text in blocks(language) if containing in text]
    return found


def parsed(words: list[str]) -> Any:
    """The options of a command line, which argparse has accepted."""
    assert words[0].rpartition("/")[2] == "bucketboard"
    own, _, rest = cli._split(words[1:])
    options = cli._parser(cli._COMMANDS).parse_args(own)
    options.rest = rest
    return options


def commands() -> list[str]:
    lines = [line for text in blocks("bash") for line in text.replace("\\\n", " ").splitlines()]
    return [line.removeprefix("exec ") for line in lines if re.match(r"(exec )?bucketboard ", line)]


@pytest.mark.parametrize("command", commands())
def test_a_command_line(command: str) -> None:
    options = parsed(shlex.split(command))
    assert getattr(options, "takes_rest", False) == bool(options.rest) or "serve" in command


@pytest.mark.parametrize("script", blocks("bash"))
def test_a_script(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def pods() -> list[dict[str, Any]]:
    documents = [document for text in blocks("yaml") for document in yaml.safe_load_all(text)]
    return [entry["spec"]["template"]["spec"] for entry in documents if entry["kind"] == "Job"]


@pytest.mark.parametrize("pod", pods(), ids=["wrapper", "sidecar"])
def test_a_pod_leaves_time_for_the_grace(pod: dict[str, Any]) -> None:
    containers = [*pod.get("initContainers", ()), *pod["containers"]]
    lines = [[*entry["command"], *entry.get("args", ())] for entry in containers]
    [options] = [parsed(line) for line in lines if line[0] == "bucketboard"]
    assert options.grace < pod["terminationGracePeriodSeconds"]
    [volume] = pod["volumes"]
    mounts = {mount["name"]: mount["mountPath"] for entry in containers for mount in entry["volumeMounts"]}
    assert mounts == {volume["name"]: getattr(options, "logdir", "") or options.source}


def test_the_service(tmp_path: Path) -> None:
    text = block("ini", "ExecStart")
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read_string(text)
    service = unit["Service"]
    assert parsed(shlex.split(service["ExecStart"])).grace < float(service["TimeoutStopSec"])
    assert service["KillMode"] == "mixed"
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / "training.service"
    path.write_text(text.replace("/opt/train/bin/", f"{os.path.dirname(sys.executable)}/"))
    path.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={shutil.which('true')}", path.read_text()))
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True)
    assert "training.service" not in done.stderr, done.stderr


@pytest.fixture
def place(moto_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A directory with train.py, bucketboard and python on the PATH; a client of a server with my-bucket."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "bucketboard").write_text(f'#!/bin/sh\nexec {sys.executable} -m bucketboard "$@"\n')
    (programs / "bucketboard").chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    (tmp_path / "train.py").write_text(TRAIN)
    monkeypatch.chdir(tmp_path)
    variables = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(SOURCE)}
    for name, value in {
        **moto_server.environ(),
        **variables,
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }.items():
        monkeypatch.setenv(name, value)
    client = moto_server.client()
    client.create_bucket(Bucket="my-bucket")
    yield client
    for entry in client.list_objects_v2(Bucket="my-bucket").get("Contents", ()):
        client.delete_object(Bucket="my-bucket", Key=entry["Key"])
    client.close()


def stored(client: Any, key: str) -> str:
    body: bytes = client.get_object(Bucket="my-bucket", Key=key)["Body"].read()
    return body.decode()


def test_the_entry_point_of_sagemaker(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "launch.py").write_text(block("python", "TRAINING_JOB_NAME"))
    monkeypatch.setenv("TRAINING_JOB_NAME", "job-7")
    monkeypatch.setenv("LOGDIR", str(tmp_path / "tensorboard"))
    done = subprocess.run(["python", "launch.py", "--lr", "0.1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert stored(place, "exp/job-7/algo-1/log.txt") == "--lr 0.1"


def test_the_batch_script_of_slurm(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "sweep.sh"
    script.write_text(block("bash", "#SBATCH"))
    for name, value in {
        "SLURM_ARRAY_JOB_ID": "4711",
        "SLURM_ARRAY_TASK_ID": "3",
        "TMPDIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert stored(place, "exp/4711/3/log.txt").startswith("--seed 3 --logdir ")


def test_the_watch_for_the_notice_of_an_interruption(tmp_path: Path) -> None:
    asked: list[tuple[str, str, str | None]] = []

    class Metadata(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked.append(("PUT", self.path, self.headers["X-aws-ec2-metadata-token-ttl-seconds"]))
            self._answer(200, b"TOKEN")

        def do_GET(self) -> None:
            asked.append(("GET", self.path, self.headers["X-aws-ec2-metadata-token"]))
            self._answer(200 if len(asked) > 4 else 404, b'{"action": "terminate"}')

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        metadata = f"http://127.0.0.1:{server.server_address[1]}"
        variables = {"METADATA": metadata, "EVERY": "0.05", "STOP": f"touch {tmp_path}/stopped"}
        script = block("bash", "spot-watch")
        done = subprocess.run(["bash", "-c", script], env={**os.environ, **variables}, timeout=60)
        server.shutdown()
    assert done.returncode == 0
    assert (tmp_path / "stopped").exists()
    assert asked[-1] == ("GET", "/latest/meta-data/spot/instance-action", "TOKEN")
    assert asked[0] == ("PUT", "/latest/api/token", "60")


def test_a_role_by_web_identity(
    place: Any, moto_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As EKS sets it for a service account: no keys, but a token to be exchanged for some."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "token").write_text("a.web.token")
    for name, value in {
        "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/training-logs",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ENDPOINT_URL_STS": moto_server.endpoint,
        "LOGDIR": str(tmp_path / "runs"),
    }.items():
        monkeypatch.setenv(name, value)
    [line] = [[*entry["command"], *entry["args"]] for entry in pods()[0]["containers"]]
    command = [str(tmp_path / "runs") if word == "/runs" else word for word in line]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert stored(place, "exp/train/log.txt") == ""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    (tmp_path / "runs").rename(tmp_path / "earlier")
    done = subprocess.run(
        [*command[:3], "--drain-timeout", "1", *command[3:]], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 75
    assert "is incomplete" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def minio(moto_server: Server, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a server with a certificate by an authority of its own, and that one's certificate."""
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    upstream = urlsplit(moto_server.endpoint)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the listener was closed
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=relay, args=(connection,), daemon=True).start()

        def relay(connection: socket.socket) -> None:
            address = (str(upstream.hostname), int(upstream.port or 0))
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(connection, server_side=True) as client,
                socket.create_connection(address) as server,
            ):
                back = threading.Thread(target=copy, args=(server, client), daemon=True)
                back.start()
                copy(client, server)
                back.join()

        def copy(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(1 << 16):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://localhost:{listener.getsockname()[1]}", bundle
        listener.shutdown(socket.SHUT_RDWR)


def test_an_authority_of_its_own(
    place: Any, minio: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, bundle = minio
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv("LOGDIR", "runs")
    exports, doctor, run = block("bash", "export BUCKETBOARD_CA_BUNDLE").splitlines()[:2], *commands()[1:3]
    exported = "\n".join(exports).replace("https://minio.example.org:9000", url)
    assert shlex.split(run)[:2] == ["bucketboard", "run"]
    without = exported.replace("export BUCKETBOARD_CA_BUNDLE", "ignored")
    failing = run.replace(" -- ", " --drain-timeout 2 -- ")
    done = subprocess.run(["bash", "-c", f"{without}\n{failing}"], capture_output=True, text=True)
    assert done.returncode == 75
    assert (tmp_path / "runs" / "log.txt").exists()
    assert "TLS failed: " in done.stderr
    assert "certificate verify failed" in done.stderr
    assert "hint: for a private certificate authority set ca_bundle= or AWS_CA_BUNDLE" in done.stderr

    trusting = exported.replace("/etc/ssl/certs/example-org.pem", str(bundle))
    done = subprocess.run(["bash", "-c", f"{trusting}\n{doctor}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    sync = next(command for command in commands() if "--ca-bundle" in command)
    sync = sync.replace("https://minio.example.org:9000", url)
    done = subprocess.run(["bash", "-c", sync], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert stored(place, "exp/log.txt") == ""
    (tmp_path / "runs").rename(tmp_path / "earlier")
    done = subprocess.run(["bash", "-c", f"{trusting}\n{run}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
