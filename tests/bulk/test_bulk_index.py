"""Indexing in shares: the same index whoever reads them; what was read is not read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bucketboard.bulk.index import index_runs
from bucketboard.errors import InvalidError, UnavailableError
from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.index import BucketObjects, Index, share
from bucketboard.index.manifest import read_manifest
from bucketboard.testing import Fault, FaultKind
from promised import Place, blob, framed

RUNS = 20
NAME = "events.out.tfevents.1.host.1.0"


@pytest.fixture(autouse=True)
def little_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "_WORTH_IT", 1)


@pytest.fixture
def place(new_place: Callable[..., Place]) -> Place:
    place = new_place("moto")
    encoder = ScalarEncoder()
    for run in range(RUNS):
        records = [encoder.record("loss", run + step / 3, step, 1e9 + step) for step in range(30)]
        body = frame(file_version_event(1e9)) + framed(blob(run, 50)) + b"".join(records)
        place.client.put_object(Bucket=place.bucket, Key=f"exp/run{run}/{NAME}", Body=body)
    label = b'{"format": 1, "labels": {"best": "yes"}}'
    place.client.put_object(Bucket=place.bucket, Key="exp/run3/bucketboard.json", Body=label)
    return place


def objects(place: Place) -> BucketObjects:
    from bucketboard.store.bucket import Bucket
    from bucketboard.store.settings import Settings

    return BucketObjects(Bucket(place.bucket, Settings(endpoint_url=place.server.endpoint)), "exp/")


def forget(place: Place) -> None:
    """Delete the index."""
    for key in place.keys("exp/.bucketboard/"):
        place.client.delete_object(Bucket=place.bucket, Key=key)


def run_index(place: Place, **how: Any) -> Any:
    return index_runs(f"s3://{place.bucket}/exp", endpoint_url=place.proxy.url, **how)


def receipts(place: Place) -> int:
    """How many there are."""
    return len(place.keys("exp/.bucketboard/v1/shares/"))


def segments(place: Place) -> list[bytes]:
    """The bytes of the segments, as they are named."""
    named = read_manifest(objects(place)).segments
    pieces = [piece for segment in named for piece in (segment.runs, segment.scalars) if piece]
    return [place.get(f"exp/.bucketboard/v1/{piece.name}") for piece in pieces]


def test_shares_make_the_same_index_as_one_reader(place: Place) -> None:
    here = run_index(place)
    whole = Index.open(objects(place))
    expected = {"scalars": whole.scalars(), "values": whole.values()}
    forget(place)
    by_one = run_index(place, workers=1)
    assert by_one.segments == 8
    assert (by_one.rows, by_one.read, by_one.files) == (here.rows, here.read, here.files) == (620, 20, 20)
    found = Index.open(objects(place))
    assert found.parts == whole.parts
    assert found.tags == whole.tags
    assert found.run_files == whole.run_files
    for which in ("scalars", "values"):
        rows = getattr(found, which)()
        assert rows.keys() == expected[which].keys()
        for key, known in expected[which].items():
            for name in ("step", "wall_time", "value"):
                np.testing.assert_array_equal(getattr(rows[key], name), getattr(known, name))
    assert receipts(place) == 0


@pytest.mark.slow
def test_two_processes_make_the_same_bytes_as_one(place: Place) -> None:
    run_index(place, workers=1)
    made = segments(place)
    assert len(made) == 16
    forget(place)
    assert run_index(place, workers=2).rows == 620
    assert segments(place) == made


def test_what_was_read_before_an_interruption_is_not_read_again(place: Place) -> None:
    fault = place.proxy.inject(Fault(FaultKind.STATUS, "PutObject", "*/manifest.json", status=403))
    with pytest.raises(InvalidError):
        run_index(place, workers=1)
    fault.remove()
    assert receipts(place) == 8
    grown = f"exp/run5/{NAME}"
    body = place.get(grown) + ScalarEncoder().record("loss", 1.0, 30, 1e9)
    place.client.put_object(Bucket=place.bucket, Key=grown, Body=body)
    again = run_index(place, workers=1)
    assert again.rows < 620 / 2, "of the share that has another object, all; of the others nothing"
    assert 1 <= again.read < RUNS / 2
    index = Index.open(objects(place))
    assert index.files[f"run5/{NAME}"].end == len(body)
    assert len(index.files) == RUNS
    assert receipts(place) == 1, "of the share that was another one"
    assert run_index(place, workers=1).read == 0


def test_what_an_interrupted_update_left_and_others_removed_is_read_again(place: Place) -> None:
    fault = place.proxy.inject(Fault(FaultKind.STATUS, "PutObject", "*/manifest.json", status=403))
    with pytest.raises(InvalidError):
        run_index(place, workers=1)
    fault.remove()
    gone = place.keys("exp/.bucketboard/v1/scalars/")[0]
    place.client.delete_object(Bucket=place.bucket, Key=gone)
    again = run_index(place, workers=1)
    assert 1 <= again.read < RUNS
    assert len(Index.open(objects(place)).scalars()) == RUNS


def test_files_that_can_t_be_read_are_told_and_the_others_indexed(place: Place) -> None:
    place.proxy.inject(Fault(FaultKind.STATUS, "GetObject", f"*/run7/{NAME}", status=503))
    report = run_index(place, workers=1)
    assert report.failures.keys() == {f"run7/{NAME}"}
    assert isinstance(report.failures[f"run7/{NAME}"], UnavailableError)
    assert len(Index.open(objects(place)).files) == RUNS - 1
