"""What TensorBoard shows over HTTP against what was logged."""

from __future__ import annotations

import io
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bucketboard.demo.run import Image, Run

__all__ = ["Comparison", "compare"]

_PATIENCE = 30.0
_POLL = 0.25
_TIMEOUT = 30.0
# A proxy of the environment has no business between this process and itself.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Comparison:
    """How much was compared, and what was not the same."""

    scalars: int = 0
    images: int = 0
    differences: list[str] = field(default_factory=list)


def compare(url: str, runs: Iterable[Run]) -> Comparison:
    """Ask the TensorBoard at ``url`` for all scalars and images of ``runs``; there must be no others.

    It loads in the background, so a difference counts only after half a minute.
    """
    logged = list(runs)
    deadline = time.monotonic() + _PATIENCE
    while True:
        comparison = _compare(url, logged)
        if not comparison.differences or time.monotonic() > deadline:
            return comparison
        time.sleep(_POLL)


def _compare(url: str, runs: list[Run]) -> Comparison:
    scalars = {series: points for run in runs for series, points in run.scalars.items()}
    images = {series: points for run in runs for series, points in run.images.items()}
    result = Comparison()
    _same(result, "the runs", sorted(_get(url, "runs")), sorted({run for run, _ in scalars}))
    _same(result, "the scalar tags", _series(url, "scalars"), sorted(scalars))
    _same(result, "the image tags", _series(url, "images"), sorted(images))
    if result.differences:
        return result
    for (run, tag), points in scalars.items():
        shown = _get(url, "plugin/scalars/scalars", run=run, tag=tag)
        _same(result, f"{run} {tag}", [(step, value) for _, step, value in shown], points)
        result.scalars += len(points)
    for (run, tag), pictures in images.items():
        entries = _get(url, "plugin/images/images", run=run, tag=tag, sample="0")
        steps = [step for step, _ in pictures]
        if _same(result, f"{run} {tag}", [entry["step"] for entry in entries], steps):
            for entry, (step, pixels) in zip(entries, pictures, strict=True):
                if not np.array_equal(_picture(url, entry["query"]), pixels):
                    result.differences.append(f"{run} {tag}: another image at step {step}")
                result.images += 1
    return result


def _same(result: Comparison, what: str, shown: list[Any], logged: list[Any]) -> bool:
    if shown == logged:
        return True
    first = next(
        (f"{a} instead of {b}" for a, b in zip(shown, logged, strict=False) if a != b), "the rest is missing"
    )
    result.differences.append(f"{what}: {len(shown)} shown, {len(logged)} logged; {first}")
    return False


def _series(url: str, plugin: str) -> list[tuple[str, str]]:
    tags = _get(url, f"plugin/{plugin}/tags")
    return sorted((run, tag) for run, named in tags.items() for tag in named)


def _picture(url: str, query: str) -> Image:
    from PIL import Image as Pillow

    return np.asarray(Pillow.open(io.BytesIO(_fetch(f"{url}data/plugin/images/individualImage?{query}"))))


def _get(url: str, path: str, **query: str) -> Any:
    return json.loads(_fetch(f"{url}data/{path}?{urllib.parse.urlencode(query)}"))


def _fetch(address: str) -> bytes:
    with _opener.open(address, timeout=_TIMEOUT) as answer:
        body: bytes = answer.read()
        return body
