"""Whether it can be trusted with the only copy: kills, load, bad inputs, a model; what was lost, in a table.

    python bench/reliability.py [--seconds 600] [--kills 500] [--examples 2000] [--seed 0] [--json FILE]

Ends with status 1 if anything was lost, torn, left behind or out of order. Times are the boxes of the parts,
and the longest that a call of a training loop took.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "replication")]
for name in [name for name in os.environ if name.startswith(("AWS_", "BUCKETBOARD_", "S3_"))]:
    del os.environ[name]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "bucketboard",
    "AWS_SECRET_ACCESS_KEY": "bucketboard-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_PROXY": "127.0.0.1,localhost",
}

from bucketboard.testing import Server, seaweedfs  # noqa: E402
from reliable.commands import kill_runs, kill_syncs  # noqa: E402
from reliable.inputs import bad_inputs  # noqa: E402
from reliable.soak import soak  # noqa: E402
from reliable.table import Table  # noqa: E402
from reliable.trainers import kill_trainers  # noqa: E402


def kills(server: Server, seed: int, number: int, seconds: float) -> Table:
    """Of five kills three are of trainers, one of `run` or its command, one of `sync`; all side by side."""
    table, deadline = Table(), time.monotonic() + seconds
    fifth = number // 5
    shares = {kill_trainers: number - 2 * fifth, kill_runs: fifth, kill_syncs: fifth}
    with ThreadPoolExecutor() as lanes:
        parts = [lanes.submit(kill, server, seed, share, deadline) for kill, share in shares.items()]
    for part in parts:
        table.take(part.result())
    return table


def model(table: Table, examples: int) -> None:
    """The state machine of tests/replication."""
    import pytest

    os.environ["MODEL_EXAMPLES"] = str(examples)
    status = pytest.main(
        [
            *("-q", "-p", "no:cacheprovider", "-n", "0", "-o", "addopts=", "--timeout=0", "-m", "slow"),
            *(str(ROOT / "tests/replication/test_uploader_model.py"), "--rootdir", str(ROOT)),
        ]
    )
    table.check(status == 0, "the model failed, see above")
    from test_uploader_model import TALLY

    for name, number in sorted(TALLY.items()):
        table.add(f"model: {name}", number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds",
        type=float,
        default=600,
        help="for all but the model, which takes its time",
    )
    parser.add_argument("--kills", type=int, default=500, help="as far as time allows")
    parser.add_argument("--examples", type=int, default=2000, help="of the model; 0: without it")
    parser.add_argument("--writers", type=int, default=100)
    parser.add_argument("--uploads", type=int, default=500, help="of each writer, as far as time allows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="write the table there too")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    table, seed, seconds = Table(), options.seed, options.seconds
    with seaweedfs() as server:
        table.take(kills(server, seed, options.kills, seconds * 0.45))
    with seaweedfs() as server:
        table.take(soak(server, seed, seconds * 0.5, options.writers, options.uploads))
    table.take(bad_inputs(seed, seconds * 0.05))
    print(table.show(), flush=True)
    if options.examples:
        model(table, options.examples)
        print(table.show())
    if options.json:
        Path(options.json).write_text(json.dumps(table.as_dict(), indent=1))
    return 1 if table.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
