"""An export has what tbparse gives of the pulled copy, value by value."""

from __future__ import annotations

import io
import math
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import as_tbparse, only_events, rows
from PIL import Image
from tbparsed import read

import bucketboard
from bucketboard.testing import Server

Written = Callable[[str], Path]
KINDS = ["scalars", "tensors", "histograms", "text", "hparams"]
DATA = Path(__file__).parents[1] / "events" / "data"
TENSORFLOW = Path(
    os.environ.get("BUCKETBOARD_TENSORFLOW_PYTHON", Path(__file__).parents[2] / ".venv-frameworks/bin/python")
)


def ordered(table: list[tuple[Any, ...]]) -> list[str]:
    """Comparable, also where there are NaNs."""
    return sorted(map(repr, table))


def as_doubles(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A tensor of tbparse's with whole numbers as the export has them; none is lost by it."""
    *place, value = row
    if isinstance(value, tuple) and value[1] and type(value[1][0]) is int:
        numbers = [float(number) for number in value[1]]
        assert numbers == value[1]
        value = (value[0], numbers)
    return (*place, value)


def check(directory: Path, out: Path, said: dict[str, list[tuple[Any, ...]]]) -> dict[str, int]:
    """Compare what tbparse said of a directory with its export; gives the rows by kind."""
    ours = as_tbparse(out)
    counts = {kind: len(table) for kind, table in said.items()}
    # TensorFlow 2 logs scalars as tensors of one number, images and sounds as tensors of strings.
    scalars = {(row[0], row[1]) for row in ours["scalars"]}
    media = {(row["run"], row["tag"]) for kind in ("images", "audio") for row in rows(out, kind)}
    tensors = said["tensors"]
    said["scalars"] = said["scalars"] + [row for row in tensors if row[:2] in scalars]
    said["tensors"] = [as_doubles(row) for row in tensors if row[:2] not in scalars | media]
    check_media([row for row in tensors if row[:2] in media - scalars], out)
    for kind in KINDS:
        table = said[kind]
        if kind == "hparams":
            table = [(*row[:2], None, None, *row[4:]) for row in table]
        assert ordered(table) == ordered(ours[kind]), kind
    return counts


def check_media(tensors: list[tuple[Any, ...]], out: Path) -> None:
    """Images and sounds that were logged as strings."""
    images: dict[tuple[Any, ...], list[bytes]] = {}
    for row in rows(out, "images"):
        place = (row["run"], row["tag"], row["step"], row["wall_time"])
        size = [str(row["width"]).encode(), str(row["height"]).encode()]
        images.setdefault(place, size).append(row["image"])
    sounds: dict[tuple[Any, ...], list[bytes]] = {}
    for row in rows(out, "audio"):
        place = (row["run"], row["tag"], row["step"], row["wall_time"])
        sounds.setdefault(place, []).extend([row["audio"], (row["label"] or "").encode()])
    for *place, (_, strings) in tensors:
        assert strings == (images | sounds)[tuple(place)]


def exported(directory: Path, out: Path) -> Path:
    report = bucketboard.export(directory, out)
    assert report.complete
    assert not report.damaged
    return out


@pytest.fixture(autouse=True)
def without_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tbparse, on current numpy and pandas
        yield


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("*.tfevents")))
def test_files_of_tensorflow_and_keras(name: str, tmp_path: Path) -> None:
    directory = tmp_path / "logs" / "run"
    directory.mkdir(parents=True)
    shutil.copyfile(DATA / name, directory / f"events.out.tfevents.1.{name}")
    counts = check(
        directory.parent, exported(directory.parent, tmp_path / "out"), read(directory.parent, KINDS)
    )
    assert sum(counts.values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "tensorboardX"])
def test_everything_that_writers_of_torch_log(framework: str, tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "equality" / "logs_of_torch.py"
    subprocess.run([sys.executable, "-W", "ignore", script, framework, tmp_path / "written"], check=True)
    directory = only_events(tmp_path / "written", tmp_path / "logs")
    counts = check(directory, exported(directory, tmp_path / "out"), read(directory, KINDS))
    assert all(count > 0 for count in counts.values()), counts


@pytest.mark.frameworks
@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", ["without tables", "types"])
def test_everything_that_tensorflow_logs_from_the_bucket(
    what: str, tmp_path: Path, server: Server, bucket: tuple[Any, str]
) -> None:
    """``tf.summary`` and Keras: the bucket's tables, and tbparse on the pulled copy."""
    if not TENSORFLOW.exists():
        pytest.skip("TensorFlow is not at hand: make frameworks")
    script = Path(__file__).parents[1] / "equality" / "logs_of_tensorflow.py"
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([TENSORFLOW, script, what, tmp_path / "written"], check=True, env={**os.environ, **quiet})
    url, access = f"s3://{bucket[1]}/exp", {"endpoint_url": server.endpoint, "region": server.region}
    assert bucketboard.sync(only_events(tmp_path / "written", tmp_path / "logs"), url, **access).complete
    assert bucketboard.pull(url, tmp_path / "copy", **access).complete
    assert bucketboard.export(url, tmp_path / "out", **access).complete
    counts = check(tmp_path / "copy", tmp_path / "out", read(tmp_path / "copy", KINDS))
    assert counts["tensors"] > 0
    if what != "types":
        for kind in ("scalars", "histograms", "images", "audio", "text", "hparams", "tensors"):
            assert rows(tmp_path / "out", kind), kind


@pytest.mark.frameworks
def test_images_and_audio_as_tensorflow_decodes_them(tmp_path: Path) -> None:
    if not TENSORFLOW.exists():
        pytest.skip("TensorFlow is not at hand: make frameworks")
    import soundfile
    from torch.utils.tensorboard import SummaryWriter

    draw = np.random.default_rng(3)
    with SummaryWriter(str(tmp_path / "logs" / "run")) as writer:
        for step in range(5):
            writer.add_image("grey", draw.random((1, 6, 5)), step)
            writer.add_images("many", draw.integers(0, 255, (3, 3, 8, 8), dtype=np.uint8), step)
            writer.add_audio("sound", draw.uniform(-1, 1, (1, 300)), step, sample_rate=8000)
    out = exported(tmp_path / "logs", tmp_path / "out")
    script = Path(__file__).with_name("tbparsed.py")
    subprocess.run(
        [TENSORFLOW, script, tmp_path / "logs", tmp_path / "tables", "images", "audio"],
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""},
    )
    said = pickle.loads((tmp_path / "tables").read_bytes())
    ours: dict[str, list[tuple[Any, ...]]] = {"images": [], "audio": []}
    for row in rows(out, "images"):
        pixels = np.asarray(Image.open(io.BytesIO(row["image"])))
        shape = [*pixels.shape, 1] if pixels.ndim == 2 else list(pixels.shape)
        size = (row["height"], row["width"])
        place = (row["run"], row["tag"], row["step"], row["wall_time"])
        ours["images"].append((*place, (shape, pixels.ravel().tolist()), *size))
    for row in rows(out, "audio"):
        clip, _ = soundfile.read(io.BytesIO(row["audio"]), dtype="float32", always_2d=True)
        about = (row["content_type"], row["length_frames"], row["sample_rate"])
        place = (row["run"], row["tag"], row["step"], row["wall_time"])
        ours["audio"].append((*place, (list(clip.shape), clip.ravel().tolist()), *about))
    assert len(said["images"]) == 10
    assert len(said["audio"]) == 5
    for kind in ("images", "audio"):
        assert ordered(said[kind]) == ordered(ours[kind])
    assert math.isfinite(said["audio"][0][3])
