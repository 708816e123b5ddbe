"""What is said of one run."""

from __future__ import annotations

import json
import time

import pytest
from runs_written import NAME, Experiment

import bucketboard
from bucketboard.cli.main import main
from bucketboard.errors import InvalidError


@pytest.mark.parametrize("experiment", ["moto", "seaweedfs"], indirect=True)
def test_a_run(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    place = experiment.place
    experiment.put("a", 100, user="team=vision", tags=("loss", "acc"))
    experiment.put("a/deeper", 7)
    place.client.put_object(Bucket=place.bucket, Key="exp/a/notes/x.txt", Body=b"12345")
    url = f"{experiment.url}/a"
    found = bucketboard.info(url)
    assert (found.index, found.index_behind) == ("", None)
    before = found.summary.size
    experiment.index()
    experiment.put("a", 120, user="team=vision", tags=("loss", "acc"))
    bucketboard.label(url, {"status": "good"})
    found = bucketboard.info(url)
    said = found.summary
    assert (said.run, said.url, said.state, said.step) == ("a", url, "finished", 119)
    assert (said.metadata, said.labels) == ({"team": "vision"}, {"status": "good"})
    assert list(found.tags) == ["acc", "loss"]
    loss = found.tags["loss"]
    assert (loss.plugin, loss.count, loss.first_step, loss.last_step, loss.value) == (
        "scalars",
        120,
        0,
        119,
        119.0,
    )
    assert (len(loss.trend), loss.trend[0], loss.trend[-1]) == (32, 0.0, 119.0)
    assert sorted(loss.trend) == list(loss.trend)
    files = {file.name: file for file in found.files}
    assert files.keys() == {NAME, "bucketboard.json", "notes/x.txt"}
    assert (files[NAME].events, files[NAME].state) == (241, "closed")
    assert (files["notes/x.txt"].size, files["notes/x.txt"].events) == (5, None)
    assert found.object_tags == {"status": "good"}
    assert found.index == experiment.url
    assert found.index_behind == files[NAME].size - before
    assert found.lag == pytest.approx(time.time() - 1.7e9 - 119, abs=600)

    assert main(["info", url]) == 0
    out = capsys.readouterr().out
    assert f"index       {experiment.url}, " in out
    assert "▁" in out
    assert "0–119" in out
    assert main(["info", url, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert (plain["tags"]["loss"]["last_step"], plain["labels"]) == (119, {"status": "good"})


def test_what_is_no_run(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    experiment.put("a", 1)
    with pytest.raises(InvalidError, match="no run"):
        bucketboard.info(experiment.url)
    assert main(["info", f"{experiment.url}/b"]) == 2
    assert "hint: bucketboard ls" in capsys.readouterr().err


def test_values_that_are_no_numbers(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    writer = experiment.run("a")
    for step, value in enumerate([1.0, float("nan"), float("inf"), 2.0, float("-inf")]):
        writer.add_scalar("x", value, step, 1e9 + step)
    writer.close()
    assert main(["info", f"{experiment.url}/a"]) == 0
    assert "▁××█×" in capsys.readouterr().out
    assert main(["info", f"{experiment.url}/a", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tags"]["x"]["value"] is None
