"""Listing runs: what is said of them, from an index or without one, and what it costs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from runs_written import Experiment

import bucketboard
from bucketboard import SummaryWriter
from bucketboard.cli.main import main
from bucketboard.errors import InvalidError


def names(experiment: Experiment, **options: Any) -> list[str]:
    return [run.run for run in bucketboard.ls(experiment.url, **options)]


@pytest.mark.parametrize(
    ("experiment", "indexed"), [("moto", False), ("seaweedfs", True)], indirect=["experiment"]
)
def test_what_writers_leave(experiment: Experiment, indexed: bool) -> None:
    metadata = {"team": "vision", "long": "x" * 2000}
    with SummaryWriter(f"{experiment.url}/a", metadata=metadata, spool=None) as writer:
        for step in range(5):
            writer.add_scalar("train/loss", 1 / (step + 1), step, walltime=1e9 + step)
        writer.add_text("note", "hello", 9, walltime=2e9)
        writer.add_hparams({"lr": 0.01, "opt": "adam", "bias": True}, {"acc": 0.5}, run_name="hparams")
    live = experiment.run("b", metadata={"team": "nlp"})
    live.add_scalar("train/loss", 7.0, 3, 1e9)
    live.sync(30)
    if indexed:
        assert experiment.index().files == 3
    a, sub, b = bucketboard.ls(experiment.url)
    assert [a.run, sub.run, b.run] == ["a", "a/hparams", "b"]
    assert (a.url, a.state, a.files, a.step) == (f"{experiment.url}/a", "finished", 1, 9)
    assert a.last == 2e9
    assert a.start is not None
    assert a.start <= 1e9
    loss = a.tags["train/loss"]
    assert (loss.plugin, loss.count, loss.step, loss.value) == ("scalars", 5, 4, pytest.approx(0.2))
    assert (a.tags["note/text_summary"].plugin, a.tags["note/text_summary"].value) == ("text", None)
    assert a.metadata == metadata
    assert a.gathered.keys() >= {"host", "python", "git_commit"}
    assert a.hparams == sub.hparams == {"lr": 0.01, "opt": "adam", "bias": True}
    assert (b.state, b.metadata, b.step) == ("live", {"team": "nlp"}, 3)
    live.close()
    assert [run.state for run in bucketboard.ls(experiment.url)] == ["finished"] * 3
    assert names(experiment, where='lr < 0.1 and team == "vision" and `train/loss` < 1') == ["a"]
    assert names(experiment, where="state == 'finished'", sort="-train/loss", limit=2) == ["b", "a"]


def test_an_index_spares_reading_the_files_and_a_stale_one_only_what_is_new(experiment: Experiment) -> None:
    for number in range(30):
        experiment.put(f"r{number:02}", 5, user=f"n={number}")
    experiment.index()
    runs, requests = experiment.requests(lambda: bucketboard.ls(experiment.url, where="n >= 28"))
    assert [run.run for run in runs] == ["r28", "r29"]
    assert requests == {"ListObjectsV2": 1, "GetObject": 2}  # the manifest, and what it says of runs

    experiment.put("r07", 9)
    runs, requests = experiment.requests(lambda: bucketboard.ls(experiment.url, where="step == 8"))
    assert [(run.run, run.tags["loss"].count, run.events) for run in runs] == [("r07", 9, 10)]
    assert requests == {"ListObjectsV2": 1, "GetObject": 3}

    bucketboard.label(f"{experiment.url}/r11", {"status": "good"})
    runs, requests = experiment.requests(lambda: bucketboard.ls(experiment.url, where="status == 'good'"))
    assert [run.run for run in runs] == ["r11"]
    assert requests == {"ListObjectsV2": 1, "GetObject": 4}  # and r11's bucketboard.json
    experiment.index()
    runs, requests = experiment.requests(lambda: bucketboard.ls(experiment.url, where="status == 'good'"))
    assert [run.run for run in runs] == ["r11"]
    assert requests == {"ListObjectsV2": 1, "GetObject": 3}  # of two segments; no HEAD, no bucketboard.json


def test_an_index_of_before_is_read_and_made_anew(experiment: Experiment) -> None:
    """One whose manifest is of format 1 and whose segments say nothing of runs."""
    import io

    import pyarrow.parquet

    experiment.put("a", 5, user="n=1")
    experiment.index()
    place, below = experiment.place, "exp/.bucketboard/v1/"
    manifest = json.loads(place.get(f"{below}manifest.json"))
    [segment] = manifest["segments"]
    table = pyarrow.parquet.read_table(io.BytesIO(place.get(below + segment["runs"]["name"])))
    table = table.drop_columns(["last", "modified", "state", "hparams", "metadata", "gathered", "labels"])
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    body = sink.getvalue()
    size = int.from_bytes(body[-8:-4], "little") + 8
    segment["runs"] |= {"bytes": len(body), "footer": size, "head": len(body) - size}
    manifest["format"] = 1
    for name, value in ((segment["runs"]["name"], body), ("manifest.json", json.dumps(manifest).encode())):
        place.client.put_object(Bucket=place.bucket, Key=below + name, Body=value)
    [run] = bucketboard.ls(experiment.url)
    assert (run.step, run.state, run.metadata) == (4, "finished", {"n": "1"})
    report = experiment.index()
    assert (report.read, report.failures) == (1, {})
    runs, requests = experiment.requests(lambda: bucketboard.ls(experiment.url))
    assert runs[0].metadata == {"n": "1"}
    assert requests["GetObject"] <= 3
    assert experiment.index().read == 0


def test_a_run_of_several_files_is_one_run(experiment: Experiment) -> None:
    for value in (1.0, 2.0):
        writer = experiment.run("a")
        writer.add_scalar("loss", value, int(value), 1e9 + value)
        writer.close()
    [run] = bucketboard.ls(experiment.url)
    loss = run.tags["loss"]
    assert (run.files, run.step, loss.count, loss.value, run.last) == (2, 2, 2, 2.0, 1e9 + 2)


def test_states(experiment: Experiment) -> None:
    experiment.put("closed", 1, "closed")
    experiment.put("live", 1, "live")
    experiment.put("foreign", 1, "")
    states = {run.run: run.state for run in bucketboard.ls(experiment.url, stalled_after=1e6)}
    assert states == {"closed": "finished", "live": "live", "foreign": "live"}
    states = {run.run: run.state for run in bucketboard.ls(experiment.url, stalled_after=1e-9)}
    assert states == {"closed": "finished", "live": "stalled", "foreign": "unknown"}


def test_order(experiment: Experiment) -> None:
    for run, user in (("a", "x=10"), ("b", "x=9"), ("c", "x=word"), ("d", "")):
        experiment.put(run, 1, user=user)
    assert names(experiment, sort="x") == ["b", "a", "c", "d"]
    assert names(experiment, sort="-x") == ["c", "a", "b", "d"]
    assert names(experiment, sort=["step", "-run"]) == ["d", "c", "b", "a"]
    assert names(experiment, limit=0) == []
    with pytest.raises(InvalidError, match="limit"):
        names(experiment, limit=-1)


def test_damaged_and_strange_files_do_not_hide_the_others(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    place = experiment.place
    experiment.put("a", 3)
    key = "exp/bad/events.out.tfevents.1.h.1.0"
    for name, body in (
        (key, b"\0" * 100),
        ("exp/a/bucketboard.json", b'{"format": 1, "labels": ['),
        ("exp/.bucketboard-trash/x/events.out.tfevents.1", b""),
    ):
        place.client.put_object(Bucket=place.bucket, Key=name, Body=body)
    assert main(["ls", experiment.url, "--columns", "run,step"]) == 1
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [["run", "step"], ["a", "2"], ["bad"]]
    assert "bad/events.out.tfevents.1.h.1.0" in err


def test_the_command(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    experiment.put("r1", 3, user="team=vision&evil=%1B%5B2J")
    experiment.put("r2", 3, user="team=nlp")
    assert main(["ls", experiment.url, "--where", "team == 'vision'", "--columns", "run,team,loss,evil"]) == 0
    out, _ = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["run", "team", "loss", "evil"],
        ["r1", "vision", "3", "\\x1b[2J"],
    ]
    assert main(["ls", experiment.url, "--sort=-run", "--limit", "1", "--json"]) == 0
    [run] = json.loads(capsys.readouterr().out)
    assert (run["run"], run["tags"]["loss"]["value"]) == ("r2", 4.0)
    assert main(["ls", experiment.url, "--where", "taem == 'vision'"]) == 0
    assert "did you mean 'team'" in capsys.readouterr().err
    assert main(["ls", experiment.url, "--where", "team ="]) == 2
    assert "at column" in capsys.readouterr().err
    assert main(["ls", f"{experiment.url}/nothing"]) == 0
    assert "no run below" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_runs_take_twenty_requests_at_most(experiment: Experiment) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: experiment.put(f"r{n:05}", 2, user=f"n={n}"), range(10_000)))
    experiment.index()
    runs, requests = experiment.requests(
        lambda: bucketboard.ls(experiment.url, where="n < 5 or loss > 10000")
    )
    assert [run.run for run in runs] == [*(f"r{n:05}" for n in range(5))]
    assert requests == {"ListObjectsV2": 11, "GetObject": 2}
