"""What the tests of ``bucketboard run`` share: runs in processes of their own, and what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bucketboard
from bucketboard.testing import FaultProxy, Server

SOURCE = Path(bucketboard.__file__).parents[1]
DEADLINE = 60.0
OURS = {"replicating", "start", "signal", "kill", "exit", "recovered", "held", "trouble", "report"}


def wait_for(condition: Callable[[], Any], what: str = "") -> Any:
    """What ``condition`` gives once it gives something true."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"in vain: {what or condition}"
        time.sleep(0.02)
    return found


@dataclass
class Stage:
    """A bucket behind a proxy, a directory to log to, and the runs started there."""

    server: Server
    proxy: FaultProxy
    client: Any
    bucket: str
    path: Path
    program: list[str] = field(default_factory=lambda: [sys.executable, "-m", "bucketboard"])
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/exp"

    @property
    def spool(self) -> Path:
        return self.path / "state" / "bucketboard" / "spool"

    def environ(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BUCKETBOARD_")}
        own = {"PYTHONPATH": str(SOURCE), "XDG_STATE_HOME": str(self.path / "state")}
        return {**inherited, **own, **self.server.through(self.proxy.url).environ()}

    def command(self, command: Sequence[object], *options: str) -> list[str]:
        run = ["run", self.url, "--logdir", "runs", *options, "--"]
        return [*self.program, *run, *map(str, command)]

    def python(self, script: str, *arguments: object) -> list[object]:
        """A command that runs ``script``."""
        path = self.path / f"script{len(list(self.path.glob('script*')))}.py"
        path.write_text(script)
        return [sys.executable, path, *arguments]

    def start(
        self, command: Sequence[object], *options: str, prefix: Sequence[str] = (), **popen: Any
    ) -> subprocess.Popen[str]:
        """`bucketboard run`, its standard streams ours, its events on standard error."""
        process = subprocess.Popen(
            [*prefix, *self.command(command, "--json", *options)],
            env={**self.environ(), **popen.pop("environ", {})},
            cwd=self.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **popen,
        )
        self.processes.append(process)
        return process

    def run(self, command: Sequence[object], *options: str, **popen: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(command, *options),
            env={**self.environ(), **popen.pop("environ", {})},
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            **popen,
        )

    def keys(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=self.bucket)
        return [entry["Key"] for entry in listed.get("Contents", ())]

    def get(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


def events(err: str) -> list[dict[str, Any]]:
    """The events among what was said on standard error."""
    return [json.loads(line) for line in err.splitlines() if line.startswith("{")]


def kinds(err: str) -> list[str]:
    """Their kinds in order, without what the replicator tells of itself."""
    return [event["kind"] for event in events(err) if event["kind"] in OURS]


def read_until(process: subprocess.Popen[str], kind: str) -> dict[str, Any]:
    """The next event of ``kind`` on standard error."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{") and json.loads(line)["kind"] == kind:
            return json.loads(line)  # type: ignore[no-any-return]
    raise AssertionError(f"no {kind}")


def said(process: subprocess.Popen[str], line: str) -> None:
    """The command says ``line`` next."""
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def alive(pid: int) -> bool:
    """Whether the process runs, and is more than a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
