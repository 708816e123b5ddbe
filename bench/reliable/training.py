"""The training process of the soak: writers, half of them with a spool, upload as fast as the server answers.

``training.py URL ENDPOINT SECONDS WRITERS UPLOADS`` prints, as JSON, what was uploaded and what it held.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bucketboard import EventFileWriter

RECORDS = 20
"""Logged before each upload."""
ROLL = 1 << 16


def holding(port: int) -> dict[str, int]:
    """What this process holds; ``connections`` are those to ``port``."""
    text = Path("/proc/self/status").read_text()
    resident = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS"))
    sockets = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return {
        "MiB": resident >> 10,
        "threads": threading.active_count(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        # Those without an inode belong to nobody any more.
        "connections": sum(socket[2].endswith(f":{port:04X}") and socket[9] != "0" for socket in sockets),
    }


class Training:
    """Each writer has a loop of its own, which logs and waits for the upload: so is its clock compressed."""

    def __init__(self, url: str, endpoint: str, spool: str, writers: int, uploads: int) -> None:
        self._port = int(endpoint.rpartition(":")[2])
        self._uploads = uploads
        self._errors: Counter[str] = Counter()
        self._writers = [
            EventFileWriter(
                f"{url}/run{number}",
                spool=spool if number % 2 else None,
                endpoint_url=endpoint,
                roll_size=ROLL,
                on_error=lambda error: self._errors.update([type(error).__name__]),
            )
            for number in range(writers)
        ]
        self._rounds = [0] * writers
        self._longest = [0.0] * writers

    def run(self, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        threads = [
            threading.Thread(target=self._loop, args=(number, deadline))
            for number in range(len(self._writers))
        ]
        for thread in threads:
            thread.start()
        samples: list[tuple[int, dict[str, int]]] = []
        step = max(1, self._uploads * len(self._writers) // 100)
        while any(thread.is_alive() for thread in threads):
            if sum(self._rounds) >= step * (len(samples) + 1):
                samples.append((sum(self._rounds), holding(self._port)))
            time.sleep(0.05)
        for writer in self._writers:
            writer.begin_close()
        for writer in self._writers:
            writer.end_close(60)
        return {
            "rounds": self._rounds,
            "longest": max(self._longest),
            "errors": self._errors,
            "samples": samples,
        }

    def _loop(self, number: int, deadline: float) -> None:
        writer = self._writers[number]
        while self._rounds[number] < self._uploads and time.monotonic() < deadline:
            step = self._rounds[number] * RECORDS
            for further in range(RECORDS):
                begun = time.perf_counter()
                writer.add_scalar("loss", 1.0, step + further, 1e9)
                self._longest[number] = max(self._longest[number], time.perf_counter() - begun)
            writer.sync(120)
            self._rounds[number] += 1


def main() -> None:
    """The training process."""
    logging.disable(logging.CRITICAL)
    url, endpoint, seconds, writers, uploads = sys.argv[1:]
    with tempfile.TemporaryDirectory() as spool:
        training = Training(url, endpoint, spool, int(writers), int(uploads))
        print(json.dumps(training.run(float(seconds))))


if __name__ == "__main__":
    main()
