"""``bucketboard.open``: the same data with an index, past an index and without one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_logs import STEPS, event_file, log, upload

import bucketboard
from bucketboard.cli.main import main
from bucketboard.errors import InvalidError, UnavailableError
from bucketboard.testing import FaultProxy, Server

KINDS = ["histograms", "images", "audio", "text", "hparams", "pr_curves", "tensors", "graphs"]
NAME = "events.out.tfevents.{}.host.1.0"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("logs")
    log(made, "a")
    log(made, "b/c")
    return made


@pytest.fixture
def proxy(moto_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(moto_server.endpoint, record=True) as made:
        for name, value in moto_server.through(made.url).environ().items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def server(moto_server: Server) -> Server:
    return moto_server


def write(directory: Path, run: str, *bodies: bytes) -> None:
    (directory / run).mkdir(parents=True, exist_ok=True)
    for number, body in enumerate(bodies, 1):
        (directory / run / NAME.format(number)).write_bytes(body)


def everything(logdir: bucketboard.Logdir) -> dict[str, Any]:
    """Of each kind, all rows as text."""
    found = {kind: getattr(logdir, kind)().to_arrow().to_pylist() for kind in KINDS}
    return {"scalars": repr(logdir.scalars_arrow().to_pylist()), **{k: repr(v) for k, v in found.items()}}


def test_runs_and_scalars_of_a_directory(directory: Path) -> None:
    logdir = bucketboard.open(directory)
    assert logdir.runs() == ["a", "a/hp", "b/c", "b/c/hp"]
    frame = logdir.scalars(runs="a", tags="loss/*")
    assert list(frame.columns) == ["run", "tag", "step", "wall_time", "value"]
    assert frame["tag"].tolist() == ["loss/odd"] * STEPS + ["loss/train"] * STEPS
    assert frame["step"].tolist() == [*range(STEPS), *range(STEPS)]
    assert frame["wall_time"].tolist() == [1e9 + step for step in range(STEPS)] * 2
    assert frame["value"][STEPS:].tolist() == pytest.approx([step / 3 for step in range(STEPS)])
    assert logdir.scalars(runs=["a", "b/*"], tags=["final"])["run"].tolist() == ["b/c/hp"]
    assert logdir.scalars(tags="no such").empty


def test_wide_scalars_have_a_column_for_each_tag(directory: Path) -> None:
    frame = bucketboard.open(directory).scalars(runs="a", wide=True)
    assert list(frame.columns) == ["run", "step", "loss/odd", "loss/train"]
    assert frame["step"].tolist() == list(range(STEPS))
    assert frame["loss/train"].tolist() == pytest.approx([step / 3 for step in range(STEPS)])


def test_arrow_and_polars_have_what_pandas_has(directory: Path) -> None:
    logdir = bucketboard.open(directory)
    frame = logdir.scalars()
    assert repr(logdir.scalars_arrow().to_pylist()) == repr(frame.to_dict("records"))
    assert repr(logdir.scalars_polars().to_dicts()) == repr(frame.to_dict("records"))
    assert logdir.text().to_polars().to_dicts() == logdir.text().to_pandas().to_dict("records")


def test_a_name_that_looks_like_a_glob_is_a_name(tmp_path: Path) -> None:
    write(tmp_path, "lr=[0.1]", event_file(1.0, tag="a[0]"))
    frame = bucketboard.open(tmp_path).scalars(runs="lr=[0.1]", tags="a[0]")
    assert frame["value"].tolist() == [1.0]


def test_overlapping_restarts_are_kept_or_dropped(tmp_path: Path) -> None:
    write(tmp_path, "run", event_file(0, 1, 2, 3), event_file(20, 30, 40, first=2), event_file(31, first=3))
    kept = bucketboard.open(tmp_path).scalars()
    assert kept["step"].tolist() == [0, 1, 2, 3, 2, 3, 4, 3]
    dropped = bucketboard.open(tmp_path, restarts="drop").scalars()
    assert list(zip(dropped["step"], dropped["value"], strict=True)) == [(0, 0), (1, 1), (2, 20), (3, 31)]
    with pytest.raises(InvalidError, match="restarts"):
        bucketboard.open(tmp_path, restarts="other")  # type: ignore[arg-type]


def test_values_are_what_was_logged(directory: Path) -> None:
    logdir = bucketboard.open(directory)
    notes = logdir.text(runs="a")
    assert [note.rows()[0]["value"] for note in notes] == [f"step {step} ü" for step in range(STEPS)]
    [large] = logdir.images(runs="a", tags="large")
    assert (large.rows()[0]["width"], large.rows()[0]["height"]) == (40, 40)
    assert large.rows()[0]["image"].startswith(b"\x89PNG")
    params = {row["name"]: row for row in logdir.hparams(runs="a/hp").to_pandas().to_dict("records")}
    assert (params["lr"]["number"], params["name"]["text"]) == (0.1, "adam")
    assert params["bias"]["number"] == 1  # torch keeps flags as numbers
    histogram = logdir.histograms(runs="a")[0].rows()[0]
    assert sum(histogram["count"]) == histogram["num"] == 50
    assert len(logdir.pr_curves(runs="a")[0].rows()[0]["recall"]) == 4


def test_an_index_changes_nothing(directory: Path, proxy: FaultProxy, bucket: tuple[Any, str]) -> None:
    upload(*bucket, directory)
    url = f"s3://{bucket[1]}/exp"
    local = everything(bucketboard.open(directory))
    assert everything(bucketboard.open(url)) == local
    assert main(["index", url]) == 0

    before = len(proxy.requests)
    assert repr(bucketboard.open(url).scalars_arrow().to_pylist()) == local["scalars"]
    asked = [request.key for request in proxy.requests[before:]]
    assert any("/scalars/" in key for key in asked)
    event_files = [key for key in asked if "tfevents" in key]
    assert event_files == [], "with an index no event file is read for scalars"
    assert everything(bucketboard.open(url)) == local


def test_what_is_past_the_index_is_read_from_there(
    tmp_path: Path, proxy: FaultProxy, bucket: tuple[Any, str]
) -> None:
    client, name = bucket
    path = log(tmp_path / "whole", "a")
    upload(client, name, tmp_path / "whole")
    url, key = f"s3://{name}/exp", f"exp/a/{path.name}"
    assert main(["index", url]) == 0
    more = log(tmp_path / "more", "a", STEPS, 2 * STEPS).read_bytes()
    grown = path.read_bytes() + more
    client.put_object(Bucket=name, Key=key, Body=grown)

    path.write_bytes(grown)
    local = everything(bucketboard.open(tmp_path / "whole"))
    before = proxy.counts
    logdir = bucketboard.open(url)
    assert repr(logdir.scalars_arrow().to_pylist()) == local["scalars"]
    received = (proxy.counts - before)["GetObject"].bytes_received
    assert received < len(more) + 60_000, "the indexed part was read again"
    assert everything(logdir) == local

    client.put_object(Bucket=name, Key=key, Body=event_file(*range(9000)))  # another file, and longer
    logdir.refresh()
    assert logdir.scalars(runs="a", tags="loss")["value"].tolist() == list(range(9000))
    assert logdir.scalars(runs="a", tags="loss/*").empty


def test_a_table_fetches_few_ranges(directory: Path, proxy: FaultProxy, bucket: tuple[Any, str]) -> None:
    upload(*bucket, directory)
    logdir = bucketboard.open(f"s3://{bucket[1]}/exp")
    images = logdir.images(runs="a", tags="picture")
    before = proxy.counts.requests["GetObject"]
    assert len(images.to_pandas()) == STEPS
    assert proxy.counts.requests["GetObject"] - before == 1
    images.to_pandas()
    assert proxy.counts.requests["GetObject"] - before == 1, "what was read is kept"


def test_a_file_that_was_replaced_says_so(tmp_path: Path) -> None:
    path = log(tmp_path, "a")
    notes = bucketboard.open(tmp_path).text()
    path.write_bytes(event_file(*range(5000)))
    with pytest.raises(UnavailableError, match="replaced"):
        notes[0].rows()


@pytest.mark.parametrize("module", ["pandas", "polars", "pyarrow"])
def test_a_missing_library_is_named(module: str, tmp_path: Path) -> None:
    write(tmp_path, "run", event_file(1.0))
    call = {"pandas": "scalars()", "polars": "scalars_polars()", "pyarrow": "scalars_arrow()"}[module]
    script = (
        f"import sys, bucketboard; sys.modules['{module}'] = None\n"
        f"try: bucketboard.open({str(tmp_path)!r}).{call}\n"
        "except bucketboard.InvalidError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{module} is needed for this and is not installed")
    assert "pip install" in done.stdout


def test_no_such_directory_and_no_such_setting(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="no such directory"):
        bucketboard.open(tmp_path / "none")
    with pytest.raises(InvalidError, match="is for s3://"):
        bucketboard.open(tmp_path, region="x")
