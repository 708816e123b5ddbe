"""Runs have the names that the stock TensorBoard gives them for the same tree."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from boards import ours, runs_with_events, stock, wait_for_runs

from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame

Stored = Callable[[Path], str]
NAME = "events.out.tfevents.1700000000.host.1.0"
PLACES = (
    NAME,
    f"plain/{NAME}",
    f"plain/below/{NAME}",
    f"plain/{NAME}.v2",
    f"deep/a/b/c/{NAME}",
    f"with space/and ünicode 日本/{NAME}",
    f"%2F+&=?#/[x]*{{y}}/{NAME}",
    f"lr=0.1,bs=2/{NAME}",
    f"a:b/{NAME}",
    f"..hidden/.dot/{NAME}",
    f"tfevents/{NAME}",
    "other names/my.tfevents",
    "other names/tfevents.profile-empty",
    "not a run/events.out",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    body = frame(file_version_event(1e9)) + ScalarEncoder().record("loss", 1.0, 0, 1e9)
    for place in PLACES:
        path = tmp_path / "logs" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return tmp_path / "logs"


def test_of_one_place(tree: Path, stored: Stored) -> None:
    names = runs_with_events(tree)
    assert len(names) == 11
    with stock(tree) as theirs, ours(stored(tree)) as from_bucket, ours(str(tree)) as from_disk:
        for url in (theirs, from_bucket, from_disk):
            wait_for_runs(url, names, time.monotonic() + 60)


def test_of_a_place_with_a_slash_behind_and_of_one_within(tree: Path, stored: Stored) -> None:
    url = stored(tree)
    with ours(f"{url}/") as whole, stock(tree / "plain") as theirs, ours(f"{url}/plain") as within:
        wait_for_runs(whole, runs_with_events(tree), time.monotonic() + 60)
        for part in (theirs, within):
            wait_for_runs(part, {".", "below"}, time.monotonic() + 60)


def test_of_named_places(tree: Path, stored: Stored) -> None:
    url = stored(tree)
    spec = f"one:{tree}/plain,two:{tree}/deep/a"
    targets = (f"one={url}/plain", f"two={url}/deep/a")
    with stock("", f"--logdir_spec={spec}", fast=False) as theirs, ours(*targets) as named:
        for board in (theirs, named):
            wait_for_runs(board, {"one/.", "one/below", "two/b/c"}, time.monotonic() + 60)
