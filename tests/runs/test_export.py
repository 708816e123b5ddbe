"""What an export writes, and what it does when it is run again, killed, or can't."""

from __future__ import annotations

import base64
import csv
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pytest
from exported import contents, rows
from small_logs import STEPS, event_file, log, upload

import bucketboard
from bucketboard.cli.main import main
from bucketboard.errors import InvalidError
from bucketboard.runs import export as one_run
from bucketboard.testing import FaultProxy, Server

NAME = "events.out.tfevents.{}.host.1.0"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("logs")
    log(made, "a")
    log(made, "b/ü [1]")
    return made


@pytest.fixture
def server(moto_server: Server) -> Server:
    return moto_server


@pytest.fixture
def proxy(moto_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(moto_server.endpoint, record=True) as made:
        for name, value in moto_server.through(made.url).environ().items():
            monkeypatch.setenv(name, value)
        yield made


def write(directory: Path, run: str, body: bytes, number: int = 1) -> Path:
    path = directory / run / NAME.format(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def test_an_export_has_what_open_has(directory: Path, tmp_path: Path) -> None:
    report = bucketboard.export(directory, tmp_path)
    assert report.exported == ["a", "a/hp", "b/ü [1]", "b/ü [1]/hp"]
    logdir = bucketboard.open(directory)
    for kind in report.rows:
        values = logdir.scalars_arrow() if kind == "scalars" else getattr(logdir, kind)().to_arrow()
        assert report.rows[kind] == len(values)
        assert sorted(map(repr, rows(tmp_path, kind))) == sorted(map(repr, values.to_pylist())), kind


def test_readers_of_partitioned_tables_find_the_runs(directory: Path, tmp_path: Path) -> None:
    bucketboard.export(directory, tmp_path)
    table = ds.dataset(tmp_path / "scalars", partitioning="hive").to_table()
    assert set(table.column("run").to_pylist()) == {"a", "a/hp", "b/ü [1]", "b/ü [1]/hp"}
    found = duckdb.sql(f"select max(step) from '{tmp_path}/scalars/*/*.parquet' where tag = 'loss/train'")
    assert found.fetchall() == [(STEPS - 1,)]


def test_csv_and_json_lines_have_the_same_rows(directory: Path, tmp_path: Path) -> None:
    for format in ("parquet", "csv", "jsonl"):
        report = bucketboard.export(directory, tmp_path, format=format, runs="a")
        assert report.exported == ["a"]
    for kind in report.rows:
        expected = rows(tmp_path, kind)
        with (tmp_path / kind / "run=a" / "data.csv").open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        lines = (tmp_path / kind / "run=a" / "data.jsonl").read_text(encoding="utf-8").splitlines()
        objects = [json.loads(line) for line in lines]
        assert len(table) == len(objects) == len(expected)
        for row, cells, given in zip(expected, table, objects, strict=True):
            assert list(row) == list(cells) == list(given)
            assert {name: in_json(value) for name, value in row.items()} == given
            assert {name: in_csv(value) for name, value in row.items()} == cells


def in_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [in_json(each) for each in value]
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return names.get(repr(value), value) if isinstance(value, float) else value


def in_csv(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return json.dumps(in_json(value)) if isinstance(value, list) else str(value)


def test_only_the_chosen_runs_tags_and_kinds(directory: Path, tmp_path: Path) -> None:
    report = bucketboard.export(
        directory, tmp_path, runs="b/*", tags=["loss/*", "note*"], kinds=["scalars", "text"]
    )
    assert report.exported == ["b/ü [1]", "b/ü [1]/hp"]
    assert report.rows == {"scalars": 2 * STEPS, "text": STEPS}
    assert {row["tag"] for row in rows(tmp_path, "scalars")} == {"loss/odd", "loss/train"}
    for wrong in ({"kinds": "films"}, {"format": "xls"}, {"workers": 0}):
        with pytest.raises(InvalidError):
            bucketboard.export(directory, tmp_path / "other", **wrong)
    with pytest.raises(InvalidError, match="directory"):
        bucketboard.export(directory, "s3://bucket/out")


def test_running_again_reads_only_what_has_changed(
    directory: Path, tmp_path: Path, proxy: FaultProxy, bucket: tuple[Any, str]
) -> None:
    client, name = bucket
    upload(client, name, directory)
    url, out = f"s3://{name}/exp", tmp_path / "out"
    assert len(bucketboard.export(url, out).exported) == 4
    first = contents(out)

    before = len(proxy.requests)
    report = bucketboard.export(url, out)
    assert (report.exported, len(report.unchanged)) == ([], 4)
    assert [request.operation for request in proxy.requests[before:]] == ["ListObjectsV2"]

    body = event_file(1.0, 2.0)
    client.put_object(Bucket=name, Key=f"exp/a/{NAME.format(2_000_000_000)}", Body=body)
    report = bucketboard.export(url, out)
    assert (report.exported, len(report.unchanged)) == (["a"], 3)
    changed = {path for path, content in contents(out).items() if content != first[path]}
    assert changed == {"scalars/run=a/data.parquet"}

    (out / "text" / "run=a" / "data.parquet").unlink()
    assert bucketboard.export(url, out).exported == ["a"]
    assert contents(out).keys() == first.keys()


def test_what_is_no_more_is_removed(tmp_path: Path) -> None:
    path = write(tmp_path / "logs", "run", event_file(1.0))
    out = tmp_path / "out"
    bucketboard.export(tmp_path / "logs", out)
    assert list(contents(out)) == ["scalars/run=run/data.parquet"]
    bucketboard.export(tmp_path / "logs", out, format="csv")
    bucketboard.export(tmp_path / "logs", out, kinds="text")
    assert list(contents(out)) == ["scalars/run=run/data.csv"], "the other format is left alone"
    assert path.exists()


def test_an_export_that_breaks_off_leaves_the_old_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "logs", "run", event_file(1.0, 2.0))
    out = tmp_path / "out"
    bucketboard.export(tmp_path / "logs", out)
    before = contents(out)
    path.write_bytes(event_file(3.0))

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(one_run._Writer, "_write_others", full)
        report = bucketboard.export(tmp_path / "logs", out)
    assert not report.complete
    assert "No space left" in report.failures["run"]
    assert contents(out) == before, "no temporary file, and none that is half done"
    assert bucketboard.export(tmp_path / "logs", out).exported == ["run"]
    assert [row["value"] for row in rows(out, "scalars")] == [3.0]


def test_what_a_killed_export_left_is_removed(tmp_path: Path) -> None:
    write(tmp_path / "logs", "run", event_file(1.0))
    left = tmp_path / "out" / "scalars" / "run=run" / ".new-1234"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert bucketboard.export(tmp_path / "logs", tmp_path / "out").complete
    assert [path.name for path in left.parent.iterdir()] == ["data.parquet"]


def test_damaged_records_are_left_out_and_named(tmp_path: Path) -> None:
    body = bytearray(event_file(1.0, 2.0, 3.0))
    body[-20] ^= 1
    write(tmp_path / "logs", "run", bytes(body))
    report = bucketboard.export(tmp_path / "logs", tmp_path / "out")
    assert report.complete
    assert "does not match its checksum" in report.damaged["run"][0]
    assert [row["value"] for row in rows(tmp_path / "out", "scalars")] == [1.0, 2.0]


def test_a_run_that_fails_does_not_stop_the_others(
    directory: Path, tmp_path: Path, proxy: FaultProxy, bucket: tuple[Any, str], capsys: Any
) -> None:
    upload(*bucket, directory)
    url = f"s3://{bucket[1]}/exp"
    long = "x" * 300
    bucket[0].put_object(Bucket=bucket[1], Key=f"exp/{long}/{NAME.format(1)}", Body=event_file(1.0))
    assert main(["export", url, str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "exported 4 runs" in shown.out
    assert "1 failed" in shown.out
    assert "too long for a directory" in shown.err
    assert "Traceback" not in shown.err


def test_the_command_says_what_it_would_do_and_what_it_did(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(directory), str(out), "--dry-run"]) == 0
    assert "would export 4 runs" in capsys.readouterr().out
    assert not out.exists()
    assert main(["export", str(directory), str(out), "--kinds", "scalars,text", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["complete"]
    assert report["rows"]["text"] == 2 * STEPS
    assert main(["export", str(directory), str(out), "--kinds", "scalars,text"]) == 0
    assert "exported 0 runs, 4 unchanged, 0 failed" in capsys.readouterr().out
    assert main(["export", str(tmp_path / "none"), str(out)]) == 2
    assert main(["export", str(directory), str(out), "--kinds", "films"]) == 2


def test_progress_reaches_all(directory: Path, tmp_path: Path) -> None:
    told: list[Any] = []
    lock = threading.Lock()

    def tell(progress: Any) -> None:
        with lock:
            told.append(progress)

    bucketboard.export(directory, tmp_path, on_progress=tell)
    assert [each.runs for each in told] == [1, 2, 3, 4]
    assert (
        told[-1].bytes
        == told[-1].bytes_total
        == sum(path.stat().st_size for path in directory.rglob("events*"))
    )


def test_an_unwritable_place_is_said(tmp_path: Path, directory: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidError, match="can't be made"):
        bucketboard.export(directory, tmp_path / "file" / "out")


def test_interrupted_while_a_table_is_begun_nothing_is_left(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix, make = one_run.FORMATS["jsonl"]
    begun: list[one_run.Sheet] = []

    def interrupted(path: Path, kind: str, run: str) -> one_run.Sheet:
        begun.append(make(path, kind, run))
        assert list(tmp_path.rglob(".new-*"))
        raise KeyboardInterrupt  # before anybody could keep it

    monkeypatch.setitem(one_run.FORMATS, "jsonl", (suffix, interrupted))
    with pytest.raises(KeyboardInterrupt):
        bucketboard.export(directory, tmp_path, runs="a", format="jsonl")
    assert not list(tmp_path.rglob(".new-*"))
    for sheet in begun:
        sheet.discard()
