"""Tries the targets of fuzz/targets.py on seeds changed at random: ``mutate.py SEED SECONDS [TARGET...]``.

Needs no fuzzer, and finds less than one. Prints, as JSON, how many inputs were tried and which failed.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import time
import traceback
import warnings

from targets import TARGETS, seeds

_WORDS = (
    *(b"", b"\0" * 8, b"\xff" * 8, b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"-1", b"1e999", b"NaN", b"null"),
    *(b"../", b"//", b"\\", b"%00", b"\n", b"[" * 1000, b"{", b'"', b"\xed\xa0\x80", b"\xf0\x9f\xa7\xaa"),
)


def changed(seed: bytes, other: bytes, chance: random.Random) -> bytes:
    """``seed`` after a few changes: bits, cuts, repetitions, words often mistaken, pieces of ``other``."""
    data = bytearray(seed)
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice([1, 2, 8, 64, 1024]))
        kind = chance.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at:to]
        elif kind == 2:
            data[at:at] = data[at:to] * chance.choice([1, 2, 50])
        elif kind == 3:
            word = chance.choice(_WORDS)
            data[at : at + chance.choice([0, len(word)])] = word
        elif kind == 4:
            begin = chance.randrange(len(other) + 1)
            data[at:to] = other[begin : begin + to - at]
        else:
            del data[at:]
    return bytes(data[: 1 << 16])


def main() -> None:
    """Try inputs until the seconds are over, the same number of seconds for each target."""
    seed, seconds, names = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:] or list(TARGETS)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    tried: dict[str, int] = {}
    failed: list[str] = []
    for name in names:
        chance, known = random.Random(f"{name} {seed}"), seeds(name)
        for each in known:
            TARGETS[name](each)  # imports what it needs
        deadline = time.monotonic() + seconds / len(names)
        tried[name] = 0
        while time.monotonic() < deadline:
            data = changed(chance.choice(known), chance.choice(known), chance)
            tried[name] += 1
            try:
                TARGETS[name](data)
            except Exception:
                failed.append(f"{name}: {data[:4096]!r}\n{traceback.format_exc()}")
    print(json.dumps({"tried": tried, "failed": failed}))


if __name__ == "__main__":
    main()
