"""Directories to every server and back: sync, watch, delete, run, pull."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sites import Site

from promised import MIB

pytestmark = pytest.mark.conformance

DATA = Path(__file__).parents[1] / "events" / "data"


def lay_out(root: Path) -> dict[str, bytes]:
    """Event files of TensorFlow, a projector's files, a large one, below names that need care."""
    for number, path in enumerate(sorted(DATA.iterdir())):
        run = root / ("a b", "plus+run", "per%20cent", "ü", "deep/er/run")[number % 5]
        run.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, run / f"events.out.tfevents.170000000{number}.host.1.0")
    (root / "a b" / "projector_config.pbtxt").write_text("embeddings {}\n")
    (root / "checkpoint (1).bin").write_bytes(bytes(range(256)) * (9 * MIB // 256))
    (root / "empty").write_bytes(b"")
    return contents(root)


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def stored(site: Site) -> dict[str, bytes]:
    return {key.removeprefix(site.prefix): site.place.get(key) for key in site.place.keys(site.prefix)}


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_a_directory_goes_there_and_comes_back(site: Site, tmp_path: Path) -> None:
    root, copy = tmp_path / "runs", tmp_path / "copy"
    root.mkdir()
    files = lay_out(root)
    site.command("sync", root, site.url)
    assert stored(site) == files
    assert "nothing sent" in site.command("sync", root, site.url)
    site.command("pull", site.url, copy)
    assert contents(copy) == files
    grown = root / "ü" / "events.out.tfevents.1700000003.host.1.0"
    with grown.open("ab") as file:
        file.write(sorted(DATA.iterdir())[0].read_bytes())
    (root / "a b" / "projector_config.pbtxt").unlink()
    site.command("sync", root, site.url, "--delete")
    assert stored(site) == contents(root)
    site.command("pull", site.url, copy)
    assert (copy / grown.relative_to(root)).read_bytes() == grown.read_bytes()
    assert site.uploads() == []


def test_a_directory_is_followed_live(site: Site, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    (root / "live run").mkdir(parents=True)
    body = sorted(DATA.iterdir())[0].read_bytes()
    path = root / "live run" / "events.out.tfevents.1700000000.host.1.0"
    path.write_bytes(body)
    process = site.start("sync", root, site.url, "--watch")
    key = f"{site.prefix}live run/{path.name}"
    eventually(lambda: site.place.keys(site.prefix) == [key], "the file is not there")
    with path.open("ab") as file:
        file.write(body)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=90)
    assert process.returncode in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
    assert site.place.get(key) == body * 2


def test_a_command_s_logs_are_there_when_it_has_failed(site: Site, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\n"
        "from bucketboard import SummaryWriter\n"
        "writer = SummaryWriter('runs/one more')\n"
        "writer.add_scalar('loss', 1.0, 3)\n"
        "writer.close()\n"
        "sys.exit(7)\n"
    )
    command = ("run", site.url, "--logdir", tmp_path / "runs", "--", sys.executable, script)
    process = site.start(*command, cwd=tmp_path)
    process.communicate(timeout=120)
    assert process.returncode == 7
    assert site.place.steps(site.prefix) == [3]
