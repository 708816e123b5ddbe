"""``rm``, ``undelete``, ``prune``, ``mv``, ``archive``, ``thaw``: what they ask, print, and end with."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from bucketboard.cli.main import main
from bucketboard.testing import Server

EVENTS = "events.out.tfevents.1700000000.host.1.0"


@pytest.fixture(autouse=True)
def here(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def exp(bucket: tuple[Any, str]) -> str:
    """The URL of a prefix with two runs of 1,500 bytes."""
    client, name = bucket
    for run in ("a", "b"):
        client.put_object(Bucket=name, Key=f"exp/{run}/{EVENTS}", Body=b"x" * 1500)
    return f"s3://{name}/exp"


def keys(bucket: tuple[Any, str], storage_class: str = "") -> list[str]:
    client, name = bucket
    found = client.list_objects_v2(Bucket=name).get("Contents", ())
    return [entry["Key"] for entry in found if storage_class in entry.get("StorageClass", "STANDARD")]


def on_terminal(answer: str, *arguments: str) -> tuple[int, str]:
    """The command on a terminal, answered; its status and all that it printed."""
    mine, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bucketboard", *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    printed = b""
    while b"[y/N] " not in printed:
        printed += os.read(mine, 1000)
    os.write(mine, answer.encode())
    while True:
        try:
            more = os.read(mine, 1000)
        except OSError:  # the other side is closed
            break
        if not more:
            break
        printed += more
    os.close(mine)
    return process.wait(timeout=60), printed.decode()


def test_without_a_terminal_and_yes_it_is_refused_in_a_sentence(
    exp: str, bucket: tuple[Any, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert main(["rm", exp]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 2)
    assert err.startswith("bucketboard: error: there is no terminal to ask on whether to remove them")
    assert len(keys(bucket)) == 2


def test_on_a_terminal_it_asks_with_names_counts_and_bytes(exp: str, bucket: tuple[Any, str]) -> None:
    status, printed = on_terminal("n\n", "rm", exp)
    assert status == 1
    assert "remove 2 runs (2 objects, 3,000 B), to s3://" in printed
    assert f"  {exp}/a\r\n  {exp}/b\r\n" in printed
    assert "nothing was changed" in printed
    assert len(keys(bucket)) == 2
    status, printed = on_terminal("y\n", "rm", f"{exp}/a")
    assert (status, keys(bucket)[-1]) == (0, f"exp/b/{EVENTS}")
    assert "removed 1 run (1 object, 1,500 B), to s3://" in printed
    assert f"bring back: bucketboard undelete {exp}/a 2" in printed
    assert not any(key.startswith("exp/a/") for key in keys(bucket))


def test_a_removed_run_is_listed_and_comes_back(
    exp: str, bucket: tuple[Any, str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = keys(bucket)
    assert main(["rm", f"{exp}/a", "--yes", "--json"]) == 0
    removed = json.loads(capsys.readouterr().out)
    assert (removed["complete"], removed["objects"], removed["bytes"]) == (True, 1, 1500)
    assert main(["undelete", exp]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(removed["id"])
    assert line.endswith(f"{exp}: a")
    assert main(["undelete", exp, "--json"]) == 0
    [entry] = json.loads(capsys.readouterr().out)
    assert (entry["id"], entry["runs"], entry["objects"]) == (removed["id"], ["a"], 1)
    assert main(["undelete", exp, removed["id"], "--yes"]) == 0
    assert keys(bucket) == before
    assert main(["undelete", exp, removed["id"], "--yes"]) == 2
    assert f"there is no {removed['id']} in the trash of {exp}" in capsys.readouterr().err


def test_the_trash_is_emptied(exp: str, bucket: tuple[Any, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rm", f"{exp}/a", "-y"]) == 0
    assert main(["rm", exp, "--empty-trash", "--older-than", "30d", "-y"]) == 0
    assert len(keys(bucket)) == 2
    assert main(["rm", exp, "--empty-trash", "-y"]) == 0
    assert keys(bucket) == [f"exp/b/{EVENTS}"]
    assert "deleted for good 1 run (1 object, 1,500 B)" in capsys.readouterr().out
    assert main(["rm", exp, "--older-than", "30d", "-y"]) == 2
    assert "bucketboard prune" in capsys.readouterr().err


def test_prune_says_what_it_would_remove(
    exp: str, bucket: tuple[Any, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prune", exp, "--keep-last", "1", "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("would remove  ")
    assert out[1].startswith("would remove 1 run (1 object, 1,500 B), to s3://")
    assert len(keys(bucket)) == 2
    with pytest.raises(SystemExit):
        main(["prune", exp, "--older-than", "soon"])
    assert "is no time such as 30d" in capsys.readouterr().err
    assert main(["prune", exp, "--yes"]) == 2
    assert main(["prune", exp, "--where", "size > 2000", "--yes"]) == 0
    assert len(keys(bucket)) == 2
    assert main(["prune", exp, "--where", 'run == "b"', "--yes"]) == 0
    assert not any(key.startswith("exp/b/") for key in keys(bucket))
    assert f"exp/a/{EVENTS}" in keys(bucket)


@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_to_a_colder_class_elsewhere_and_back(
    exp: str, bucket: tuple[Any, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["archive", exp, "--to", "DEEP_ARCHIVE", "--yes"]) == 0
    assert len(keys(bucket, "DEEP_ARCHIVE")) == 2
    assert main(["archive", exp, "--to", "DEEP_ARCHIVE", "--yes"]) == 0
    assert "archived 0 runs (0 objects, 0 B)" in capsys.readouterr().out
    assert main(["thaw", exp, "--yes"]) == 1
    assert capsys.readouterr().err.count("a copy was asked for: run the same command when S3 has it") == 2
    assert main(["thaw", exp, "--yes"]) == 0
    assert keys(bucket, "DEEP_ARCHIVE") == []
    assert main(["mv", exp, f"s3://{bucket[1]}/old", "--yes"]) == 0
    assert keys(bucket) == [f"old/a/{EVENTS}", f"old/b/{EVENTS}"]
    assert main(["archive", exp, "--yes"]) == 2
    assert "there is nothing below" in capsys.readouterr().err
