"""Log directories for tests, and their comparison with a bucket."""

from __future__ import annotations

import os
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import google_crc32c

from promised import Place

NAME = "events.out.tfevents.{:010d}.host.1.0"
_OPENING = b"\x1a\x0dbrain.Event:2"


def framed(payload: bytes) -> bytes:
    """A record; quicker than a test's own reader has to be."""

    def masked(data: bytes) -> int:
        crc = google_crc32c.value(data)
        return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", masked(length)) + payload + struct.pack("<I", masked(payload))


OPENING = framed(_OPENING)


def event_file(size: int) -> bytes:
    """An event file of about ``size`` bytes in records of at most 64 KiB."""
    parts = [OPENING]
    while size > 0:
        parts.append(framed(os.urandom(min(size, 1 << 16))))
        size -= len(parts[-1])
    return b"".join(parts)


def write(path: Path, data: bytes) -> Path:
    """A file, there whole at once, that was last changed long enough ago that its time can be trusted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.write_bytes(data)
        age(path)
    else:  # whoever follows the directory must not see a part of it
        with tempfile.TemporaryDirectory() as outside:
            made = Path(outside) / "made"
            made.write_bytes(data)
            age(made)
            made.rename(path)
    return path


def append(path: Path, data: bytes) -> None:
    """Append to a file as a framework does."""
    with path.open("ab") as file:
        file.write(data)


def age(path: Path, seconds: float = 60.0) -> None:
    """Move the time of its last change back, but on from what it was."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def on_disk(root: Path) -> dict[str, bytes]:
    """The files of a directory by their paths."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def in_bucket(place: Place, prefix: str = "exp/") -> dict[str, bytes]:
    """The objects below a prefix by the rest of their keys."""
    return {key.removeprefix(prefix): place.get(key) for key in place.keys(prefix)}


def eventually(true: Callable[[], object], timeout: float = 60.0) -> None:
    """Wait until ``true()`` is."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout:g} s"
        time.sleep(0.02)
