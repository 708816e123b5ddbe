"""What a writer finds out by itself, when, and what it leaves alone."""

from __future__ import annotations

import subprocess
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest

from bucketboard import recover
from bucketboard.writer import gather
from bucketboard.writer.gather import redacted
from promised import Place

KEY = "bucketboard-gathered"


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(directory), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "code"
    (root / "deep").mkdir(parents=True)
    git(tmp_path, "init", "-q", "-b", "trunk", str(root))
    (root / "deep" / "train.py").write_text("import sys\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "one")
    return root


def test_git(repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    expected = {"git_commit": commit, "git_branch": "trunk", "git_dirty": "false"}
    assert gather._git(repository / "deep") == expected
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git/refs/heads/trunk").exists()
    assert gather._git(repository) == expected
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    assert gather._git(tmp_path / "side") == {**expected, "git_branch": "side"}
    (repository / "untracked").write_text("x")
    assert gather._git(repository)["git_dirty"] == "false"
    (repository / "deep" / "train.py").write_text("import os\n")
    assert gather._git(repository)["git_dirty"] == "true"
    git(repository, "checkout", "-q", "--detach")
    assert gather._git(repository) == {"git_commit": commit, "git_dirty": "true"}
    assert gather._git(Path("/")) == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["python", "train.py", "--lr", "0.1"], "python train.py --lr 0.1"),
        (["t", "--token=abc", "--api-key", "abc", "--lr=1"], "t --token=*** --api-key *** --lr=1"),
        (["t", "HF_TOKEN=abc", "--password", "--lr"], "t HF_TOKEN=*** --password --lr"),
        (["t", "https://u:p@host/x"], "t https://***@host/x"),
        (["t", "AKIAIOSFODNN7EXAMPLE"], "t ***"),
    ],
)
def test_a_command_line_without_its_secrets(arguments: list[str], said: str) -> None:
    assert redacted(arguments) == said


SCRIPT = """\
import os, sys, threading
import bucketboard.writer.gather as gather
from bucketboard import EventFileWriter
asked = []
real = gather.gathered
def gathered():
    asked.append(threading.current_thread().name)
    return real()
import bucketboard.writer.sink as sink
sink.gathered = gathered
modules = set(sys.modules)
class torch: __version__ = "9.9"
import types
fake = types.ModuleType("torch"); fake.__version__ = "9.9"; sys.modules["torch"] = fake
writer = EventFileWriter(sys.argv[1], gather_command=True, endpoint_url=sys.argv[2])
assert not asked
writer.add_scalar("a", 1.0, 1, 1e9)
writer.flush()
writer.close()
print(*sorted(set(asked)))
print(*sorted({"tensorflow", "jax", "keras", "transformers"} & sys.modules.keys()))
"""


def test_it_is_found_out_by_the_uploader_alone(new_place: Callable[..., Place], repository: Path) -> None:
    place = new_place("moto")
    script = repository / "deep" / "train.py"
    script.write_text(SCRIPT)
    environ = {"SLURM_JOB_ID": "4711", "SM_CURRENT_INSTANCE_TYPE": "ml.p4d.24xlarge"}
    done = place.run(script, place.url, place.proxy.url, "--token=abc", environ=environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["bucketboard-upload", ""]
    [key] = place.event_keys()
    found = dict(urllib.parse.parse_qsl(place.head(key)["Metadata"][KEY]))
    assert found["git_commit"] == git(repository, "rev-parse", "HEAD")
    assert found["git_dirty"] == "true"
    assert (found["torch"], found["slurm_job"]) == ("9.9", "4711")
    assert found["instance_type"] == "ml.p4d.24xlarge"
    assert found["host"]
    assert found["python"]
    assert "user" not in found
    said = place.get("exp/run/bucketboard.json").decode()
    assert "train.py" in said
    assert "--token=***" in said
    assert "abc" not in said


def test_it_can_be_left_out(new_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch) -> None:
    place = new_place("moto")
    place.writer(place.url, spool=None, gather_metadata=False).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUCKETBOARD_GATHER_METADATA", "0")
        writer = place.writer(spool=None)
        writer.add_scalar("a", 1, 1, 1e9)
        writer.close()
    [key] = place.event_keys()
    assert KEY not in place.head(key)["Metadata"]
    assert place.keys() == [key], "nothing but the event file"


def test_what_can_not_be_found_out_keeps_no_events_back(
    new_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> dict[str, str]:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("bucketboard.writer.sink.gathered", fails)
    place = new_place("moto")
    writer = place.writer(spool=None)
    writer.add_scalar("a", 1, 1, 1e9)
    writer.close()
    assert place.steps() == [1]
    assert place.errors == []


def test_recover_restates_it(new_place: Callable[..., Place], tmp_path: Path) -> None:
    place = new_place("moto")
    spool = tmp_path / "dead"
    writer = place.writer(spool=spool, close_timeout=0, timeout=5)
    writer.add_scalar("a", 1, 1, 1e9)
    writer.sync(30)
    place.proxy.down()
    writer.add_scalar("a", 1, 2, 1e9)
    writer.close()
    place.proxy.up()
    assert [result.state for result in recover(spool)] == ["sent"]
    [key] = place.event_keys()
    metadata = place.head(key)["Metadata"]
    assert metadata["bucketboard-state"] == "closed"
    assert dict(urllib.parse.parse_qsl(metadata[KEY])).keys() >= {"host", "python"}
