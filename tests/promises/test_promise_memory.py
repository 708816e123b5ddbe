"""Memory: a run may be as long as it likes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from promised import Place

RUN = """
import os, sys
from bucketboard import EventFileWriter
from promised import blob

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

writer = EventFileWriter(sys.argv[1], spool=sys.argv[2] or None, roll_size=int(sys.argv[4]))
writer.add_scalar("loss", 0, 0, 1e9)
writer.sync(60)
after_imports = resident()
event = blob(1, 100_000)
at_fifth = 0
total = int(sys.argv[3])
sent = 0
while sent < total:
    for _ in range(20):
        writer.add_event(event)
        sent += len(event)
        for step in range(50):
            writer.add_scalar("loss", step, step, 1e9)
    if sent % (10 << 20) < 20 * len(event):
        writer.sync(120)
    if not at_fifth and sent >= total // 5:
        at_fifth = resident()
writer.close()
print(after_imports, at_fifth, resident(), writer.dropped)
"""


@pytest.mark.parametrize(
    "size", [150 << 20, pytest.param(1 << 30, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_memory_does_not_grow_with_the_log(
    new_place: Callable[..., Place], tmp_path: Path, spool: Path | None, size: int
) -> None:
    place = new_place("seaweedfs")
    script = tmp_path / "long.py"
    script.write_text(RUN)
    done = place.run(script, place.url, spool or "", size, 64 << 20, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    after_imports, at_fifth, at_end, dropped = map(int, done.stdout.split())
    print(f"MiB: {after_imports} after imports, {at_fifth} after a fifth, {at_end} at the end")
    assert at_end - after_imports <= 64
    assert at_end - at_fifth <= 24
    assert dropped == 0
    if spool:
        assert list(spool.iterdir()) == []
