"""What a benchmark tells the suite: rows of a table and series of a plot, as JSON.

Every script here prints a readable table and takes, beside options of its own, those of `add_options`::

    add_options(parser)                        # --json FILE, --quick
    ...
    if options.json:
        write_json(options.json, rows, series)

`suite.py` runs the scripts and makes docs/BENCHMARKS.md of what they wrote.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Row:
    """One measure: ours beside the peers'.

    *ours* and *peers* are medians in *unit*. *ratio* is what the bar speaks of, its sense in the bar's text
    (so "≥ 0.7 x s5cmd" is theirs ÷ ours for times); *spread* is the smallest and largest of it over the
    repetitions, or of *ours* where there is no ratio. *met* is None where there is no bar.

    *guard* and *held* are the same with a generous margin, for counts and ratios that hold on a busy machine
    and at the sizes of ``--quick``: ``make bench-quick`` fails if *held* is False. Absolute times have none.
    """

    measure: str
    ours: float | None
    unit: str
    peers: Mapping[str, float] = field(default_factory=dict)
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    bar: str = ""
    met: bool | None = None
    guard: str = ""
    held: bool | None = None
    why: str = ""
    """Of a missed bar, or what must be known to read the row; Markdown, one or two sentences."""
    command: str = field(default_factory=lambda: shlex.join(["python", *sys.argv]))


@dataclass(frozen=True)
class Series:
    """A plot: points of each peer, measured (*lines*) or by a law fitted to them (*fitted*, drawn dashed)."""

    name: str
    x_label: str
    y_label: str
    lines: Mapping[str, Points]
    fitted: Mapping[str, Points] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every benchmark takes."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows and series there")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one repetition: guards, not figures"
    )


def write_json(path: Path, rows: Iterable[Row], series: Iterable[Series] = ()) -> None:
    """One object: ``rows`` and ``series``, as in the classes above."""
    document = {"rows": [asdict(row) for row in rows], "series": [asdict(each) for each in series]}
    path.write_text(json.dumps(document, indent=1))


def faster(
    measure: str,
    ours: Sequence[float],
    peers: Mapping[str, Sequence[float]],
    peer: str,
    least: float,
    guard: float,
) -> Row:
    """Seconds of repetitions in alternation; how often ours fits into *peer*'s is at *least* the bar."""
    ratio, spread = middle([theirs / mine for theirs, mine in zip(peers[peer], ours, strict=True)])
    return Row(
        measure,
        statistics.median(ours),
        "s",
        {name: statistics.median(seconds) for name, seconds in peers.items()},
        ratio,
        spread,
        bar=f"≥ {least:g} x {peer}",
        met=ratio >= least,
        guard=f"≥ {guard:g} x {peer}",
        held=ratio >= guard,
    )


def middle(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The median, and the smallest and largest."""
    return statistics.median(values), (min(values), max(values))
