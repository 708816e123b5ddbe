"""The index agrees with a scan of the files, whatever happened to them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indexing import NAME, Place, graph, image, scalar, start, tensor

from bucketboard.index import Index
from bucketboard.index.compact import GRACE
from bucketboard.index.manifest import read_manifest
from bucketboard.index.parquet import RUNS, read_rows

A, B = f"a/{NAME.format(1)}", f"b/{NAME.format(1)}"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _everything(log: int = 0) -> bytes:
    return start(log) + b"".join(
        [
            scalar("loss", 0, 0.5),
            tensor("accuracy", 0, 0.25, "scalars"),
            tensor("accuracy", 1, 0.5),
            tensor("double", 0, 0.1, "scalars"),
            tensor("curve", 0, 0.1, "pr_curves"),
            tensor("text", 0, [b"one", b"two"], "text"),
            image("image", 0, 10),
            image("image", 1, 5000),
            graph(),
            scalar("loss", 1, float("nan")),
            scalar("", 1, float("inf")),
        ]
    )


def test_all_kinds_of_values(place: Place) -> None:
    place.write(A, _everything())
    place.write(NAME.format(7), _everything(1))  # at the top: the run "."
    report = place.update()
    assert (report.files, report.read, report.rows, report.segments) == (2, 2, 22, 1)
    index = place.check()
    assert index.tags[A]["image"].plugin == "images"
    assert index.tags[A]["loss"].plugin == "scalars"
    assert index.tags[A]["__run_graph__"].plugin == "graphs"
    assert set(index.scalars(["loss"])) == {(A, "loss"), (NAME.format(7), "loss")}
    assert set(index.values(["image"], [A])) == {(A, "image")}


def test_nothing_new_sends_and_reads_nothing(place: Place) -> None:
    place.write(A, _everything())
    place.update()
    report = place.update()
    assert (report.read, report.bytes_read, report.bytes_sent, report.segments) == (0, 0, 0, 1)


def test_growth_adds_a_small_segment(place: Place) -> None:
    for number in range(50):
        place.write(
            f"run{number}/{NAME.format(1)}", start() + b"".join(scalar("loss", i, i) for i in range(200))
        )
    first = place.update()
    place.append(f"run7/{NAME.format(1)}", b"".join(scalar("loss", i, i) for i in range(200, 210)))
    second = place.update()
    assert (second.read, second.rows, second.segments) == (1, 10, 2)
    assert second.bytes_sent < 10_000 < first.bytes_sent
    assert second.bytes_read < 600
    index = place.check()
    assert len(index.scalars(["loss"])[f"run7/{NAME.format(1)}", "loss"]) == 210


def test_what_continues_a_series_is_of_its_plugin(place: Place) -> None:
    place.write(A, start() + tensor("text", 0, b"one", "text") + tensor("accuracy", 0, 0.5, "scalars"))
    place.update()
    place.append(A, tensor("text", 1, b"two") + tensor("accuracy", 1, 0.25))
    place.update()
    index = place.check()
    assert set(index.tags[A]) == {"accuracy", "text"}
    assert index.tags[A]["text"].plugin == "text"
    assert index.scalars()[A, "accuracy"].value.tolist() == [0.5, 0.25]
    assert set(index.values()) == {(A, "text")}
    table = read_rows(place.objects, read_manifest(place.objects).segments[1].runs, None, RUNS)
    assert table.column("plugin").to_pylist() == ["text"]


def test_a_torn_record_is_left_until_it_is_whole(place: Place) -> None:
    body = _everything()
    place.write(A, body[:-3])
    place.update()
    before = place.check().files[A].end
    place.write(A, body)
    place.update()
    assert place.check().files[A].end == len(body) > before


@pytest.mark.parametrize("shorter", [True, False])
def test_a_replaced_file_is_read_anew(place: Place, shorter: bool) -> None:
    place.write(A, _everything())
    place.write(B, _everything(1))
    place.update()
    body = start(2) + b"".join(scalar("other", i, i) for i in range(3 if shorter else 300))
    place.write(A, body)
    place.update()
    index = place.check()
    assert list(index.tags[A]) == ["other"]
    assert (A, "loss") not in index.scalars()
    assert (B, "loss") in index.scalars()


def test_damage_is_reported_and_passed_over(place: Place) -> None:
    bad = bytearray(scalar("loss", 1, 1.0))
    bad[20] ^= 1
    body = start() + scalar("loss", 0, 0.0) + bytes(bad) + scalar("loss", 2, 2.0)
    place.write(A, body)
    place.write(B, body + bytes(100))  # its end is lost
    report = place.update()
    assert {path: len(damage) for path, damage in report.damage.items()} == {A: 1, B: 2}
    index = place.check()
    assert index.scalars()[A, "loss"].step.tolist() == [0, 2]
    assert index.files[B].end == len(body)
    assert place.update().read == 0
    place.write(B, body + scalar("loss", 3, 3.0))  # mended
    place.update()
    assert place.check().scalars()[B, "loss"].step.tolist() == [0, 2, 3]


def test_many_small_segments_become_one(place: Place) -> None:
    for number in range(10):
        place.write(
            f"run{number}/{NAME.format(1)}", start() + b"".join(scalar("loss", i, i) for i in range(500))
        )
    place.update()
    compacted = []
    for round_ in range(12):
        place.append(A.replace("a/", "run3/"), scalar("loss", 500 + round_, 1.0) + image("image", round_, 5))
        report = place.update()
        compacted.append(report.compacted)
        assert report.segments <= 9
    place.check()
    assert any(compacted)
    names = {stored.name for stored in place.objects.list() if stored.name.endswith(".parquet")}
    manifest = read_manifest(place.objects)
    # What is named no more stays for a while, for readers that are at it.
    assert names == manifest.names | dict(manifest.retired).keys()
    assert dict(manifest.retired)


def test_what_is_retired_for_long_is_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bucketboard.index.compact.GRACE", -GRACE)
    place.objects.put("runs/orphan.parquet", b"of a process that died")
    for step in range(12):
        with_what = place.append if step else place.write
        with_what(A, scalar("loss", step, 1.0))
        place.update()
    place.check()
    manifest = read_manifest(place.objects)
    names = {stored.name for stored in place.objects.list()}
    assert "runs/orphan.parquet" not in names
    assert names == manifest.names | dict(manifest.retired).keys() | {"manifest.json"}


def test_files_that_are_gone_leave_at_a_rewrite(place: Place) -> None:
    place.write(A, _everything())
    place.write(B, _everything(1))
    place.update()
    (place.root / "exp" / A).unlink()
    report = place.update()
    assert report.compacted
    assert place.check().files.keys() == {B}


_RUNS = ["a/" + NAME.format(1), "a/" + NAME.format(2), "b/" + NAME.format(1), NAME.format(1)]
_RECORDS: list[Callable[[float], bytes]] = [
    lambda at: scalar("loss", 1, 1.0, at),
    lambda at: scalar("loss", 2, 2.0, at),
    lambda at: tensor("accuracy", 3, 0.5, "scalars", at),
    lambda at: tensor("accuracy", 4, 0.5, None, at),
    lambda at: tensor("text", 1, b"words", "text", at),
    lambda at: image("image", 1, 20, at),
    lambda at: image("image", 2, 3000, at),
    lambda at: graph(at),
    lambda at: bytes(20),
]
_records = st.lists(st.sampled_from(_RECORDS), max_size=4)


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "replace", "remove", "tear"]), st.sampled_from(_RUNS), _records),
        min_size=1,
        max_size=10,
    ),
    st.data(),
)
def test_whatever_happens(
    steps: list[tuple[str, str, list[Callable[[float], bytes]]]], data: st.DataObject
) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        place = Place(root)
        for number, (what, path, records) in enumerate(steps):
            # No two files end alike: times differ, as they do where several processes write.
            body = b"".join(record(float(number)) for record in records)
            file = root / "exp" / path
            if what == "replace" or not file.exists():
                place.write(path, start(number) + body)
            elif what == "append":
                place.append(path, body)
            elif what == "tear":
                place.append(path, body[:-3])
            else:
                file.unlink()
            if data.draw(st.booleans()):
                place.update()
                place.check()
        place.update()
        place.check()
    finally:
        shutil.rmtree(root)


def test_an_empty_place(place: Place) -> None:
    report = place.update()
    assert (report.files, report.segments, report.bytes_sent) == (0, 0, 0)
    index = Index.open(place.objects)
    assert (index.files, index.trouble, index.scalars(), index.values()) == ({}, "", {}, {})
