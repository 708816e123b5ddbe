"""The index is a data set for anything that reads Parquet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.dataset
import pytest
from indexing import NAME, Place, image, scalar, start, tensor

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
