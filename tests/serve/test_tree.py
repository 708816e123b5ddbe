from __future__ import annotations

import pytest

from bucketboard.serve.tree import Tree
from bucketboard.store.bucket import ObjectInfo


def tree(*paths: str) -> Tree:
    return Tree({path: ObjectInfo(path, 1, '"e"') for path in paths})


def test_directories_are_what_objects_are_below() -> None:
    seen = tree("a/b/c.tfevents", "a/d", "e")
    assert seen.names("") == ["a", "e"]
    assert seen.names("a") == ["b", "d"]
    assert seen.names("nowhere") == []
    assert seen.is_directory("")
    assert seen.is_directory("a/b")
    assert not seen.is_directory("e")
    assert seen.exists("e")
    assert not seen.exists("a/b/c")


def test_nothing_below_the_prefix_is_no_directory() -> None:
    assert not tree().exists("")
    assert tree().names("") == []


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["run1", "run2", "x"]),
        ("*/*", ["run1/a", "run1/sub", "run2/a"]),
        ("*/*/*", ["run1/sub/b"]),
        ("run1/*", ["run1/a", "run1/sub"]),
        ("run?/a", ["run1/a", "run2/a"]),
        ("run[2]/a", ["run2/a"]),
        ("run1", ["run1"]),
        ("none/*", []),
        ("*/*/*/*", []),
    ],
)
def test_a_wildcard_stays_within_its_component(pattern: str, found: list[str]) -> None:
    assert tree("run1/a", "run1/sub/b", "run2/a", "x").glob(pattern) == found


def test_names_with_wildcards_are_found_when_escaped() -> None:
    seen = tree("run[*]/a", "run?/b", "runs/c")
    assert seen.glob("run[[][*]]/*") == ["run[*]/a"]
    assert seen.glob("run[?]/*") == ["run?/b"]


@pytest.mark.parametrize(
    "path", [".bucketboard/v1/m", ".bucketboard-trash/1/r/a", "r/.bucketboard/a", "r/", "r//a", "../a"]
)
def test_what_is_ours_or_has_no_path_is_not_shown(path: str) -> None:
    assert not tree(path).exists("")
    assert tree(path, "run/a").glob("*/*") == ["run/a"]


def test_a_name_may_be_a_file_and_a_directory() -> None:
    seen = tree("x", "x/y")
    assert "x" in seen.files
    assert seen.names("x") == ["y"]
    assert seen.names("") == ["x"]


def test_runs_that_lost_a_file() -> None:
    before = tree("r/tfevents.1", "r/tfevents.2", "s/tfevents.1", "t/tfevents.1", "t/note")
    after = tree("r/tfevents.2", "r/tfevents.3", "t/tfevents.1")
    assert before.lost_runs(after) == {"r", "s"}
