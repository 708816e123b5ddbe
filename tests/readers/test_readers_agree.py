"""What readers find in the bucket is what torch's own writer leaves on disk, for every ``add_*`` method."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tbparse
import torch
from matplotlib.figure import Figure
from tensorboard.compat.proto.event_pb2 import Event
from torch.utils.tensorboard import SummaryWriter as TorchWriter

from bucketboard import SummaryWriter
from bucketboard.events.record import scan
from bucketboard.serve import avoid_tensorflow, serve
from bucketboard.testing import Server

# torch.jit is deprecated, and what torch's own add_graph uses.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*:DeprecationWarning")

STEPS = 12
RUN = "run1"


def log(writer: Any) -> None:
    """The same calls on either writer, at the same wall times."""
    draw = np.random.default_rng(5)
    for step in range(STEPS):
        at = {"global_step": step, "walltime": 1e9 + step}
        writer.add_scalar("loss/train", 1 / (step + 1), **at)
        writer.add_scalar("loss/new", step * 0.25, new_style=True, **at)
        writer.add_scalar("loss/double", step / 3, new_style=True, double_precision=True, **at)
        writer.add_histogram("weights", draw.normal(size=200), **at)
        writer.add_image("picture", draw.random((3, 8, 8)), **at)
        writer.add_images("pictures", draw.integers(0, 255, (4, 3, 8, 8), dtype=np.uint8), **at)
        writer.add_text("note", f"step **{step}** ü", **at)
        writer.add_pr_curve("curve", draw.integers(0, 2, 50), draw.random(50), **at)
    at = {"global_step": 1, "walltime": 1e9}
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([1, 3, 2])
    writer.add_figure("figure", figure, **at)
    writer.add_image_with_boxes("boxes", draw.random((3, 12, 16)), np.array([[1, 1, 8, 8]]), **at)
    writer.add_audio("sound", torch.from_numpy(draw.uniform(-1, 1, (1, 800))), sample_rate=8000, **at)
    writer.add_mesh("mesh", torch.rand(1, 5, 3, generator=torch.Generator().manual_seed(1)), **at)
    writer.add_tensor("tensor", torch.arange(6.0), **at)
    writer.add_histogram_raw("raw", 0.0, 1.0, 3, 1.5, 0.9, [0.5, 1.0], [1, 2], **at)
    writer.add_pr_curve_raw(
        "rawcurve", *draw.integers(0, 9, (4, 5)), *draw.random((2, 5)), 1, 5, walltime=1e9
    )
    writer.add_scalars("many", {"a": 1.0, "b": 2.0}, global_step=1, walltime=1e9)
    writer.add_custom_scalars({"fit": {"loss": ["Multiline", ["loss/train"]]}})
    writer.add_graph(torch.nn.Linear(2, 1), torch.zeros(1, 2))
    writer.add_embedding(torch.eye(3), metadata=["x", "y", "z"], tag="points", global_step=1)
    writer.add_hparams({"lr": 0.1, "name": "sgd"}, {"accuracy": 0.9}, run_name="trial")
    writer.close()


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that torch's writer wrote."""
    directory = tmp_path_factory.mktemp("torch")
    log(TorchWriter(str(directory / RUN)))
    return directory


