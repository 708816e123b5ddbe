"""TensorBoards in processes of their own: the stock one on a directory, and ours on a bucket."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from asking import ask, differences, runs_of

from bucketboard.events.record import scan

__all__ = ["ours", "runs_with_events", "stock", "unequal", "upload", "wait_for_runs"]

_URL = re.compile(r"(?m)(?:^|^TensorBoard .* at )(http://\S+)")


@contextlib.contextmanager
def stock(
    logdir: str | Path, *arguments: str, fast: bool = True, python: str = sys.executable, interval: float = 1
) -> Iterator[str]:
    """TensorBoard as anybody starts it, with its Rust server or without; gives its URL."""
    command = [
        *(python, "-m", "tensorboard.main", "--port=0", f"--load_fast={str(fast).lower()}"),
        *(f"--reload_interval={interval:g}", "--reload_multifile=true", *arguments),
        *([f"--logdir={logdir}"] if str(logdir) else []),
    ]
    with _running(command) as url:
        yield url


@contextlib.contextmanager
def ours(
    *targets: str,
    arguments: Sequence[str] = (),
    python: str = sys.executable,
    interval: float = 0.5,
    log: Path | None = None,
) -> Iterator[str]:
    """``bucketboard serve``; gives its URL. What it says goes to ``log``."""
    command = [
        *(python, "-m", "bucketboard", "serve", *targets, "--port", "0"),
        *("--reload-interval", str(interval), *arguments),
    ]
    with _running(command, log) as url:
        yield url


@contextlib.contextmanager
def _running(command: Sequence[str], said: Path | None = None) -> Iterator[str]:
    with said.open("w+") if said else tempfile.TemporaryFile("w+") as log:
        # A pipe for its input: TensorBoard's Rust server ends with it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            env={**os.environ, "NO_PROXY": "127.0.0.1,localhost"},
        )
        try:
            yield _first_url(process, log)
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _first_url(process: subprocess.Popen[str], log: IO[str], timeout: float = 60) -> str:
    deadline = time.monotonic() + timeout
    while True:
        log.seek(0)
        text = log.read()
        if found := _URL.search(text):
            return found[1].rstrip("/").replace("localhost", "127.0.0.1")
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"{process.args!r} gave no URL:\n{text}")
        time.sleep(0.05)


def runs_with_events(directory: Path) -> set[str]:
    """The runs that TensorBoard finds below a directory: where a file has at least one whole record."""
    return {
        str(path.parent.relative_to(directory))
        for path in directory.rglob("*tfevents*")
        if path.is_file() and next(scan(path.read_bytes()), None) is not None
    }


def unequal(expected: str, found: str, directory: Path, timeout: float = 40) -> str:
    """The differences between two TensorBoards that show what is in ``directory``, "" once there are none.

    Each must have found every run first: two that are still empty are not equal.
    """
    deadline = time.monotonic() + timeout
    for url in (expected, found):
        wait_for_runs(url, runs_with_events(directory), deadline)
    while True:
        told = differences(ask(expected), ask(found))
        if not told or time.monotonic() > deadline:
            return told


def wait_for_runs(url: str, runs: set[str], deadline: float) -> None:
    """Wait until a TensorBoard names all ``runs``, and no others."""
    while (named := set(runs_of(url))) != runs:
        assert time.monotonic() < deadline, f"{url} names {sorted(named)} instead of {sorted(runs)}"
        time.sleep(0.1)


def upload(client: Any, bucket: str, directory: Path, prefix: str = "exp") -> str:
    """Put every file of a directory into a bucket; gives the URL."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(directory).as_posix()}"
            client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    return f"s3://{bucket}/{prefix}"
