"""Reading exported tables back."""

from __future__ import annotations

import shutil
import urllib.parse
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bucketboard.events.filename import is_event_file


def rows(out: Path, kind: str) -> list[dict[str, Any]]:
    """All rows of a kind that are in Parquet files, with their run."""
    found = []
    for path in sorted((out / kind).glob("run=*/data.parquet")):
        run = urllib.parse.unquote(path.parent.name.removeprefix("run="))
        found += [{"run": run, **row} for row in pq.ParquetFile(path).read().to_pylist()]
    return found


def contents(out: Path) -> dict[str, bytes]:
    """All table files by path."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.glob("*/run=*/*"))}


def only_events(directory: Path, target: Path) -> Path:
    """A copy of the event files alone: tbparse takes every file for one."""
    for path in directory.rglob("*"):
        if path.is_file() and is_event_file(path.name):
            copy = target / path.relative_to(directory)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return target


def as_tbparse(out: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The exported tables as tbparse gives them: what was logged as a tensor is one, whatever it means.

    Scalars, which TensorFlow 2 logs as tensors, too, stand apart.
    """
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)

    def add(kind: str, row: dict[str, Any], *cells: Any, tag: str = "") -> None:
        found[kind].append((row["run"], tag or row["tag"], row["step"], row["wall_time"], *cells))

    for row in rows(out, "scalars"):
        add("scalars", row, row["value"])
    for row in rows(out, "histograms"):
        size = len(row["right"])
        if row["num"] is None:
            cells = [
                cell
                for bucket in zip(row["left"], row["right"], row["count"], strict=True)
                for cell in bucket
            ]
            add("tensors", row, ([size, 3], cells))
        else:
            totals = (row[name] for name in ("max", "min", "num", "sum", "sum_squares"))
            add("histograms", row, ([size], row["right"]), ([size], row["count"]), *totals)
    for row in rows(out, "pr_curves"):
        curves = [row[name] for name in row if name not in ("run", "tag", "step", "wall_time")]
        add("tensors", row, ([6, len(curves[0])], [cell for curve in curves for cell in curve]))
    for row in rows(out, "tensors"):
        if row["dtype"] is not None and row["plugin"] != "hparams":
            cells = row["strings"] if row["dtype"] == "string" else row["numbers"]
            add("tensors", row, (row["shape"], cells) if row["shape"] else cells[0])
    for row in rows(out, "text"):
        add("text", row, row["value"], tag=row["tag"].removesuffix("/text_summary"))
    for row in rows(out, "hparams"):
        [value] = [row[name] for name in ("number", "text", "flag") if row[name] is not None]
        found["hparams"].append((row["run"], row["name"], None, None, value))
    return found
