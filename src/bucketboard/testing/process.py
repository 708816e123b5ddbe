"""A server process that ends with us: started, watched until it is ready, stopped."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from shutil import which

_GUARD = Path(__file__).with_name("_guard.py")
_LOG_TAIL_LINES = 20


class ServerError(RuntimeError):
    """A server could not be started; the message says why, with the end of its log."""


def executable(name: str, package: str) -> str:
    """The path of a program that a package puts beside the interpreter, or that is on the PATH."""
    path = which(name, path=sysconfig.get_path("scripts")) or which(name)
    if path is None:
        raise ServerError(f"{name} is not installed: pip install {package}")
    return path


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports of 127.0.0.1 that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A temporary directory of a server's own."""
    # The guard removes it first, and must, should this process be killed.
    with tempfile.TemporaryDirectory(prefix=f"bucketboard-{name}-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


class Process:
    """A running command under a guard, which stops it when asked or when this process dies."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], directory: Path) -> None:
        self.name = Path(command[0]).name
        self._log = directory / "server.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        with self._log.open("wb") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(directory), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=directory,
                env={**inherited, **environ},
                start_new_session=True,
            )
        assert self._guard.stdout is not None
        with self._guard.stdout as answer:
            line = answer.readline()
        if not line:
            self.stop()
            raise ServerError(f"{self.name} could not be run\n{self.log_tail()}")
        self.pid = int(line)

    def wait_ready(self, ready: Callable[[], None], timeout: float) -> None:
        """Call *ready* until it raises nothing; `ServerError` when the process ends or time is up before."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return ready()
            except Exception as error:
                if self._guard.poll() is not None:
                    raise ServerError(f"{self.name} ended at its start\n{self.log_tail()}") from error
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"{self.name} did not answer within {timeout:g} s: {error}\n{self.log_tail()}"
                    ) from error
            time.sleep(0.05)

    def log_tail(self) -> str:
        """The last lines the server wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])

    def stop(self) -> None:
        """End the process, remove its directory, and wait until both are gone."""
        assert self._guard.stdin is not None
        # A word and not just the end: a forked child of ours may hold the pipe open.
        with contextlib.suppress(BrokenPipeError), self._guard.stdin as guard:
            guard.write(b".")
        self._guard.wait()
