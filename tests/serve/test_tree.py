from __future__ import annotations

import pytest

from bucketboard.events.filename import is_event_file
from bucketboard.selection import is_shown
from bucketboard.serve.tree import parent, run_name


@pytest.mark.parametrize(
    "path", [".bucketboard/v1/m", ".bucketboard-trash/1/r/a", "r/.bucketboard/a", "r/", "r//a", "../a", ""]
)
def test_what_is_ours_or_has_no_path_is_not_shown(path: str) -> None:
    assert not is_shown(path)


@pytest.mark.parametrize("path", ["a", "a/b", "a b/é%25/[1]", "x.bucketboard/a"])
def test_everything_else_is(path: str) -> None:
    assert is_shown(path)


def test_event_files_are_told_by_their_own_name() -> None:
    assert is_event_file("run/events.out.tfevents.1.host")
    assert is_event_file("xtfeventsx")
    assert not is_event_file("tfevents/notes.txt")


@pytest.mark.parametrize(
    ("path", "mount", "run"),
    [
        ("tfevents.1", "", "."),
        ("a/tfevents.1", "", "a"),
        ("a/b/tfevents.1", "", "a/b"),
        ("tfevents.1", "m", "m/."),
        ("a/b/tfevents.1", "m", "m/a/b"),
    ],
)
def test_a_run_is_named_by_its_directory(path: str, mount: str, run: str) -> None:
    assert run_name(parent(path), mount) == run
