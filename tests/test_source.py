from __future__ import annotations

from pathlib import Path

import pytest

from bucketboard.errors import BucketboardError, InvalidError, Reason, UnavailableError
from bucketboard.serve.targets import mounts_of, parse_logdir_spec
from bucketboard.source import DirectorySource


def test_the_files_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_bytes(b"12345")
    (tmp_path / "d").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to(tmp_path / "none")
    files = DirectorySource(tmp_path).files()
    assert {path: info.size for path, info in files.items()} == {"a/b/c": 5, "d": 0, "link/b/c": 5}


def test_parts_of_a_file_and_what_changes(tmp_path: Path) -> None:
    source = DirectorySource(tmp_path)
    (tmp_path / "f").write_bytes(b"12345")
    before = source.files()["f"].etag
    assert source.get("f")[0] == b"12345"
    assert source.get("f", 1, 3)[0] == b"23"
    assert source.get("f", 3)[0] == b"45"
    assert source.get("f", 9) == (b"", source.files()["f"])
    with open(tmp_path / "f", "ab") as file:
        file.write(b"6")
    assert source.files()["f"].etag != before


def test_what_can_not_be_read(tmp_path: Path) -> None:
    source = DirectorySource(tmp_path / "gone")
    with pytest.raises(UnavailableError):
        source.files()
    with pytest.raises(BucketboardError) as gone:
        source.get("f")
    assert gone.value.reason is Reason.NOT_FOUND


def test_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lr=0.1").mkdir()
    [mount] = mounts_of(tmp_path, {})
    assert (mount.name, mount.source.location) == ("", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    [mount] = mounts_of("lr=0.1", {})
    assert (mount.name, mount.source.location) == ("", "lr=0.1")
    named = mounts_of([f"a={tmp_path}", "b=s3://bucket/exp"], {})
    assert [(mount.name, mount.source.location) for mount in named] == [
        ("a", str(tmp_path)),
        ("b", "s3://bucket/exp"),
    ]
    assert [mount.name for mount in mounts_of({"x/y": tmp_path}, {})] == ["x/y"]
    for name in ("..", "a//b", "/a", "."):
        with pytest.raises(InvalidError, match="can't be the name"):
            mounts_of({name: tmp_path}, {})
    with pytest.raises(InvalidError, match="nothing to show"):
        mounts_of([], {})


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("a:s3://b/exp,c:/d", {"a": "s3://b/exp", "c": "/d"}),
        ("s3://b/exp", {"": "s3://b/exp"}),
        ("/x:y/z", {"": "/x:y/z"}),
        ("name:/path:with:colons", {"name": "/path:with:colons"}),
    ],
)
def test_logdir_specs_as_tensorboard_reads_them(spec: str, found: dict[str, str]) -> None:
    assert parse_logdir_spec(spec) == found
