"""The points kept of a series are those that TensorBoard's own data server keeps."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard import context
from tensorboard.data import grpc_provider, server_ingester
from viewing import eventually

from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.serve.chacha import words, words32
from bucketboard.serve.reservoir import Reservoir, downsample

_POINT = np.dtype([("step", np.int64), ("wall_time", np.float64)])
_EVERYTHING = 10**9
_SAMPLINGS = (
    _EVERYTHING,
    1000,
    999,
    500,
    200,
    *range(160, 167),
    100,
    60,
    50,
    40,
    *range(27, 33),
    20,
    12,
    7,
    2,
    1,
)


def _with_restarts(chance: random.Random, count: int) -> list[int]:
    steps, step = [], 0
    for _ in range(count):
        if chance.random() < 0.002:
            step = max(0, step - chance.randrange(1, 600))
        steps.append(step)
        step += chance.randrange(1, 4)
    return steps


def _series() -> dict[str, list[int]]:
    chance = random.Random(1)
    found = {f"of-{count}": list(range(count)) for count in (1, 5, 999, 1000, 1001, 1500, 2000, 5000, 70_000)}
    for number in range(6):
        found[f"restarts-{number}"] = _with_restarts(chance, chance.randrange(500, 15_000))
    found["always-0"] = [0] * 3000
    found["wild"] = [chance.randrange(5000) for _ in range(5000)]
    found["falling"] = list(range(3000, 0, -1))
    found["twice-back"] = [*range(3000), *range(1500, 3500), *range(200, 4000)]
    return found


@contextmanager
def _data_server(logdir: Path, samples: dict[str, int], scratch: Path) -> Iterator[Any]:
    """TensorBoard's own, started as TensorBoard does."""
    hints = ",".join(f"{plugin}={most or 'all'}" for plugin, most in samples.items())
    port = scratch / "port"
    process = subprocess.Popen(
        [
            *(server_ingester.get_server_binary().path, f"--logdir={logdir}", "--reload=once", "--port=0"),
            *(f"--samples-per-plugin={hints}", f"--port-file={port}", "--die-after-stdin"),
        ],
        stdin=subprocess.PIPE,
    )
    try:
        eventually(lambda: port.exists() and port.read_text().endswith("\n"), True)
        with grpc.insecure_channel(f"localhost:{int(port.read_text())}") as channel:
            yield grpc_provider.GrpcDataProvider("", grpc_provider.make_stub(channel))
    finally:
        process.communicate()


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("logs")
    for name, steps in _series().items():
        encoder = ScalarEncoder()
        records = (encoder.record("tag", 1.0, step, 1.0 + at) for at, step in enumerate(steps))
        (directory / name).mkdir()
        (directory / name / "events.out.tfevents.1").write_bytes(
            frame(file_version_event(1.0)) + b"".join(records)
        )
    return directory


@pytest.mark.parametrize("samples", [{}, {"scalars": 50}, {"scalars": 0}])
def test_the_data_server_keeps_the_same_points(logdir: Path, samples: dict[str, int], tmp_path: Path) -> None:
    ctx, series = context.RequestContext(), _series()
    chance = random.Random(2)
    capacity = samples.get("scalars", 1000) or None
    kept = {}
    for name, steps in series.items():
        points = np.zeros(len(steps), _POINT)
        points["step"], points["wall_time"] = steps, 1.0 + np.arange(len(steps))
        at_once, in_pieces = Reservoir(capacity, _POINT), Reservoir(capacity, _POINT)
        at_once.offer(points)
        at = 0
        while at < len(points):
            size = chance.randrange(1, 700)
            in_pieces.offer(points[at : at + size])
            at += size
        assert np.array_equal(at_once.points, in_pieces.points), name
        kept[name] = at_once.points
    with _data_server(logdir, samples, tmp_path) as provider:

        def read(most: int) -> dict[str, list[tuple[int, float]]]:
            found = provider.read_scalars(ctx, experiment_id="", plugin_name="scalars", downsample=most)
            return {run: [(p.step, p.wall_time) for p in tags["tag"]] for run, tags in found.items()}

        eventually(lambda: {run: points[-1] for run, points in read(1).items()}.keys(), series.keys())
        for most in _SAMPLINGS:
            expected = read(most)
            for name, points in kept.items():
                chosen = points[downsample(len(points), most)]
                assert chosen.tolist() == expected[name], (name, most)


def test_the_stream_is_that_of_rand_chacha() -> None:
    # ChaCha20Rng::seed_from_u64(0): the first numbers, and some past what is computed at once.
    numbers = words32(0, 40_000)
    assert np.array_equal(words32(16_000, 1000), numbers[16_000:17_000])
    pairs = numbers.astype(np.uint64)
    assert np.array_equal(words(5, 10_000), (pairs[::2] | (pairs[1::2] << np.uint64(32)))[5:10_005])
    assert len(set(numbers.tolist())) > 39_990


@given(
    st.lists(st.integers(0, 30), max_size=60),
    st.one_of(st.none(), st.integers(0, 12)),
    st.lists(st.integers(1, 9), max_size=30),
)
def test_it_is_the_plain_algorithm(steps: list[int], capacity: int | None, pieces: list[int]) -> None:
    points = np.zeros(len(steps), _POINT)
    points["step"], points["wall_time"] = steps, np.arange(len(steps))
    reservoir = Reservoir(capacity, _POINT)
    at = 0
    for piece in [*pieces, len(steps)]:
        reservoir.offer(points[at : at + piece])
        at += piece
    assert reservoir.points.tolist() == _plain(points.tolist(), capacity)


def _plain(points: list[tuple[int, float]], capacity: int | None) -> list[tuple[int, float]]:
    """The data server's reservoir, record by record."""
    kept: list[tuple[int, float]] = []
    seen = drawn = 0
    for point in points:
        if capacity == 0:
            continue
        old = len(kept)
        while kept and kept[-1][0] >= point[0]:
            kept.pop()
        if len(kept) < old:
            seen = seen * len(kept) // old
        seen += 1
        if capacity is not None and seen > capacity:
            while True:
                product = int(words(drawn, 1)[0]) * seen
                drawn += 1
                if product % (1 << 64) <= (1 << 64) - 1 - (1 << 64) % seen:
                    break
            target = product >> 64
            if target >= capacity:
                kept.pop()
            elif len(kept) >= capacity:
                del kept[target]
        kept.append(point)
    return kept


@pytest.mark.parametrize(("count", "most"), [(0, 5), (5, 0), (5, 5), (5, 9)])
def test_sampling_at_its_edges(count: int, most: int) -> None:
    points = np.arange(count)
    assert len(points[downsample(count, most)]) == min(count, most)
