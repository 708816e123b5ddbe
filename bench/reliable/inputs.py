"""Bad inputs, in a process of its own: one that ends by a signal is a finding as well."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from reliable.table import Table

MUTATE = Path(__file__).resolve().parents[2] / "fuzz" / "mutate.py"


def bad_inputs(seed: int, seconds: float) -> Table:
    """Of each kind how many were tried, and how many were more than a reader could bear."""
    table = Table()
    command = [sys.executable, str(MUTATE), str(seed), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True)
    table.check(done.returncode == 0, f"bad inputs: status {done.returncode}: {done.stderr[-2000:]}")
    with contextlib.suppress(ValueError):
        found = json.loads(done.stdout)
        for name, number in found["tried"].items():
            table.add(f"bad inputs: {name}", number)
        table.add("bad inputs: readers that failed", len(found["failed"]))
        table.check(not found["failed"], "\n".join(found["failed"][:3]))
    return table
