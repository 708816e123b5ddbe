"""``verify --repair``: only damaged records are lost, and the original is kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

import bucketboard
from bucketboard.cli.main import main
from bucketboard.runs.repair import Repaired, repair
from bucketboard.runs.verify import verify
from bucketboard.testing import Fault, FaultKind
from promised import Place, blob, framed, records

KEY = "exp/a/events.out.tfevents.1.host.1.0"


@pytest.fixture(params=["moto", "seaweedfs"])
def place(request: pytest.FixtureRequest, new_place: Callable[..., Place]) -> Place:
    return new_place(request.param)


def damaged(place: Place, *, lengths: bool = True) -> tuple[list[bytes], bytes]:
    """An object with damage of all kinds; gives what is whole in it, and all of it."""
    parts = [framed(blob(step, 500)) for step in range(30)]
    whole = [next(records(part)) for part in parts]
    for step, at in ((3, 40), (9, 2 if lengths else 40), (10, 100), (17, 9 if lengths else 40), (18, -1)):
        part = bytearray(parts[step])
        part[at] ^= 0x55
        parts[step] = bytes(part)
    data = b"".join(parts)[:-7]
    tagging = {"Tagging": "team=vision"}
    place.client.put_object(Bucket=place.bucket, Key=KEY, Body=data, **tagging)
    return [payload for step, payload in enumerate(whole) if step not in (3, 9, 10, 17, 18, 29)], data


def mend(place: Place, path: str = "exp", **options: bool) -> list[Repaired]:
    url = f"s3://{place.bucket}/{path}"
    findings = verify(url, endpoint_url=place.proxy.url).findings
    return repair(url, findings, endpoint_url=place.proxy.url, **options)


def test_only_damaged_records_are_lost(place: Place) -> None:
    whole, data = damaged(place)
    [repaired] = mend(place, force=True)
    assert not repaired.error
    assert list(records(place.get(KEY))) == whole
    assert repaired.kept == len(whole)
    assert place.get(repaired.original) == data
    assert "tfevents" not in repaired.original
    assert verify(f"s3://{place.bucket}/exp", endpoint_url=place.proxy.url).sound
    tags = place.client.get_object_tagging(Bucket=place.bucket, Key=KEY)["TagSet"]
    assert tags == [{"Key": "team", "Value": "vision"}]


def test_the_original_comes_back(new_place: Callable[..., Place]) -> None:
    """From the trash beside the run, once the mended file is out of its way."""
    place = new_place("moto")
    _, data = damaged(place)
    [repaired] = mend(place, "exp/a", force=True)
    assert repaired.original.startswith("exp/.bucketboard-trash/")
    url = f"s3://{place.bucket}/exp"
    bucketboard.rm(f"{url}/a", now=True, force=True, endpoint_url=place.proxy.url)
    bucketboard.undelete(url, repaired.original.split("/")[2], endpoint_url=place.proxy.url)
    assert place.get(KEY) == data


def test_without_keeping_the_original(place: Place) -> None:
    damaged(place)
    [repaired] = mend(place, force=True, discard=True)
    assert (repaired.error, repaired.original) == ("", "")
    assert place.keys() == [KEY]


def test_a_dry_run_changes_nothing(place: Place) -> None:
    whole, data = damaged(place)
    [repaired] = mend(place, force=True, dry_run=True)
    assert repaired.kept == len(whole)
    assert sum(stop - start for start, stop in repaired.lost) == repaired.lost_bytes > 0
    assert place.keys() == [KEY]
    assert place.get(KEY) == data


def test_a_file_that_is_being_written_is_left_alone(place: Place) -> None:
    _, data = damaged(place)
    [repaired] = mend(place)
    assert "is being written" in repaired.error
    assert place.get(KEY) == data


def test_a_file_that_changes_meanwhile_is_left_as_it_then_is(new_place: Callable[..., Place]) -> None:
    """On a server that heeds conditions."""
    place = new_place("seaweedfs")
    damaged(place)
    held = place.proxy.inject(Fault(FaultKind.HOLD, operation="PutObject", key=KEY))
    results: list[Repaired] = []
    mending = threading.Thread(target=lambda: results.extend(mend(place, force=True)))
    mending.start()
    held.wait_fired()
    place.client.put_object(Bucket=place.bucket, Key=KEY, Body=framed(blob(7, 20)))
    held.remove()
    mending.join(60)
    [repaired] = results
    assert repaired.error
    assert len(list(records(place.get(KEY)))) == 1


def test_the_command(
    new_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = new_place("moto")
    whole, _ = damaged(place)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", place.proxy.url)
    url = f"s3://{place.bucket}/exp"
    assert main(["verify", url]) == 1
    out, err = capsys.readouterr()
    assert "things are wrong" in out
    assert KEY in err
    assert main(["verify", url, "--repair", "--force", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["repaired"][0]["kept"] == len(whole)
    assert main(["verify", url]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
