"""Labels: kept whatever else is written to bucketboard.json, and as object tags where there are such."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from runs_written import NAME, Experiment

import bucketboard
from bucketboard.cli.main import main
from bucketboard.errors import InvalidError
from bucketboard.replication.run_file import edit_run_file
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings

LONG = {"long": "x" * 3000}
"""Does not fit on the objects, so that the writer needs bucketboard.json too."""


def tags(experiment: Experiment, run: str) -> dict[str, str]:
    place = experiment.place
    found: list[Any] = place.client.get_object_tagging(Bucket=place.bucket, Key=f"exp/{run}/{NAME}")["TagSet"]
    return {entry["Key"]: entry["Value"] for entry in found}


@pytest.mark.parametrize("experiment", ["moto", "seaweedfs", "juicefs"], indirect=True)
def test_labels_are_set_and_removed(experiment: Experiment) -> None:
    experiment.put("a", 3)
    url = f"{experiment.url}/a"
    before = experiment.place.head(f"exp/a/{NAME}")
    done = bucketboard.label(url, {"status": "good", "by": "Ada L", "odd": "ü?*"})
    assert done.labels == {"status": "good", "by": "Ada L", "odd": "ü?*"}
    assert (done.objects, done.tagged) == (1, 1)
    assert "odd" in done.notes[0]
    assert tags(experiment, "a") == {"status": "good", "by": "Ada L"}
    assert bucketboard.label(url, {"status": "bad"}, remove=["by", "nothing"]).labels == {
        "status": "bad",
        "odd": "ü?*",
    }
    assert tags(experiment, "a") == {"status": "bad"}
    assert [run.labels for run in bucketboard.ls(experiment.url, where="status == 'bad'")] == [
        {"status": "bad", "odd": "ü?*"}
    ]
    after = experiment.place.head(f"exp/a/{NAME}")
    assert (after["ETag"], after["LastModified"]) == (before["ETag"], before["LastModified"])


@pytest.mark.parametrize("experiment", ["moto", "seaweedfs", "juicefs", "rclone"], indirect=True)
def test_labels_survive_the_writer_and_the_writers_word_survives_labels(experiment: Experiment) -> None:
    url = f"{experiment.url}/a"
    writer = experiment.run("a", metadata={"team": "one", **LONG})
    writer.add_scalar("loss", 1, 1, 1e9)
    writer.sync(30)
    bucketboard.label(url, {"status": "good"})
    assert experiment.said("a") == {
        "format": 1,
        "metadata": {"team": "one", **LONG},
        "labels": {"status": "good"},
    }
    writer.close()
    again = experiment.run("a", metadata={"team": "two", **LONG})
    again.add_scalar("loss", 1, 2, 1e9)
    again.close()
    said = experiment.said("a")
    assert (said["metadata"]["team"], said["labels"]) == ("two", {"status": "good"})
    assert experiment.place.errors == []


@pytest.mark.parametrize("experiment", ["moto", "seaweedfs"], indirect=True)
def test_nothing_is_lost_when_many_label_at_once(experiment: Experiment) -> None:
    experiment.put("a", 1)

    def work(number: int) -> None:
        bucketboard.label(f"{experiment.url}/a", {f"k{number}": "v"}, object_tags=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(6)))
    assert experiment.said("a")["labels"] == {f"k{number}": "v" for number in range(6)}


def test_what_others_keep_in_the_file_stays(experiment: Experiment) -> None:
    place = experiment.place
    experiment.put("a", 1)
    key = "exp/a/bucketboard.json"
    place.client.put_object(Bucket=place.bucket, Key=key, Body=b'{"format": 1, "later": [1, {"x": null}]}')
    bucketboard.label(f"{experiment.url}/a", {"k": "v"}, object_tags=False)
    assert experiment.said("a") == {"format": 1, "later": [1, {"x": None}], "labels": {"k": "v"}}
    newer = b'{"format": 2}'
    place.client.put_object(Bucket=place.bucket, Key=key, Body=newer)
    with pytest.raises(InvalidError, match="format 2"):
        bucketboard.label(f"{experiment.url}/a", {"k": "v"})
    writer = experiment.run("a", metadata=LONG)
    writer.add_scalar("loss", 1, 1, 1e9)
    writer.close()
    assert place.get(key) == newer
    assert len(place.event_keys("exp/a")) == 2, "what it can't say in the file keeps no events back"


def test_a_change_meanwhile_is_seen_by_the_condition(experiment: Experiment) -> None:
    """Between our reading and our writing somebody else writes."""
    place = experiment.place
    experiment.put("a", 1)
    bucket = Bucket(place.bucket, Settings.resolve(endpoint_url=place.proxy.url))
    key = "exp/a/bucketboard.json"
    calls = []
    theirs = b'{"format": 1, "metadata": {"a": "b"}}'

    def change(found: dict[str, Any]) -> None:
        if not calls:
            place.client.put_object(Bucket=place.bucket, Key=key, Body=theirs)
        calls.append(1)
        found["labels"] = {"k": "v"}

    assert edit_run_file(bucket, key, change) == {
        "format": 1,
        "metadata": {"a": "b"},
        "labels": {"k": "v"},
    }
    assert len(calls) == 2


@pytest.mark.parametrize("experiment", ["rclone"], indirect=True)
def test_where_objects_have_no_tags_labels_are_kept_all_the_same(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment.put("a", 1)
    assert main(["label", f"{experiment.url}/a", "status=good"]) == 0
    out, err = capsys.readouterr()
    assert out == "status=good\n"
    assert "the labels are stored all the same" in err
    assert main(["ls", experiment.url, "--where", "status == 'good'", "--columns", "run"]) == 0
    assert capsys.readouterr().out.split() == ["run", "a"]


def test_the_command(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    experiment.put("a", 1)
    url = f"{experiment.url}/a"
    assert main(["label", url, "k=v=w", "empty=", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == {"k": "v=w", "empty": ""}
    assert main(["label", url, "--remove", "empty"]) == 0
    assert main(["label", url]) == 0
    assert capsys.readouterr().out == "k=v=w\n" * 2
    for arguments in ([url, "novalue"], [url, "=x"], [url, "k=1", "--remove", "k"], [f"{url}/none", "k=v"]):
        assert main(["label", *arguments]) == 2
        assert capsys.readouterr().err.startswith("bucketboard: error:")
