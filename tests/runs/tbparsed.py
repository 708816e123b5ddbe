"""What tbparse makes of a directory, to be compared: ``python tbparsed.py DIRECTORY OUT KIND...``.

Run by a Python that has tbparse; images and audio need one that has TensorFlow, too.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tbparse

Rows = list[tuple[Any, ...]]
"""Run, tag, step, wall time, and the value as plain objects."""
_EXTRA = {
    "histograms": {"min", "max", "num", "sum", "sum_squares"},
    "images": {"width", "height"},
    "audio": {"content_type", "length_frames", "sample_rate"},
}


def plain(value: Any) -> Any:
    """Arrays as their shape and values."""
    if isinstance(value, np.ndarray):
        return list(value.shape), value.ravel().tolist()
    return value.item() if isinstance(value, np.generic) else value


def read(directory: Path, kinds: list[str]) -> dict[str, Rows]:
    """By kind, all that tbparse gives."""
    found: dict[str, Rows] = {}
    extra = {"dir_name", "wall_time"}.union(*(_EXTRA.get(kind, set()) for kind in kinds))
    # All at once: alone, texts are only the last ones of each tag.
    reader = tbparse.SummaryReader(str(directory), extra_columns=extra, event_types=set(kinds))
    for kind in kinds:
        frame = getattr(reader, kind)
        names = {"hparams": ["value"], "histograms": ["limits", "counts", *sorted(_EXTRA["histograms"])]}
        values = names.get(kind, ["value", *sorted(_EXTRA.get(kind, ()))])
        rows = found[kind] = []
        for row in frame.to_dict("records"):
            cells = [plain(row[name]) for name in values]
            first = (row["dir_name"] or ".", row["tag"], row.get("step"), row.get("wall_time"))
            rows.append((*first, *cells))
    return found


if __name__ == "__main__":
    tables = read(Path(sys.argv[1]), sys.argv[3:])
    Path(sys.argv[2]).write_bytes(pickle.dumps(tables))
