"""The suite of benchmarks itself: what it tells, and when it fails. `make bench-quick` runs the scripts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The module of the suite, with a directory of scripts of its own."""
    monkeypatch.syspath_prepend(str(BENCH))
    import suite

    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "row.py").write_bytes((BENCH / "row.py").read_bytes())
    monkeypatch.setattr(suite, "ROOT", tmp_path)
    yield suite
    for name in ("suite", "bench_page", "row", "writers"):
        sys.modules.pop(name, None)


SCRIPT = """
import argparse
from row import Row, Series, add_options, write_json
parser = argparse.ArgumentParser()
add_options(parser)
options = parser.parse_args()
rows = [
    Row("bytes sent", 1.5, "x", {"torch": 50.0}, bar="≤ 1.6", met=True, guard="≤ 2", held=True),
    Row("pull", 4.0, "s", {"s5cmd": 2.0}, 0.5, (0.4, 0.6), "≥ 0.7 x s5cmd", False, "≥ 0.3", True, "Cache."),
]
torch, law = [(1, 50), (2, 100)], [(2, 100), (9, 450)]
series = [Series("Sent", "MB logged", "MB sent", {"torch": torch}, {"torch": law})]
write_json(options.json, rows, series)
"""


def document(bench: Any, place: Path, failed: tuple[str, ...] = ()) -> dict[str, Any]:
    found = {
        "command": "python bench/suite.py",
        "date": "2026-01-01",
        "machine": bench.machine(),
        "versions": {"bucketboard": "1", "torch": "2"},
        "failed": list(failed),
        "scripts": dict(bench.results(place)),
    }
    return json.loads(json.dumps(found))


@pytest.fixture
def measured(bench: Any, tmp_path: Path) -> dict[str, Any]:
    """What two rows of a script that really ran become."""
    (tmp_path / "bench" / "bytes.py").write_text(SCRIPT)
    assert bench.run(bench.Script("bytes", "Bytes", 60), tmp_path, quick=True)
    return document(bench, tmp_path)


def test_the_page_has_tables_and_plots_and_names_what_is_missed(
    bench: Any, measured: dict[str, Any], tmp_path: Path
) -> None:
    page = tmp_path / "BENCHMARKS.md"
    bench.write_page(measured, page)
    text = page.read_text()
    assert "| bytes sent | 1.5 x | torch: 50 |  | ≤ 1.6 | yes |" in text
    assert "| pull | 4 s | s5cmd: 2 | 0.5 (0.4 – 0.6) | ≥ 0.7 x s5cmd | **no** |" in text
    assert "1 of 2 are met" in text
    assert "* **pull**: 0.5, bar ≥ 0.7 x s5cmd. Cache." in text
    assert "    python bench/bytes.py --quick\n" in text
    assert "![Sent](benchmarks/bytes-sent.svg)" in text
    assert "MB logged" in (tmp_path / "benchmarks" / "bytes-sent.svg").read_text()


def test_a_guard_that_does_not_hold_fails_the_quick_run_and_a_missed_bar_does_not(
    bench: Any, measured: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.told(measured, quick=True) == 0
    measured["scripts"]["bytes"]["rows"][0]["held"] = False
    assert bench.told(measured, quick=True) == 1
    assert "NOT HELD: bytes: bytes sent: 1.5 x; guard: ≤ 2" in capsys.readouterr().out


def test_a_script_past_its_budget_is_ended_and_told(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bench" / "stuck.py").write_text("import threading; threading.Event().wait()")
    assert not bench.run(bench.Script("stuck", "Stuck", 1, 1), tmp_path, quick=True)
    assert "had not ended" in capsys.readouterr().err
    assert bench.told(document(bench, tmp_path, failed=("stuck",)), quick=False) == 1


def test_releases_are_compared_row_by_row(
    bench: Any, measured: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    newer = json.loads(json.dumps(measured))
    newer["scripts"]["bytes"]["rows"][1].update(ratio=0.8, met=True)
    del newer["scripts"]["bytes"]["rows"][0]
    bench.compare(measured, newer)
    out = capsys.readouterr().out
    assert "*   1.60  bytes: pull: 0.5 x -> 0.8 x  (met: False -> True)" in out
    assert "gone bytes: bytes sent: 1.5 x" in out
