"""Every tab, drawn by a real browser from a bucket, shows what was logged. Pictures are in build/browser."""

from __future__ import annotations

from collections.abc import Callable

import experiment
import pytest
from page import Tab

from bucketboard import SummaryWriter

pytestmark = pytest.mark.browser

Show = Callable[[str], Tab]
LAST = experiment.STEPS - 1


def test_time_series(show: Show) -> None:
    tab = show("timeseries")
    runs = tab.wait(
        lambda: tab.texts("tb-data-table-content-cell.table-column-run"), lambda runs: len(runs) == 4
    )
    assert runs == sorted([*experiment.RUNS, *(f"{run}/hparams" for run in experiment.RUNS)])
    tags = tab.wait(lambda: tab.texts("scalar-card .tag"), lambda tags: "loss /train" in tags)
    assert tags[0] == "loss /train"
    wanted = {run: pytest.approx(experiment.loss(run, LAST), abs=1e-4) for run in experiment.RUNS}

    def last_values() -> dict[str, float]:
        rows = [text.split() for text in tab.texts("scalar-card tb-data-table-content-row")]
        return {row[0]: float(row[2]) for row in rows if len(row) > 2}

    tab.wait(last_values, lambda values: values == wanted)
    tab.wait(lambda: tab.count("histogram-card .histogram"), lambda count: count == 2 * experiment.STEPS)
    assert tab.errors() == []


def test_scalars(show: Show) -> None:
    tab = show("scalars")
    [*charts] = tab.wait(lambda: tab.elements("vz-line-chart2"), lambda charts: len(charts) == 2)
    assert "loss" in tab.body()

    def told() -> str:
        tab.hover(charts[0])
        return " ".join(tab.texts("table"))

    middle = experiment.STEPS // 2
    tip = tab.wait(told, lambda text: all(run in text for run in experiment.RUNS))
    for run in experiment.RUNS:
        words = tip.split()[tip.split().index(run) :]
        assert words[2:4] == [f"{experiment.loss(run, middle):g}", str(middle)]
    assert tab.errors() == []


def test_images(show: Show) -> None:
    tab = show("images")
    colours = tab.wait(lambda: tab.colours("img"), lambda colours: len(colours) == len(experiment.RUNS))
    assert sorted(map(tuple, colours)) == sorted(experiment.COLOURS.values())
    assert f"step {LAST}" in tab.body()
    assert tab.errors() == []


def test_histograms(show: Show) -> None:
    tab = show("histograms")
    wanted = len(experiment.RUNS) * experiment.STEPS
    tab.wait(lambda: tab.count("vz-histogram-timeseries"), lambda count: count == len(experiment.RUNS))
    tab.wait(lambda: tab.count(".histogram"), lambda count: count == wanted)
    assert "layer/weights" in tab.body()
    assert tab.errors() == []


def test_distributions(show: Show) -> None:
    tab = show("distributions")
    tab.wait(lambda: tab.count("vz-distribution-chart"), lambda count: count == len(experiment.RUNS))
    tab.wait(lambda: tab.count("path.area"), lambda count: count >= len(experiment.RUNS))
    assert tab.errors() == []


def test_hyperparameters(show: Show) -> None:
    tab = show("hparams")
    body = tab.wait(tab.body, lambda body: all(f"{run}/hparams" in body for run in experiment.RUNS))
    for run, rate in experiment.RUNS.items():
        trial, optimizer, told, accuracy = body[body.index(f"{run}/hparams") :].split()[:4]
        assert (trial, optimizer) == (f"{run}/hparams", "sgd")
        assert float(told) == rate
        assert float(accuracy) == pytest.approx(0.5 + rate)
    assert tab.errors() == []


def test_text(show: Show) -> None:
    tab = show("text")
    body = tab.wait(
        tab.body, lambda body: all(f"{run} learns in step {LAST}" in body for run in experiment.RUNS)
    )
    assert "fast learns in step 0" in body
    assert {*experiment.RUNS} <= {*tab.texts("strong")}  # the Markdown is drawn
    assert tab.errors() == []


def test_graphs(show: Show) -> None:
    tab = show("graphs")
    # Each label is there twice: as the text, and as what is told when the mouse is over it.
    nodes = tab.wait(lambda: {*tab.texts(".nodelabel")}, lambda nodes: len(nodes) == 3)
    assert {node[: len(node) // 2] for node in nodes} == {"input", "Sequential", "output"}
    # It is zoomed to its place when the labels are there already.
    widths = "return find(document, []).filter(shown).map(e => e.getBoundingClientRect().width)"
    tab.wait(lambda: tab.run(widths, ".nodelabel"), lambda found: len(found) == 3 and min(found) > 25)
    assert tab.errors() == []


def test_projector(show: Show) -> None:
    tab = show("projector")
    points = tab.wait(lambda: tab.texts(".numDataPoints"), lambda points: points == [str(experiment.POINTS)])
    assert points
    assert tab.texts(".dim") == ["4"]
    assert "1 tensor found" in tab.texts("label")
    assert tab.errors() == []


def test_a_run_that_begins_while_the_page_is_open(show: Show) -> None:
    tab = show("timeseries")
    tab.wait(lambda: tab.texts("scalar-card .tag"), lambda tags: "loss /train" in tags)
    with SummaryWriter("s3://browser/exp/young") as writer:
        writer.add_scalar("loss/train", 0.75, 0)

    def reloaded() -> list[str]:
        tab.click(tab.elements("app-header-reload button")[0])
        return tab.texts("tb-data-table-content-cell.table-column-run")

    tab.wait(reloaded, lambda runs: "young" in runs)
    tab.picture("reloaded")
    assert tab.errors() == []
