"""Fuzzes one target of fuzz/targets.py, guided by coverage: ``python.py TARGET [libFuzzer's arguments]``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bucketboard"]):
    from targets import TARGETS, seeds


def main() -> None:
    """Write the seeds into build/fuzz, then search until the time is up."""
    name = sys.argv.pop(1)
    logging.disable()  # what is wrong with an index is logged
    out = Path("build/fuzz") / name
    for directory in (out / "corpus", out / "seeds"):
        directory.mkdir(parents=True, exist_ok=True)
    with atheris.instrument_imports(include=["bucketboard"]):
        for number, seed in enumerate(seeds(name)):
            TARGETS[name](seed)  # imports what it needs
            (out / "seeds" / f"{number:03}").write_bytes(seed)
    arguments = [*sys.argv, f"-artifact_prefix={out}/", str(out / "corpus"), str(out / "seeds")]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
