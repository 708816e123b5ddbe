"""docs/BENCHMARKS.md and its plots, of what the suite has found.

python bench/bench_page.py build/bench/bench.json    make the page again
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

INTRODUCTION = """\
# Benchmarks

Made by `make bench`; change the scripts in `bench/`, not this page. Ours and the peers' are measured in
alternation, on one machine, against a SeaweedFS of their own behind a proxy that counts every request and
byte and adds what latency and bandwidth a row names. Figures are medians. Absolute times are noise here:
machines differ; **ratios and counts are what to look at**. The range behind a ratio is its smallest and
largest over the repetitions. Each row's command prints it anew.
"""


def write_page(document: Mapping[str, Any], path: Path) -> None:
    """Write the page, and the plots into a directory beside it named like it."""
    plots = path.with_suffix("").with_name(path.stem.lower())
    plots.mkdir(exist_ok=True)
    for old in plots.glob("*.svg"):
        old.unlink()
    path.write_text("\n".join(_lines(document, plots)))


def _lines(document: Mapping[str, Any], plots: Path) -> Iterator[str]:
    yield INTRODUCTION
    machine = ", ".join(
        value if name == "processor" else f"{name} {value}" for name, value in document["machine"].items()
    )
    yield f"{document['date']}; {machine}."
    yield ""
    yield ", ".join(f"{name} {number}" for name, number in document["versions"].items()) + "."
    yield ""
    yield from _missed(document)
    for name, found in document["scripts"].items():
        yield f"## {found['title']}"
        yield ""
        yield from _table(found["rows"])
        yield from _commands(found["rows"])
        for series in found["series"]:
            file = plots / f"{name}-{re.sub(r'[^a-z0-9]+', '-', series['name'].lower()).strip('-')}.svg"
            draw(series, file)
            yield f"![{series['name']}]({plots.name}/{file.name})"
            yield ""


def _missed(document: Mapping[str, Any]) -> Iterator[str]:
    rows = [row for found in document["scripts"].values() for row in found["rows"]]
    missed = [row for row in rows if row["met"] is False]
    bars = sum(row["met"] is not None for row in rows)
    yield "## Bars"
    yield ""
    if not missed:
        yield f"All {bars} are met."
    else:
        yield f"{bars - len(missed)} of {bars} are met. Missed:"
        yield ""
    for row in missed:
        yield f"* **{row['measure']}**: {_figure(row)}, bar {row['bar']}. {row['why']}".rstrip()
    for name in document["failed"]:
        yield f"* `bench/{name}.py` failed."
    yield ""


def _table(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    yield "| measure | ours | peers | ratio | bar | met |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        ours = "–" if row["ours"] is None else f"{number(row['ours'])} {row['unit']}"
        peers = "<br>".join(f"{peer}: {number(value)}" for peer, value in row["peers"].items())
        spread = f" ({' – '.join(map(number, row['spread']))})" if row["spread"] else ""
        if row["ratio"] is None:
            ours += spread
            ratio = ""
        else:
            ratio = f"{number(row['ratio'])}{spread}"
        met = {None: "", True: "yes", False: "**no**"}[row["met"]]
        yield f"| {row['measure']} | {ours} | {peers} | {ratio} | {row['bar']} | {met} |"
    yield ""
    for row in rows:
        if row["why"] and row["met"] is not False:
            yield f"{row['measure']}: {row['why']}"
            yield ""


def _commands(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    commands = dict.fromkeys(re.sub(r" --json \S+", "", row["command"]) for row in rows)
    for command in commands:
        yield f"    {command}"
    yield ""


def _figure(row: Mapping[str, Any]) -> str:
    return number(row["ratio"]) if row["ratio"] is not None else f"{number(row['ours'])} {row['unit']}"


def number(value: float) -> str:
    """Three digits that matter; none more than asked for."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.3g}"


def draw(series: Mapping[str, Any], path: Path) -> None:
    """One plot as SVG."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    settings = {"svg.hashsalt": "bucketboard", "svg.fonttype": "none", "font.size": 9}
    with pyplot.rc_context(settings):
        figure, axes = pyplot.subplots(figsize=(6.4, 3.8), layout="constrained")
        colours: dict[str, str] = {}
        for peer, points in series["lines"].items():
            [line] = axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=peer)
            colours[peer] = line.get_color()
        for peer, points in series["fitted"].items():
            label = None if peer in colours else f"{peer} (fitted)"
            axes.plot(
                *zip(*points, strict=True), linestyle="--", linewidth=1, color=colours.get(peer), label=label
            )
        axes.set(title=series["name"], xlabel=series["x_label"], ylabel=series["y_label"])
        if series["log_x"]:
            axes.set_xscale("log")
        if series["log_y"]:
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


if __name__ == "__main__":
    write_page(
        json.loads(Path(sys.argv[1]).read_text()), Path(__file__).parents[1] / "docs" / "BENCHMARKS.md"
    )
