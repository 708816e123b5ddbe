"""A home that takes no files, one that is not there, and a user who has none: all works, and says so once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from promised import Place, framed

pytestmark = pytest.mark.slow
NOBODY = ["unshare", "--user", "--map-user=54321"]
"""As a number that no user has, with the rights that we have: so containers are started that trust nobody."""
BUCKETBOARD = [sys.executable, "-m", "bucketboard"]
NAME = "events.out.tfevents.1700000000.host"
WRITER = """
import os, sys, threading
from bucketboard import EventFileWriter
writer = EventFileWriter(sys.argv[1])
for step in range(1000):
    writer.add_scalar("loss", step, step, 1e9)
writer.flush()
if len(sys.argv) > 2:
    os._exit(int(sys.argv[2]))
"""


@dataclass
class Homeless:
    """A user with one of the three afflictions, who runs commands."""

    place: Place
    prefix: list[str]
    environ: dict[str, str]
    path: Path

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, *map(str, command)],
            env=self.environ,
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    directory = tmp_path / "runs" / "a"
    directory.mkdir(parents=True)
    (directory / NAME).write_bytes(framed(b"\x1a\x0dbrain.Event:2") + framed(os.urandom(1000)))
    return directory.parent


@pytest.fixture(params=["read-only", "missing", "none"])
def homeless(
    request: pytest.FixtureRequest, new_place: Callable[..., Place], tmp_path: Path, logs: Path
) -> Homeless:
    place = new_place("seaweedfs")
    environ = {
        name: value
        for name, value in place.environ().items()
        if name != "HOME" and not name.startswith("XDG_")
    }
    environ["TMPDIR"] = str(tmp_path / "temporary")
    (tmp_path / "temporary").mkdir()
    if request.param == "none":
        if not shutil.which("unshare") or subprocess.run([*NOBODY, "true"], capture_output=True).returncode:
            pytest.skip("a user without a home needs unshare, and the right to use it")
        return Homeless(place, NOBODY, environ, tmp_path)
    # /proc takes no files, whoever asks: also of root, whom a mode would not keep from writing.
    environ["HOME"] = "/proc" if request.param == "read-only" else "/proc/nobody"
    return Homeless(place, [], environ, tmp_path)


def script(homeless: Homeless) -> Path:
    path = homeless.path / "writer.py"
    path.write_text(WRITER)
    return path


def test_a_writer_stores_everything(homeless: Homeless) -> None:
    done = homeless.run(sys.executable, script(homeless), homeless.place.url)
    assert done.returncode == 0, done.stderr
    assert homeless.place.steps() == list(range(1000))
    assert "Traceback" not in done.stderr
    assert done.stderr.count("kept in memory") == (0 if homeless.prefix else 1)
    assert not list(homeless.path.rglob("*.tfevents"))


def test_sync_sends_everything_and_says_once_that_nothing_is_remembered(
    homeless: Homeless, logs: Path
) -> None:
    place = homeless.place
    for sent in ("1 files sent", "nothing sent"):
        done = homeless.run(*BUCKETBOARD, "sync", logs, f"s3://{place.bucket}/exp")
        assert done.returncode == 0, done.stderr
        assert sent in done.stdout
        [line] = done.stderr.splitlines()
        assert "is not remembered" in line
    assert place.get(f"exp/a/{NAME}") == (logs / "a" / NAME).read_bytes()


def test_pull_brings_everything(homeless: Homeless, logs: Path) -> None:
    place = homeless.place
    body = (logs / "a" / NAME).read_bytes()
    place.client.put_object(Bucket=place.bucket, Key=f"exp/a/{NAME}", Body=body)
    for _ in range(2):
        done = homeless.run(*BUCKETBOARD, "pull", f"s3://{place.bucket}/exp", homeless.path / "pulled")
        assert (done.returncode, done.stderr) == (0, "")
    assert (homeless.path / "pulled" / "a" / NAME).read_bytes() == body


@pytest.mark.parametrize("status", [0, 7])
def test_run_runs_the_command_and_sends_everything(homeless: Homeless, logs: Path, status: int) -> None:
    """A command that ends without a word leaves its last events only where there is a place for a spool."""
    place = homeless.place
    command = [sys.executable, script(homeless), place.url.replace("/exp/", "/direct/")]
    if status:
        command.append(status)
    done = homeless.run(*BUCKETBOARD, "run", f"s3://{place.bucket}/exp", "--logdir", logs, "--", *command)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("is not remembered") == 1
    assert place.get(f"exp/a/{NAME}") == (logs / "a" / NAME).read_bytes()
    if homeless.prefix or not status:
        assert place.steps("direct/") == list(range(1000))
    assert not list(homeless.path.rglob("*.tfevents"))


def test_recover_has_nothing_to_do_or_does_it(homeless: Homeless) -> None:
    homeless.place.proxy.down()
    homeless.run(sys.executable, script(homeless), homeless.place.url, 7)
    homeless.place.proxy.up()
    done = homeless.run(*BUCKETBOARD, "recover")
    assert (done.returncode, done.stderr) == (0, "")
    if homeless.prefix:
        assert "1,000 events" in done.stdout
        assert homeless.place.steps() == list(range(1000))
    else:
        assert done.stdout == "nothing to recover\n"
