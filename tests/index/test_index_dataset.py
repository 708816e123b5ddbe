"""The index is a data set for anything that reads Parquet."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset
import pytest
from google.protobuf import struct_pb2
from indexing import NAME, Place, event, image, scalar, start, tensor
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.hparams import plugin_data_pb2 as hparams_pb2

PATHS = [f"a/{NAME.format(1)}", f"b/{NAME.format(1)}"]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    place = Place(tmp_path)
    for path in PATHS:
        place.write(path, start() + b"".join(scalar("loss", i, i * 0.5) for i in range(10)))
    place.update()
    for path in PATHS:
        place.append(path, scalar("loss", 10, 5.0) + tensor("text", 0, b"hi", "text") + image("im", 1, 5000))
    assert place.update().segments == 2
    return tmp_path / "index"


def test_pyarrow(index: Path) -> None:
    scalars = pyarrow.dataset.dataset(index / "scalars").to_table(
        filter=(pyarrow.dataset.field("tag") == "loss") & (pyarrow.dataset.field("run") == "a")
    )
    rows = sorted(zip(scalars["step"].to_pylist(), scalars["value"].to_pylist(), strict=True))
    assert rows == [(i, i * 0.5) for i in range(11)]
    runs = pyarrow.dataset.dataset(index / "runs").to_table(filter=pyarrow.dataset.field("what") == "value")
    assert sorted(set(runs["plugin"].to_pylist())) == ["images", "text"]


def test_reading_the_index_imports_no_pandas(index: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from bucketboard.index import Directory, Index\n"
        f"index = Index.open(Directory(pathlib.Path({str(index)!r})))\n"
        "assert index.scalars() and index.values() and not index.trouble\n"
        "print(*sorted({'pandas', 'pyarrow.compute', 'boto3', 'tensorboard'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_pandas(index: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(index / "scalars")
    assert frame.groupby(["run", "tag"], observed=True)["value"].max().to_dict() == {
        ("a", "loss"): 5.0,
        ("b", "loss"): 5.0,
    }


def test_duckdb(index: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"select run, max(step), sum(value) from '{index}/scalars/*.parquet' group by run order by run"
        ).fetchall()
    assert rows == [("a", 10, 27.5), ("b", 10, 27.5)]


def test_the_readmes_table_of_runs_and_its_declarations(tmp_path: Path) -> None:
    """DuckDB answers the README's query, and the columns that it declares are those of the files."""
    duckdb = pytest.importorskip("duckdb")
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    place = Place(tmp_path)
    hparams = hparams_pb2.HParamsPluginData(
        session_start_info={"hparams": {"lr": struct_pb2.Value(number_value=0.01)}}
    )
    value = tensor_value("_hparams_/session_start_info", hparams.SerializeToString())
    place.write(PATHS[0], start() + event(0, value) + scalar("loss", 3, 0.5))
    place.write(PATHS[1], start() + scalar("loss", 5, 0.5))
    place.update()
    (query,) = re.findall(r"-- DuckDB\n(.*?);", readme, re.DOTALL)
    query = query.replace("s3://my-bucket/exp/.bucketboard/v1", str(tmp_path / "index"))
    with duckdb.connect() as connection:
        rows = connection.execute(f"select run, step, lr, team from ({query}) order by run").fetchall()
    assert rows == [("a", 3, "0.01", None), ("b", 5, None, None)]
    types = {"string": "string", "bigint": "int64", "double": "double", "tinyint": "int8", "int": "int32"}
    for name in ("scalars", "runs"):
        (declared,) = re.findall(rf"create external table {name} \((.*?)\)\n", readme, re.DOTALL)
        columns = [column.strip("`\n ").split() for column in declared.split(",")]
        schema = pyarrow.dataset.dataset(tmp_path / "index" / name).schema
        found = {column.name: str(getattr(column.type, "value_type", column.type)) for column in schema}
        assert {column.strip("`"): {**types, "binary": "binary"}[kind] for column, kind in columns} == found


def tensor_value(tag: str, content: bytes) -> summary_pb2.Summary.Value:
    made = summary_pb2.Summary.Value(tag=tag)
    made.metadata.plugin_data.plugin_name = "hparams"
    made.metadata.plugin_data.content = content
    return made
