"""Whatever the key, its path is inside the target or it is refused."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketboard.fetch.keys import lay_out, refusal_of
from bucketboard.selection import is_hidden

REFUSED = {
    "": "empty",
    "..": "'..'",
    "../x": "'..'",
    "a/../../x": "'..'",
    "a/./b": "'.'",
    "/etc/passwd": "empty",
    "a//b": "empty",
    "a/": "slash",
    "a\\b": "backslash",
    "..\\..\\x": "backslash",
    "C:/x": "drive",
    "run/c:x": "drive",
    "nul\0": "control",
    "a\nb": "control",
    "a\x7f": "control",
    "a\x85b": "control",
    "x" * 256: "255",
    "é" * 128: "255",
    "a/" * 600 + "b": "longer",
    "\ud800": "encoded",
}
TAKEN = ["a", "a b/c+d%2F", "損失/🧪", "x" * 255, "..a/b..", "...", "ab:c", "~", "-rf", "con", "$HOME/`x`"]


@pytest.mark.parametrize(("path", "reason"), REFUSED.items(), ids=ascii)
def test_what_can_not_be_a_file_is_refused(path: str, reason: str) -> None:
    said = refusal_of(path, 1024)
    assert said is not None
    assert reason in said


@pytest.mark.parametrize("path", TAKEN, ids=ascii)
def test_what_can_be_a_file_is_not(path: str) -> None:
    assert refusal_of(path) is None


PIECES = st.one_of(
    st.sampled_from(
        ["..", ".", "", "/", "\\", "C:", "a", "A", "é", "e\u0301", "\0", "x" * 256, ".bucketboard"]
    ),
    st.text(max_size=8),
)
PATHS = st.builds(lambda parts, glue: glue.join(parts), st.lists(PIECES, max_size=6), st.sampled_from("/\\ "))


@given(PATHS)
def test_a_path_is_inside_the_target_or_refused(path: str) -> None:
    if refusal_of(path) is not None:
        return
    joined = os.path.normpath(os.path.join("/target", path))
    assert joined == f"/target/{path}"
    assert all(part not in ("", ".", "..") for part in path.split("/"))
    assert "\0" not in path


def fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


@given(
    st.lists(PATHS | st.sampled_from(["a", "a/b", "A/b", "a/B", "a/b/c", "é/x", "e\u0301/y"]), max_size=12)
)
def test_no_two_files_of_a_layout_are_in_each_others_way(paths: list[str]) -> None:
    for folding in (None, fold):
        layout = lay_out(paths, fold=folding)
        assert sorted([*layout.paths, *(refusal.key for refusal in layout.refused)]) == sorted(set(paths))
        seen = [folding(path) if folding else path for path in layout.paths]
        assert len(set(seen)) == len(seen)
        for path in seen:
            assert not [other for other in seen if other.startswith(f"{path}/")]


def test_a_file_yields_to_the_directory_of_its_name() -> None:
    layout = lay_out(["x", "x/y", "x/z", "xx"])
    assert layout.paths == ["x/y", "x/z", "xx"]
    assert [(refusal.key, "directory" in refusal.reason) for refusal in layout.refused] == [("x", True)]


def test_names_collide_by_case_only_where_the_file_system_says_so() -> None:
    paths = ["Run/a", "run/b", "run/A", "run/a", "run/B/c"]
    assert lay_out(paths).paths == sorted(paths)
    layout = lay_out(paths, fold=fold)
    assert layout.paths == ["Run/a"]
    assert "'Run'" in layout.refused[0].reason


def test_our_own_names_are_hidden_wherever_they_stand() -> None:
    assert is_hidden(".bucketboard/v1/x")
    assert is_hidden("a/.bucketboard-trash/x")
    assert not is_hidden("a/bucketboard.json")
