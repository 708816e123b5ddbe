"""Indexes that are broken, foreign, newer or written by several at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from indexing import NAME, Place, scalar, start

from bucketboard.errors import BucketboardError, CorruptDataError, InvalidError, Reason, UnavailableError
from bucketboard.index import Index, local_index, update
from bucketboard.index.manifest import MANIFEST, read_manifest
from bucketboard.index.objects import Stored

A, B = f"a/{NAME.format(1)}", f"b/{NAME.format(1)}"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.write(A, start() + scalar("loss", 0, 1.0))
    place.write(B, start(1) + scalar("loss", 0, 2.0))
    place.update()
    return place


def test_a_newer_version_is_left_alone(place: Place) -> None:
    body = json.dumps({"format": 3, "whatever": []}).encode()
    place.objects.put(MANIFEST, body)
    index = Index.open(place.objects)
    assert index.files == {}
    assert "version 3" in index.trouble
    with pytest.raises(InvalidError, match="version 3"):
        place.update()
    assert place.objects.get(MANIFEST)[0] == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"format": 1}',
        b'{"format": 1, "segments": [{}], "retired": {}}',
        b'{"format": 1, "segments": [{"runs": {"name": 1}, "scalars": null}], "retired": {}}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_manifest_covers_nothing_and_is_replaced(place: Place, body: bytes) -> None:
    place.objects.put(MANIFEST, body)
    index = Index.open(place.objects)
    assert index.files == {}
    assert "manifest" in index.trouble
    place.update()
    place.check()


def test_a_segment_that_is_missing_is_uncovered_and_read_anew(place: Place) -> None:
    place.append(A, scalar("loss", 1, 1.5))
    place.update()
    first, second = read_manifest(place.objects).segments
    place.objects.delete(first.runs.name)
    index = Index.open(place.objects)
    assert index.files == {}, "what continues something that is gone does not count"
    assert "can't be read" in index.trouble
    place.update()
    assert place.check().files.keys() == {A, B}
    assert first.runs.name not in read_manifest(place.objects).names
    assert second.runs.name not in read_manifest(place.objects).names


@pytest.mark.parametrize("harm", [lambda b: b[:-20], lambda b: bytes(len(b)), lambda b: b"PAR1" + bytes(99)])
def test_a_segment_that_is_damaged_is_uncovered_and_read_anew(
    place: Place, harm: Callable[[bytes], bytes]
) -> None:
    name = read_manifest(place.objects).segments[0].runs.name
    place.objects.put(name, harm(place.objects.get(name)[0]))
    index = Index.open(place.objects)
    assert index.files == {}
    assert index.trouble
    place.update()
    place.check()


def test_scalars_that_are_gone_say_so(place: Place) -> None:
    piece = read_manifest(place.objects).segments[0].scalars
    assert piece is not None
    index = Index.open(place.objects)
    place.objects.delete(piece.name)
    with pytest.raises(UnavailableError) as caught:
        index.scalars()
    assert caught.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize("harm", [lambda b: bytes(len(b)), lambda b: None])
def test_scalars_that_are_damaged_or_gone_are_found_by_a_compaction(
    place: Place, harm: Callable[[bytes], bytes | None]
) -> None:
    piece = read_manifest(place.objects).segments[0].scalars
    assert piece is not None
    body = harm(place.objects.get(piece.name)[0])
    if body is None:
        place.objects.delete(piece.name)
    else:
        place.objects.put(piece.name, body)
        with pytest.raises(CorruptDataError, match="damaged"):
            Index.open(place.objects).scalars()
    for step in range(1, 12):
        place.append(A, scalar("loss", step, 1.0))
        place.update()
    place.update()
    place.check()


class _Meddling:
    """Objects to which something happens before a manifest is stored."""

    def __init__(self, place: Place, before: Callable[[], None]) -> None:
        self._objects = place.objects
        self._before = before
        self.get, self.list, self.delete = place.objects.get, place.objects.list, place.objects.delete

    def put(self, name: str, body: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        if name == MANIFEST:
            before, self._before = self._before, lambda: None
            before()
        return self._objects.put(name, body, if_match=if_match, if_none_match=if_none_match)

    def list(self) -> list[Stored]:
        return self._objects.list()


def test_two_that_index_different_files_both_count(place: Place) -> None:
    place.append(A, scalar("loss", 1, 1.5))

    def other() -> None:
        place.append(B, scalar("loss", 1, 2.5))
        place.update()

    # The other one indexes both files; the first one finds that it was too late.
    report = update(place.source, _Meddling(place, other))
    assert report.gave_way
    index = place.check()
    assert index.scalars()[A, "loss"].value.tolist() == [1.0, 1.5]
    assert index.scalars()[B, "loss"].value.tolist() == [2.0, 2.5]
    named = {s.name for s in place.objects.list() if s.name.endswith(".parquet")}
    assert named == read_manifest(place.objects).names


def test_who_loses_the_race_but_knows_more_tries_again(place: Place, tmp_path: Path) -> None:
    new = f"c/{NAME.format(1)}"
    place.write(new, start() + scalar("loss", 1, 1.5))
    hidden = tmp_path / "hidden"

    def other() -> None:
        """Of a process whose listing does not show the new file: it indexes the growth of another."""
        (place.root / "exp" / new).rename(hidden)
        place.append(B, scalar("loss", 1, 2.5))
        place.update()
        hidden.rename(place.root / "exp" / new)

    report = update(place.source, _Meddling(place, other))
    assert not report.gave_way
    index = place.check()
    assert index.scalars()[new, "loss"].value.tolist() == [1.5]
    assert index.scalars()[B, "loss"].value.tolist() == [2.0, 2.5]


class _Deaf(_Meddling):
    """Of a server whose answer to the manifest's PUT is lost; repeated, it meets what it stored itself."""

    def __init__(self, place: Place, reason: Reason) -> None:
        super().__init__(place, lambda: None)
        self._reason = reason

    def put(self, name: str, body: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        etag = super().put(name, body, if_match=if_match, if_none_match=if_none_match)
        if name == MANIFEST:
            raise UnavailableError("the answer was lost", reason=self._reason)
        return etag


def test_a_lost_answer_of_a_repeated_request(place: Place) -> None:
    place.append(A, scalar("loss", 1, 1.5))
    report = update(place.source, _Deaf(place, Reason.PRECONDITION))
    assert not report.gave_way
    place.check()


def test_a_lost_answer(place: Place) -> None:
    place.append(A, scalar("loss", 1, 1.5))
    with pytest.raises(UnavailableError, match="lost"):
        update(place.source, _Deaf(place, Reason.OUTCOME_UNKNOWN))
    place.check()


def test_a_first_index_made_by_two_at_once(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write(A, start() + scalar("loss", 0, 1.0))
    report = update(place.source, _Meddling(place, lambda: place.update()))
    assert report.gave_way
    place.check()


class _Unconditional(_Meddling):
    """Of a server that ignores conditions."""

    def put(self, name: str, body: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        super().put(name, body)
        return self._objects.get(name)[1]


def test_where_conditions_are_ignored_coverage_may_be_lost_and_nothing_is_wrong(place: Place) -> None:
    place.append(A, scalar("loss", 1, 1.5))

    def other() -> None:
        place.append(A, scalar("loss", 2, 1.75))
        place.append(B, scalar("loss", 1, 2.5))
        update(place.source, _Unconditional(place, lambda: None))

    update(place.source, _Unconditional(place, other))
    index = Index.open(place.objects)
    assert index.scalars()[A, "loss"].value.tolist() == [1.0, 1.5]
    assert index.scalars()[B, "loss"].value.tolist() == [2.0]
    place.update()
    place.check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_index_that_may_not_be_written_can_be_read(place: Place) -> None:
    place.append(A, scalar("loss", 1, 1.5))
    directories = [path for path in (place.root / "index").rglob("*") if path.is_dir()]
    for directory in directories:
        directory.chmod(0o500)
    try:
        with pytest.raises(InvalidError):
            place.update()
        assert Index.open(place.objects).files.keys() == {A, B}
    finally:
        for directory in directories:
            directory.chmod(0o700)


class _Failing:
    """Objects that can't be reached."""

    def get(self, name: str, start: int = 0, stop: int | None = None) -> tuple[bytes, str]:
        raise UnavailableError("no answer")

    def put(self, name: str, body: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        raise AssertionError("nothing is stored where nothing can be read")

    def list(self) -> list[Stored]:
        raise UnavailableError("no answer")

    def delete(self, name: str) -> None:
        raise UnavailableError("no answer")


def test_an_index_that_does_not_answer(place: Place) -> None:
    index = Index.open(_Failing())
    assert index.files == {}
    assert "no answer" in index.trouble
    with pytest.raises(UnavailableError):
        update(place.source, _Failing())


def test_a_file_that_can_not_be_read_leaves_the_others(place: Place) -> None:
    place.append(A, scalar("loss", 1, 1.5))
    place.append(B, scalar("loss", 1, 2.5))
    get = place.source.get

    class Source:
        files = place.source.files

        def get(self, path: str, start: int = 0, stop: int | None = None) -> object:
            if path == A:
                raise UnavailableError("not now")
            return get(path, start, stop)

    report = update(Source(), place.objects)  # type: ignore[arg-type]
    assert report.failures.keys() == {A}
    index = Index.open(place.objects)
    assert index.scalars()[B, "loss"].value.tolist() == [2.0, 2.5]
    place.update()
    place.check()


def test_local_indexes_are_bounded(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    for number in range(4):
        objects = local_index(f"s3://bucket/{number}", 2500, root)
        objects.put("scalars/x.parquet", bytes(1000))
        os.utime(next(p for p in root.iterdir() if (p / "scalars").exists() and p.stat().st_mtime > 1e9),
                 (number, number))  # fmt: skip
    kept = local_index("s3://bucket/3", 2500, root)
    assert kept.get("scalars/x.parquet")[0] == bytes(1000)
    assert sum(1 for path in root.rglob("*.parquet")) <= 2
    too_large = local_index("s3://bucket/3", 500, root)
    with pytest.raises(BucketboardError):
        too_large.get("scalars/x.parquet")
