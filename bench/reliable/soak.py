"""Many writers that upload as often as the server can take it, through faults; what their process holds."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from bucketboard.testing import Fault, FaultKind, Server, answers
from promised import place
from reliable.table import Table
from reliable.training import RECORDS

TRAINING = Path(__file__).with_name("training.py")
WARM = 0.3
"""The share of the uploads after which nothing may grow any more."""
FAULTS = (
    *(
        Fault(kind, probability=0.01)
        for kind in (FaultKind.STATUS, FaultKind.RESET, FaultKind.LOST_REPLY, FaultKind.TRUNCATE)
    ),
    answers.conditional_conflict(probability=0.01),
)


def soak(server: Server, seed: int, seconds: float, writers: int, uploads: int) -> Table:
    """Until each of ``writers`` has made ``uploads`` or time is over; then compare with what was logged."""
    table = Table()
    with place(server, seed=seed) as there:
        injected = [there.proxy.inject(fault) for fault in FAULTS]
        url = f"s3://{there.bucket}/exp"
        command = [sys.executable, TRAINING, url, there.proxy.url, seconds, writers, uploads]
        begun = time.monotonic()
        done = subprocess.run([*map(str, command)], env=there.environ(), stdout=subprocess.PIPE, check=True)
        found = json.loads(done.stdout)
        rounds: list[int] = found["rounds"]
        table.add("soak: writers at once", writers)
        table.add("soak: uploads", sum(rounds))
        table.add("soak: uploads of each writer, at least", min(rounds))
        table.add("soak: seconds", time.monotonic() - begun)
        table.add("soak: requests", there.proxy.counts.total.requests)
        table.add("soak: records logged", sum(rounds) * RECORDS)
        there.proxy.clear()
        for number in range(writers):
            steps = there.steps(f"exp/run{number}/")
            table.add("soak: records lost", len(set(range(rounds[number] * RECORDS)).difference(steps)))
            table.check(steps == list(range(rounds[number] * RECORDS)), f"run{number}: not what was logged")
        table.add("soak: uploads left behind", len(there.uploads()))
        table.check(not there.uploads(), "uploads are left after the soak")
        _flat(found["samples"], writers, table)
        table.most("held up: add_scalar under load, ms", found["longest"] * 1000)
        table.faults(injected)
        bad = found["errors"].keys() & {"FencedError", "DroppedError", "InvalidError"}
        table.check(not bad, f"errors of the soak: {found['errors']}")
    return table


def _flat(samples: list[tuple[int, dict[str, int]]], writers: int, table: Table) -> None:
    """The most that the process held before and after the share that warms up.

    That each writer comes to have a connection is no growth.
    """
    cut = max(1, round(len(samples) * WARM))
    to_come = max(0, writers - max(held["connections"] for _, held in samples[:cut]))
    slacks = {"MiB": 24, "threads": 2, "descriptors": 16 + to_come, "connections": 16 + to_come}
    for what, slack in slacks.items():
        early = max(held[what] for _, held in samples[:cut])
        late = max(held[what] for _, held in samples[cut:] or samples)
        table.add(f"soak: {what} at most, first {WARM:.0%} of uploads", early)
        table.add(f"soak: {what} at most, after that", late)
        table.check(late <= early + slack, f"{what} grow: {early}, then {late}")