@pytest.fixture
def stored(moto_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[str, Path]:
    """The same in a bucket: its URL, and a plain copy of what is there."""
    client = moto_server.client()
    bucket = f"readers-{tmp_path.name.replace('_', '-')[:40]}"
    client.create_bucket(Bucket=bucket)
    for name, value in moto_server.environ().items():
        monkeypatch.setenv(name, value)
    errors: list[Exception] = []
    log(SummaryWriter(f"s3://{bucket}/exp/{RUN}", on_error=errors.append))
    assert errors == []
    for entry in client.list_objects_v2(Bucket=bucket)["Contents"]:
        path = tmp_path / entry["Key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(bucket, entry["Key"], str(path))
    return f"s3://{bucket}/exp", tmp_path / "exp"


def events(directory: Path) -> dict[str, list[Event]]:
    """The events below ``directory`` by run; without those that differ by design, and their wall times."""
    found: dict[str, list[Event]] = {}
    for path in sorted(directory.rglob("*tfevents*")):
        run = found.setdefault(str(path.parent.relative_to(directory)), [])
        for record in scan(path.read_bytes()):
            event = Event.FromString(record.payload)
            if not event.file_version:
                event.ClearField("wall_time")
                run.append(event)
    return found


def test_the_records_are_those_of_torch(logged: Path, stored: tuple[str, Path]) -> None:
    ours, theirs = events(stored[1]), events(logged)
    assert ours.keys() == theirs.keys()
    for run, expected in theirs.items():
        assert ours[run] == expected, run


def test_the_other_files_are_those_of_torch(logged: Path, stored: tuple[str, Path]) -> None:
    def others(directory: Path) -> dict[str, bytes]:
        paths = [path for path in directory.rglob("*") if path.is_file() and "tfevents" not in path.name]
        return {str(path.relative_to(directory)): path.read_bytes() for path in paths}

    assert others(stored[1]) == others(logged)
    assert any("tensors.tsv" in name for name in others(logged))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_tbparse_reads_the_same(logged: Path, stored: tuple[str, Path]) -> None:
    ours, theirs = (tbparse.SummaryReader(str(path / RUN)) for path in (stored[1], logged))
    assert len(theirs.scalars) > STEPS
    for kind in ("scalars", "tensors", "histograms", "text"):  # for images and sound it needs TensorFlow
        expected, found = getattr(theirs, kind), getattr(ours, kind)
        assert list(found.columns) == list(expected.columns)
        assert len(found) == len(expected) > 0, kind
        for column in set(expected.columns) - {"wall_time"}:
            assert all(map(np.array_equal, found[column], expected[column])), (kind, column)


def answers(target: str) -> dict[str, Any]:
    """What TensorBoard tells a browser about the run, for each of its plugins."""
    avoid_tensorflow()
    with serve(target, port=0, reload_interval=0.3) as server:

        def ask(path: str, **query: Any) -> Any:
            url = f"{server.url}data/{path}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(url, timeout=30) as answer:
                body = answer.read()
                return json.loads(body) if "json" in answer.headers["Content-Type"] else body

        def complete() -> bool:
            tags = ask("plugin/scalars/tags")
            return (
                len(tags) == 4
                and "loss/train" in tags[RUN]
                and len(ask("plugin/scalars/scalars", run=RUN, tag="loss/train")) == STEPS
                and bool(ask("plugin/custom_scalars/layout"))
            )

        deadline = time.monotonic() + 60
        while not complete():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        found: dict[str, Any] = {"runs": sorted(ask("runs"))}
        for tag in ("loss/train", "loss/new", "loss/double"):
            found[tag] = ask("plugin/scalars/scalars", run=RUN, tag=tag)
        for tag in ("weights", "raw"):
            found[tag] = ask("plugin/histograms/histograms", run=RUN, tag=tag)
        for tag in ("picture", "pictures", "figure", "boxes"):
            shown = ask("plugin/images/images", run=RUN, tag=tag, sample=0)
            pixels = [ask(f"plugin/images/individualImage?{entry.pop('query')}&x") for entry in shown]
            found[tag] = (shown, pixels)
        found["note"] = ask("plugin/text/text", run=RUN, tag="note/text_summary")
        heard = ask("plugin/audio/audio", run=RUN, tag="sound", sample=0)
        found["sound"] = [(entry["step"], re.sub(r"blob_key=[^&]*", "", entry["query"])) for entry in heard]
        for tag in ("curve", "rawcurve"):
            found[tag] = ask("plugin/pr_curves/pr_curves", run=RUN, tag=tag)
        found["layout"] = ask("plugin/custom_scalars/layout")
        found["graph"] = ask("plugin/graphs/info")[RUN]
        found["mesh"] = ask("plugin/mesh/tags")[RUN]
        found["hparams"] = ask("plugin/scalars/scalars", run=f"{RUN}/trial", tag="accuracy")[0][1:]
    return found


def test_tensorboard_answers_the_same_over_http(logged: Path, stored: tuple[str, Path]) -> None:
    ours, theirs = answers(stored[0]), answers(str(logged))
    assert ours.keys() == theirs.keys()
    for question, expected in theirs.items():
        assert expected, question
        assert ours[question] == expected, question
