"""Whoever may write to the bucket, or wrote to the target before, can't make a pull write anywhere else."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from hostile_tree import hostile
from pulling import EVENTS, content, put, records

import bucketboard
from bucketboard.testing import Server

GOOD = {f"run/{EVENTS}": records(0, 9), "run/a.txt": b"good", "..a/b..c/...": b"good", "x/y": b"good"}
EVIL = {
    "../outside": "'..'",
    "../target/../outside": "'..'",
    "run/../../outside": "'..'",
    "..": "'..'",
    "./a": "'.'",
    "/etc/evil": "empty component",
    "//a": "empty component",
    "run//a": "empty component",
    "run/a/": "slash",
    "..\\outside": "backslash",
    "C:\\outside": "backslash",
    "C:/outside": "drive letter",
    "C:outside": "drive letter",
    "nul\0": "control",
    "bell\x07\x1b[31m": "control",
    "line\nbreak": "control",
    "n" * 300: "255",
    "é" * 200 + "/x": "255",
    "x": "directory",
}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A directory in a directory in which nothing else may appear."""
    (tmp_path / "around").mkdir()
    return tmp_path / "around" / "target"


def pull(endpoint: str, target: Path, url: str = "s3://b/exp", **options: Any) -> bucketboard.PullReport:
    return bucketboard.pull(url, target, endpoint_url=endpoint, unsigned=True, **options)


def test_every_hostile_key_is_refused_and_the_rest_is_pulled(
    target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    objects = {f"exp/{path}": body for path, body in GOOD.items()}
    objects |= {f"exp/{path}": b"evil" for path in EVIL}
    objects |= {"exp/": b"", "exp/folder/": b"", "exp/.bucketboard/v1/x": b"ours"}
    with hostile(objects) as endpoint:
        report = pull(endpoint, target)
    assert content(target) == GOOD
    assert os.listdir(target.parent) == ["target"]
    reasons = {refusal.key: refusal.reason for refusal in report.refused}
    assert set(reasons) == set(EVIL)
    for path, reason in EVIL.items():
        assert reason in reasons[path]
    assert not report.complete
    assert report.files == len(GOOD)
    assert "\x1b" not in caplog.text
    assert caplog.text.count("refused") == len(EVIL)


@pytest.mark.parametrize("server", ["seaweed", "moto", "juicefs"], indirect=True)
def test_hostile_keys_that_real_servers_take(server: Server, bucket: tuple[Any, str], target: Path) -> None:
    for path in EVIL:
        with contextlib.suppress(ClientError, ParamValidationError):
            put(bucket, f"exp/{path}", b"evil")
    for path, body in GOOD.items():
        with contextlib.suppress(ClientError):
            put(bucket, f"exp/{path}", body)
    report = bucketboard.pull(f"s3://{bucket[1]}/exp", target, endpoint_url=server.endpoint)
    assert report.refused
    assert not report.failed
    assert os.listdir(target.parent) == ["target"]
    assert content(target)["run/a.txt"] == b"good"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "file").write_bytes(b"precious")
    (path / EVENTS).write_bytes(records(0, 5))
    return path


def test_links_that_lie_in_the_target_are_not_followed(target: Path, outside: Path) -> None:
    before = content(outside)
    target.mkdir()
    (target / "directory").symlink_to(outside)
    (target / "deep").mkdir()
    (target / "deep/up").symlink_to("../..")
    (target / "file").symlink_to(outside / "file")
    (target / EVENTS).symlink_to(outside / EVENTS)
    (target / "dangling").symlink_to(outside / "new")
    os.mkfifo(target / "fifo")
    (target / "taken").mkdir()
    (target / "plain").write_bytes(b"x")
    paths = ["directory/file", f"directory/{EVENTS}", "directory/new/er", "deep/up/evil", "file", EVENTS]
    paths += ["dangling", "fifo", "taken", "plain/below"]
    with hostile({f"exp/{path}": records(0, 9) for path in [*paths, "fine"]}) as endpoint:
        report = pull(endpoint, target)
    assert sorted(refusal.key for refusal in report.refused) == sorted(paths)
    for refusal in report.refused:
        assert any(word in refusal.reason for word in ("symbolic link", "special file", "directory", "file"))
    assert content(outside) == before
    assert os.listdir(target.parent) == ["target"]
    assert (target / "fine").read_bytes() == records(0, 9)
    assert (target / "file").is_symlink()
    assert not report.failed


def test_our_place_for_unfinished_files_may_be_no_link_either(target: Path, outside: Path) -> None:
    before = content(outside)
    target.mkdir()
    (target / ".bucketboard-pull").symlink_to(outside)
    with hostile({"exp/a": b"x"}) as endpoint:
        report = pull(endpoint, target)
    assert content(outside) == before
    assert [refusal.key for refusal in report.failed] == ["a"]


def test_the_target_itself_may_be_a_link(target: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target.symlink_to(tmp_path / "real")
    with hostile({"exp/a/b": b"x"}) as endpoint:
        assert pull(endpoint, target).complete
    assert content(tmp_path / "real") == {"a/b": b"x"}


@pytest.fixture
def small_disk(target: Path) -> Iterator[Path]:
    """The target as a file system of 1 MB."""
    target.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(target)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only who may mount can make a disk full")
    yield target
    subprocess.run(["umount", str(target)], check=True)


def test_a_full_disk_costs_what_does_not_fit(small_disk: Path) -> None:
    objects = {"exp/large": b"x" * 3_000_000, "exp/small": b"fits", f"exp/{EVENTS}": records(0, 9)}
    with hostile(objects) as endpoint:
        assert not pull(endpoint, small_disk).refused
    assert content(small_disk) == {"small": b"fits", EVENTS: records(0, 9)}
    with hostile({**objects, f"exp/{EVENTS}": records(0, 100_000)}) as endpoint:
        report = pull(endpoint, small_disk)
    assert {refusal.key for refusal in report.failed} == {"large", EVENTS}
    assert all("No space left" in refusal.reason for refusal in report.failed)
    whole = content(small_disk)
    assert records(0, 100_000).startswith(whole[EVENTS])
    assert whole["small"] == b"fits"


DENIED = """
import os, sys
import bucketboard
options = {"endpoint_url": sys.argv[1], "unsigned": True}
bucketboard.pull("s3://b/exp/open", sys.argv[2] + "/first", **options)  # imports what only root may read
os.setgid(65534); os.setuid(65534)
report = bucketboard.pull("s3://b/exp", sys.argv[2], **options)
print([(refusal.key, refusal.reason) for refusal in report.failed], report.files)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become somebody else")
def test_what_may_not_be_written_is_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        target = Path(name)
        target.chmod(0o777)
        (target / "closed").mkdir(mode=0o755)
        with hostile({"exp/closed/a": b"x", "exp/open/b": b"y"}) as endpoint:
            done = subprocess.run(
                [sys.executable, "-c", DENIED, endpoint, name],
                capture_output=True,
                text=True,
                timeout=60,
                env={**os.environ, "XDG_CACHE_HOME": "/nonexistent"},
            )
        assert done.stdout == "[('closed/a', 'Permission denied')] 1\n", done.stderr
        assert (target / "open/b").read_bytes() == b"y"
