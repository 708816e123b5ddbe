"""A tree: which files of a directory take part, whatever else lies there, and nothing outside it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.tree import Found, Tree
from bucketboard.selection import Selection


class Seen:
    """A tree and what it refused."""

    def __init__(self, root: Path, wanted: Selection | None = None, key_bytes: int = 0) -> None:
        self.refused: dict[str, str] = {}
        self.tree = Tree(root, wanted or Selection(), self.refused.__setitem__, key_bytes=key_bytes)

    def paths(self) -> list[str]:
        return list(self.tree.scan())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "logdir"
    path.mkdir()
    return path


def put(root: Path, path: str, data: bytes = b"x") -> Path:
    at = root / path
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_bytes(data)
    return at


def test_files_of_nested_directories_with_what_tells_them_apart(root: Path) -> None:
    for path in ("b/c/d.txt", "a", "b/a b", "b/ü.json", "z/deep/er/file", ".hidden"):
        put(root, path, path.encode())
    (root / "empty").mkdir()
    seen = Seen(root)
    files = seen.tree.scan()
    assert sorted(files) == sorted(["b/c/d.txt", "a", "b/a b", "b/ü.json", "z/deep/er/file", ".hidden"])
    for path, found in files.items():
        status = (root / path).stat()
        assert found == Found(path, status.st_ino, len(path.encode()), status.st_mtime_ns)
    assert not seen.refused
    assert not seen.tree.missed


def test_nothing_where_there_is_no_directory(root: Path) -> None:
    assert Seen(root / "none").paths() == []
    put(root, "file")
    assert Seen(root / "file").paths() == []
    assert Seen(root / "none").tree.look("x") is None


def test_the_directory_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    put(root, "run/a")
    (tmp_path / "link").symlink_to(root)
    seen = Seen(tmp_path / "link")
    assert seen.paths() == ["run/a"]
    assert seen.tree.look("run/a") == seen.tree.scan()["run/a"]


def test_links_inside_are_followed(root: Path) -> None:
    put(root, "real/file", b"12345")
    (root / "file").symlink_to("real/file")
    (root / "dir").symlink_to(root / "real")
    (root / "real" / "chain").symlink_to("../file")
    seen = Seen(root)
    assert sorted(seen.paths()) == ["dir/chain", "dir/file", "file", "real/chain", "real/file"]
    assert {found.size for found in seen.tree.scan().values()} == {5}
    assert not seen.refused


def test_links_that_leave_are_refused(root: Path, tmp_path: Path) -> None:
    put(tmp_path, "outside/secret")
    put(tmp_path, "logdir2/secret")  # its name begins as the directory's does
    (root / "file").symlink_to(tmp_path / "outside" / "secret")
    (root / "dir").symlink_to("../outside")
    (root / "sibling").symlink_to("../logdir2/secret")
    (root / "parent").symlink_to("..")
    (root / "twice").symlink_to("dir")
    (root / "root").symlink_to("/")
    seen = Seen(root)
    assert seen.paths() == []
    assert seen.refused == dict.fromkeys(
        ["file", "dir", "sibling", "parent", "twice", "root"], "a link that leads out of the directory"
    )
    for path in ("file", "dir/secret", "sibling", "../outside/secret", "parent/outside/secret"):
        assert seen.tree.look(path) is None


def test_links_to_nothing_are_refused(root: Path) -> None:
    (root / "dangling").symlink_to("nothing")
    (root / "self").symlink_to("self")
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    put(root, "c")
    seen = Seen(root)
    assert seen.paths() == ["c"]
    assert seen.refused == dict.fromkeys(["dangling", "self", "a", "b"], "a link to nothing")


def test_loops_end(root: Path) -> None:
    put(root, "a/file")
    put(root, "b/file")
    (root / "a" / "to_b").symlink_to(root / "b")
    (root / "b" / "to_a").symlink_to("../a")
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "here").symlink_to(".")
    seen = Seen(root)
    assert sorted(seen.paths()) == ["a/file", "a/to_b/file", "b/file", "b/to_a/file"]
    assert seen.refused == dict.fromkeys(
        ["a/up", "a/here", "a/to_b/to_a", "b/to_a/to_b", "b/to_a/up", "b/to_a/here"],
        "a link that leads back to a directory it is in",
    )


def test_what_is_no_file_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "pipe")
    (root / "to_pipe").symlink_to("pipe")
    monkeypatch.chdir(root)  # sockets' paths are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        put(root, "file")
        seen = Seen(root)
        assert seen.paths() == ["file"]
        assert seen.refused == dict.fromkeys(["pipe", "to_pipe", "socket"], "neither a file nor a directory")
        assert seen.tree.look("pipe") is None
        assert Seen(root, Selection(include=("file",))).refused == {}


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of somebody who may not read everything, as whom the test runs."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        os.chown(name, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


def test_what_can_not_be_read_is_missed(unprivileged: Path) -> None:
    put(unprivileged, "closed/file")
    put(unprivileged, "blind/file")
    put(unprivileged, "open/file")
    (unprivileged / "closed").chmod(0)
    (unprivileged / "blind").chmod(0o600)  # its names can be listed, and nothing else
    seen = Seen(unprivileged)
    assert seen.paths() == ["open/file"]
    assert seen.tree.missed.keys() == {"closed", "blind/file"}
    assert all("ermission" in why for why in seen.tree.missed.values())
    (unprivileged / "closed").chmod(0o700)
    (unprivileged / "blind").chmod(0o700)
    assert seen.paths() == ["blind/file", "closed/file", "open/file"]
    assert not seen.tree.missed


def test_what_is_left_out_need_not_be_readable(unprivileged: Path) -> None:
    put(unprivileged, "lost+found/file")
    put(unprivileged, "run/file")
    (unprivileged / "lost+found").chmod(0)
    (unprivileged / "out").symlink_to("/")
    os.mkfifo(unprivileged / "pipe")
    seen = Seen(unprivileged, Selection(exclude=("lost+found", "out", "pipe")))
    assert seen.paths() == ["run/file"]
    assert not seen.tree.missed
    assert not seen.refused
    (unprivileged / "lost+found").chmod(0o700)


def test_directories_left_out_are_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("checkpoints/1/a", ".bucketboard/v1/a", "run/checkpoints/b", "run/c"):
        put(root, path)
    read: list[str] = []
    scandir = os.scandir

    def spy(path: str) -> os._ScandirIterator[str]:
        read.append(os.path.relpath(path, root))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", spy)
    assert Seen(root, Selection(exclude=("checkpoints/",))).paths() == ["run/c"]
    assert read == [".", "run"]


def test_names_that_no_key_can_have_are_missed(root: Path) -> None:
    bad = os.fsencode(root) + b"/b\xffd"
    Path(os.fsdecode(bad)).mkdir()
    put(root, os.fsdecode(b"b\xffd/file"))
    put(root, os.fsdecode(b"caf\xe9"))
    put(root, "fine")
    seen = Seen(root)
    assert seen.paths() == ["fine"]
    assert set(seen.tree.missed.values()) == {"its name is not valid UTF-8, which keys must be"}
    assert seen.tree.missed.keys() == {"b\\udcffd/file", "caf\\udce9"}
    for path in seen.tree.missed:
        path.encode()  # it can be shown
    assert seen.tree.look(os.fsdecode(b"caf\xe9")) is None


def test_refusals_can_be_shown_too(root: Path) -> None:
    os.mkfifo(os.fsencode(root) + b"/p\xffpe")
    os.symlink(b"nothing", os.fsencode(root) + b"/l\xffnk")
    seen = Seen(root)
    assert seen.paths() == []
    assert seen.refused.keys() == {"p\\udcffpe", "l\\udcffnk"}


def test_keys_that_are_too_long_are_missed(root: Path) -> None:
    deep = "/".join(["d" * 100] * 5)
    fits, long = f"{deep}/{'f' * 19}", f"{deep}/{'f' * 20}"
    wide = f"{deep}/{'ü' * 10}"  # bytes count, not characters
    for path in (fits, long, wide):
        put(root, path)
    assert len(fits) == 524
    seen = Seen(root, key_bytes=500)
    assert seen.paths() == [fits]
    assert seen.tree.missed == dict.fromkeys([long, wide], "its key would have more than 1024 bytes")
    assert seen.tree.look(long) is None
    assert seen.tree.look(fits) is not None


def test_a_directory_as_deep_as_the_system_allows(root: Path) -> None:
    """What lies too deep for a key is missed; that there are so many levels is no failure."""
    here = os.getcwd()
    os.chdir(root)
    try:
        for _ in range(1500):  # further than one path reaches, and than one function may call itself
            os.mkdir("d")
            os.chdir("d")
        Path("file").write_bytes(b"x")
    finally:
        os.chdir(here)
    put(root, "/".join(["d"] * 400) + "/file")
    seen = Seen(root)
    try:
        assert seen.paths() == ["/".join(["d"] * 400) + "/file"]
        assert set(seen.tree.missed.values()) == {"its key would have more than 1024 bytes"}
    finally:
        while True:  # for shutil can't
            deep = root / "/".join(["d"] * 500)
            if not deep.exists():
                break
            deep.rename(root / "cut")
            os.system(f"rm -rf {root}/cut")


def test_files_and_directories_that_vanish_while_it_scans_are_not_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("a/file", "gone/file", "link/file", "z/gone", "z/stays"):
        put(root, path)
    (root / "to_gone").symlink_to("gone")
    scandir = os.scandir

    def vanish(path: Any) -> os._ScandirIterator[str]:
        if not isinstance(path, str):
            return scandir(path)  # of the removal itself
        if Path(path).name == "a":
            shutil.rmtree(root / "gone")
        listed = scandir(path)
        if Path(path).name == "z":
            (root / "z" / "gone").unlink()
        return listed

    monkeypatch.setattr(os, "scandir", vanish)
    seen = Seen(root)
    assert seen.paths() == ["a/file", "link/file", "z/stays"]
    assert not seen.tree.missed  # it is no failure


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["run/a.txt", "run/deep/b.txt", "run/events.out.tfevents.1", "top.txt"]),
        ({"events_only": True}, ["run/events.out.tfevents.1"]),
        ({"include": ("*.txt",)}, ["run/a.txt", "run/deep/b.txt", "top.txt"]),
        ({"include": ("run",)}, ["run/a.txt", "run/deep/b.txt", "run/events.out.tfevents.1"]),
        ({"include": ("run/",), "exclude": ("*deep",)}, ["run/a.txt", "run/events.out.tfevents.1"]),
        ({"include": ("run/*.txt",)}, ["run/a.txt", "run/deep/b.txt"]),
        ({"exclude": ("*",)}, []),
        ({"exclude": ("run/?.txt", "[tx]op*")}, ["run/deep/b.txt", "run/events.out.tfevents.1"]),
        ({"exclude": ("deep",)}, ["run/a.txt", "run/events.out.tfevents.1", "top.txt"]),
        ({"exclude": ("/deep",)}, ["run/a.txt", "run/deep/b.txt", "run/events.out.tfevents.1", "top.txt"]),
        ({"exclude": ("RUN",)}, ["run/a.txt", "run/deep/b.txt", "run/events.out.tfevents.1", "top.txt"]),
        ({"exclude": ("",)}, ["run/a.txt", "run/deep/b.txt", "run/events.out.tfevents.1", "top.txt"]),
        ({"include": "*.txt", "exclude": "run"}, ["top.txt"]),
    ],
)
def test_filters(root: Path, options: dict[str, object], expected: list[str]) -> None:
    for path in ("run/a.txt", "run/deep/b.txt", "run/events.out.tfevents.1", "top.txt", ".bucketboard/x"):
        put(root, path)
    put(root, "run/.bucketboard-trash/1/a.txt")
    wanted = SyncOptions(**options).selection  # type: ignore[arg-type]
    seen = Seen(root, wanted)
    assert sorted(seen.paths()) == expected
    everything = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    assert sorted(filter(wanted, everything)) == expected


NAMES = st.sampled_from(["a", "b", "c.txt", "events.out.tfevents.1", ".bucketboard"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
KINDS = st.sampled_from(["file", "file", "file", "pipe", "dir"]) | PATHS  # a path: a link to it
PATTERNS = st.lists(st.sampled_from(["a", "b/", "*.txt", "a/*", "*/b", "?", "*tfevents*"]), max_size=2)


@st.composite
def filters(draw: st.DrawFn) -> Selection:
    return Selection(tuple(draw(PATTERNS)), tuple(draw(PATTERNS)), draw(st.booleans()))


def build(root: Path, tree: dict[str, str]) -> None:
    for path, kind in tree.items():
        at = root / path
        try:
            at.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                at.write_bytes(b"x")
            elif kind == "pipe":
                os.mkfifo(at)
            elif kind == "dir":
                at.mkdir()
            else:
                at.symlink_to(root / kind)
        except OSError:
            pass  # a file where a directory should be, or the other way round


@given(st.dictionaries(PATHS, KINDS, max_size=8), filters(), st.lists(PATHS, max_size=20))
@settings(max_examples=300)
def test_a_look_agrees_with_a_scan(tree: dict[str, str], wanted: Selection, others: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        build(root, tree)
        seen = Seen(root, wanted)
        files = seen.tree.scan()
        assert not seen.tree.missed
        for path in {*files, *others, *tree, *seen.refused}:
            assert seen.tree.look(path) == files.get(path), path
        for path in files:
            assert wanted(path)
            assert (root / path).is_file()
            assert (root / path).resolve().is_relative_to(root.resolve())


@given(st.dictionaries(PATHS, KINDS, max_size=8), filters())
@settings(max_examples=200)
def test_a_scan_finds_all_that_is_reached_without_a_link(tree: dict[str, str], wanted: Selection) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        build(root, tree)
        plain = {
            os.path.relpath(os.path.join(base, file), root)
            for base, _, files in os.walk(root)
            for file in files
            if os.path.isfile(os.path.join(base, file)) and not os.path.islink(os.path.join(base, file))
        }
        assert set(filter(wanted, plain)) <= set(Seen(root, wanted).tree.scan())


def test_a_look_sees_a_file_below_a_link(root: Path) -> None:
    """Else what changes there in the last moment could not be looked at again."""
    put(root, "real/file")
    (root / "dir").symlink_to("real")
    (root / "file").symlink_to("real/file")
    seen = Seen(root)
    for path in ("dir/file", "file"):
        before = seen.tree.look(path)
        put(root, "real/file", b"longer" * len(path))
        now = seen.tree.look(path)
        assert now is not None
        assert now != before
        assert now.size == 6 * len(path)


def test_keys_of_a_look_can_not_leave(root: Path, tmp_path: Path) -> None:
    put(tmp_path, "secret")
    put(root, "run/a")
    seen = Seen(root)
    for path in ("../secret", "run/../../secret", "run/../run/a", "./run/a", "run//a", "", ".", "/", "run/"):
        assert seen.tree.look(path) is None, path
