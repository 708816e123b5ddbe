"""``verify``: what is wrong is found, where it is, and nothing else."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from bucketboard.errors import InvalidError
from bucketboard.runs.verify import Finding, verify
from promised import Place, blob, framed

DATA = Path(__file__).parents[1] / "events" / "data"
NAME = "events.out.tfevents.{}.host.1.0"


def put(place: Place, key: str, data: bytes) -> None:
    place.client.put_object(Bucket=place.bucket, Key=key, Body=data)


def found(place: Place, url: str = "exp") -> list[Finding]:
    return verify(f"s3://{place.bucket}/{url}", endpoint_url=place.proxy.url).findings


def write(place: Place, url: str, steps: int = 50) -> None:
    with contextlib.closing(place.writer(url)) as writer:
        for step in range(steps):
            writer.add_scalar("loss", 1 / (step + 1), step, 1e9 + step)
            writer.add_scalar("accuracy", step, step, 1e9 + step)
        writer.add_event(blob(steps, 3000))


@pytest.fixture
def place(new_place: Callable[..., Place]) -> Place:
    return new_place("moto")


def test_nothing_is_wrong_with_what_is_whole(place: Place) -> None:
    write(place, f"s3://{place.bucket}/exp/ours")
    for path in DATA.glob("*.tfevents"):
        put(place, f"exp/{path.stem}/{NAME.format(1)}", path.read_bytes())
    verified = verify(f"s3://{place.bucket}/exp", endpoint_url=place.proxy.url)
    assert verified.sound
    assert {run.run for run in verified.runs} == {"ours", *(path.stem for path in DATA.glob("*.tfevents"))}
    [ours] = [run for run in verified.runs if run.run == "ours"]
    assert (ours.files, ours.events) == (1, 102)


def test_every_corruption_of_one_byte_is_found(place: Place) -> None:
    """Fifty places in files of all kinds, each a run of its own; the finding is where the record begins."""
    _corrupt(place, 50)


@pytest.mark.slow
def test_each_of_a_thousand_corruptions_is_found(place: Place) -> None:
    _corrupt(place, 1000)


def _corrupt(place: Place, count: int) -> None:
    draw = random.Random(7)
    write(place, f"s3://{place.bucket}/source/ours")
    [ours] = place.files("source/")
    kinds = [ours, *(path.read_bytes() for path in sorted(DATA.glob("*.tfevents")))]
    begins: dict[str, int] = {}
    for number in range(count):
        data = bytearray(draw.choice(kinds))
        at = draw.randrange(len(data))
        data[at] ^= draw.randrange(1, 256)
        key = f"exp/{number:04}/{NAME.format(1)}"
        put(place, key, bytes(data))
        begins[key] = at
    findings = found(place)
    assert {finding.key for finding in findings} == set(begins)
    for finding in findings:
        assert finding.kind in ("record", "framing", "torn")
        assert finding.offset is not None
        assert finding.offset <= begins[finding.key]


def test_a_torn_file(place: Place) -> None:
    whole = framed(blob(0, 10))
    put(place, f"exp/a/{NAME.format(1)}", whole + framed(blob(1, 10))[:-3])
    [finding] = found(place)
    assert (finding.kind, finding.offset) == ("torn", len(whole))


def test_bytes_that_the_metadata_does_not_tell_of(place: Place) -> None:
    """Whole records, and not those that were written: a file that was cut, and one with other contents."""
    for run in ("cut", "other"):
        write(place, f"s3://{place.bucket}/exp/{run}")
    for run, key in zip(("cut", "other"), place.event_keys("exp/"), strict=True):
        last = framed(blob(50, 3000))
        new = place.get(key)[: -len(last)] + (last if run == "other" else b"")
        metadata = place.head(key)["Metadata"]
        place.client.put_object(Bucket=place.bucket, Key=key, Body=new, Metadata=metadata)
    assert [finding.kind for finding in found(place)] == ["metadata", "metadata"]


def test_a_file_that_begins_before_the_one_it_stands_behind(place: Place) -> None:
    for name, step in ((NAME.format(2), 100), (NAME.format(3), 0)):
        put(place, f"exp/a/{name}", framed(blob(step, 10)))
    [finding] = found(place)
    assert (finding.kind, finding.key) == ("order", f"exp/a/{NAME.format(3)}")


def test_an_index_that_tells_something_else(place: Place) -> None:
    """An index of other values, under the log id of the file that is there."""
    write(place, f"s3://{place.bucket}/exp/a")
    _index(place)
    assert found(place) == []
    [key] = place.event_keys("exp/")
    head, data = place.head(key), place.get(key)
    place.client.delete_object(Bucket=place.bucket, Key=key)
    write(place, f"s3://{place.bucket}/exp/b", steps=60)
    [other] = place.event_keys("exp/b/")
    metadata = {**place.head(other)["Metadata"], "bucketboard-log": head["Metadata"]["bucketboard-log"]}
    place.client.put_object(Bucket=place.bucket, Key=key, Body=place.get(other), Metadata=metadata)
    assert len(place.get(key)) > len(data)
    assert {(finding.kind, finding.key) for finding in found(place)} == {("index", key)}


def _index(place: Place) -> None:
    from bucketboard.index import BucketObjects, update
    from bucketboard.source import BucketSource
    from bucketboard.store.bucket import Bucket
    from bucketboard.store.settings import Settings
    from bucketboard.store.url import S3Url

    url = S3Url.parse(f"s3://{place.bucket}/exp")
    bucket = Bucket(url.bucket, Settings.resolve(endpoint_url=place.proxy.url))
    update(BucketSource(url, bucket), BucketObjects(bucket, url.prefix))


def test_no_runs(place: Place) -> None:
    with pytest.raises(InvalidError, match="no event files"):
        found(place, "nowhere")


def test_one_run_by_its_address(place: Place) -> None:
    write(place, f"s3://{place.bucket}/exp/a")
    verified = verify(f"s3://{place.bucket}/exp/a", endpoint_url=place.proxy.url)
    assert [run.run for run in verified.runs] == ["."]
    assert verified.sound
