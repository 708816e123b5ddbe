"""Every ``add_*`` method, with either library's builders, against what the library's own writer writes."""

from __future__ import annotations

import random
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorboardX
import torch
from matplotlib.figure import Figure
from tensorboard.compat.proto.event_pb2 import Event
from torch.utils import tensorboard as torch_tensorboard

from bucketboard.errors import InvalidError
from bucketboard.events.record import scan
from bucketboard.writer import builders as table
from bucketboard.writer import summary_writer
from bucketboard.writer.summary_writer import SummaryWriter

# torch.jit is deprecated, and what torch's own add_graph uses.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*:DeprecationWarning")

Call = Callable[[Any], None]
LIBRARIES = {"torch": table.torch_builders, "tensorboardX": table.tensorboardx_builders}

_draw = np.random.default_rng(7)
VALUES = _draw.normal(size=1000)
IMAGE = _draw.random((3, 12, 16), dtype=np.float32)
BATCH = _draw.integers(0, 255, (5, 3, 8, 8), dtype=np.uint8)
BOXES = np.array([[1, 1, 8, 8], [3, 2, 12, 10]])
VIDEO = _draw.integers(0, 255, (2, 4, 3, 16, 16), dtype=np.uint8)
SOUND = _draw.uniform(-1, 1, 800)
LABELS, SCORES = _draw.integers(0, 2, 100), _draw.random(100)
CURVE = _draw.random((6, 10))
VERTICES, FACES = _draw.random((1, 5, 3)), _draw.integers(0, 5, (1, 4, 3))
COLORS = _draw.integers(0, 255, (1, 5, 3))
POINTS, PICTURES = _draw.random((4, 6)), torch.from_numpy(_draw.random((4, 3, 8, 8)))
LAYOUT = {"fit": {"loss": ["Multiline", ["a", "b"]], "band": ["Margin", ["a", "b", "c"]]}}


def figure() -> Figure:
    drawn = Figure(figsize=(1, 1))
    drawn.add_subplot().plot([1, 3, 2])
    return drawn


def model() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))


# The calls that both libraries' writers and ours understand in the same way.
SAME: dict[str, Call] = {
    "scalar": lambda w: w.add_scalar("loss", 0.25, 3),
    "scalar of an array": lambda w: w.add_scalar("loss", np.array([[2.5]]), np.int64(4)),
    "scalar of a tensor": lambda w: w.add_scalar("loss", torch.tensor(1.5), torch.tensor(5)),
    "scalar of an int": lambda w: w.add_scalar("loss", 7, 2.9),
    "scalar that is not finite": lambda w: w.add_scalar("loss", float("nan"), -1),
    "histogram": lambda w: w.add_histogram("weights", VALUES, 1),
    "histogram of a tensor": lambda w: w.add_histogram("weights", torch.ones(4, 4), 1, "auto"),
    "histogram with few bins": lambda w: w.add_histogram("weights", VALUES, 1, max_bins=20),
    "histogram_raw": lambda w: w.add_histogram_raw("raw", 0, 2, 3, 3.0, 5.0, [0.5, 2.5], [1, 2], 1),
    "image": lambda w: w.add_image("pixels", IMAGE, 1),
    "image HWC": lambda w: w.add_image("pixels", BATCH[0].transpose(1, 2, 0), 1, dataformats="HWC"),
    "image HW": lambda w: w.add_image("pixels", IMAGE[0], 1, dataformats="HW"),
    "images": lambda w: w.add_images("grid", BATCH, 1),
    "image_with_boxes": lambda w: w.add_image_with_boxes("found", IMAGE, BOXES, 1, labels=["a", "b"]),
    "image_with_boxes, wrong labels": lambda w: w.add_image_with_boxes("found", IMAGE, BOXES, 1, labels="a"),
    "image_with_boxes, rescaled": lambda w: w.add_image_with_boxes("found", IMAGE, BOXES, 1, rescale=2),
    "figure": lambda w: w.add_figure("plot", figure(), 1),
    "figures": lambda w: w.add_figure("plots", [figure(), figure()], 1, close=False),
    "audio": lambda w: w.add_audio("sound", SOUND, 1, sample_rate=8000),
    "text": lambda w: w.add_text("note", "**grüße**", 1),
    "pr_curve": lambda w: w.add_pr_curve("pr", LABELS, torch.from_numpy(SCORES), 1, num_thresholds=300),
    "pr_curve, weighted": lambda w: w.add_pr_curve("pr", LABELS, SCORES, 1, weights=SCORES),
    "pr_curve_raw": lambda w: w.add_pr_curve_raw("pr", *CURVE, 1, num_thresholds=10),
    "multilinechart": lambda w: w.add_custom_scalars_multilinechart(["a", "b"], "fit", "loss"),
    "marginchart": lambda w: w.add_custom_scalars_marginchart(["a", "b", "c"]),
    "custom_scalars": lambda w: w.add_custom_scalars(LAYOUT),
    "embedding": lambda w: w.add_embedding(POINTS, list("abcd"), PICTURES, 2, "a/b"),
    "embeddings": lambda w: (
        w.add_embedding(POINTS),
        w.add_embedding(POINTS, [["x", 1]] * 4, metadata_header=["name", "n"], global_step=3),
    ),
    "walltime": lambda w: w.add_text("note", "then", 1, walltime=12.5),
}

# What only torch's writer has, or does differently from tensorboardX's.
TORCH: dict[str, Call] = {
    "scalar of a text": lambda w: w.add_scalar("loss", "0.5"),
    "scalar, odd tag": lambda w: w.add_scalar("/loss (é) %", 1.0, 3),
    "scalar, new style": lambda w: w.add_scalar("loss", torch.tensor([0.1]), 3, new_style=True),
    "scalar, double": lambda w: w.add_scalar("loss", 0.1, 3, new_style=True, double_precision=True),
    "scalars": lambda w: w.add_scalars("a/b", {"train": 1.0, "test": np.float32(0.1)}, 3),
    "tensor": lambda w: w.add_tensor("t", torch.arange(6.0).reshape(2, 3), 1),
    "tensor, bfloat16": lambda w: w.add_tensor("t", torch.ones(2, dtype=torch.bfloat16), 1),
    "histogram, odd tag": lambda w: w.add_histogram("/w (é) %", VALUES, 1),
    "image, odd tag": lambda w: w.add_image("/w (é) %", IMAGE, 1),
    "image above 1": lambda w: w.add_image("bright", IMAGE * 2, 1),
    "audio (1, L)": lambda w: w.add_audio("sound", SOUND[None], 1),
    "mesh": lambda w: w.add_mesh("m", torch.from_numpy(VERTICES), COLORS, FACES, {"lights": []}, 1),
    "point cloud": lambda w: w.add_mesh("m", VERTICES),
    "hparams": lambda w: w.add_hparams(
        {"lr": 0.1, "depth": 3, "name": "x", "bias": True, "none": None, "t": torch.tensor([2.0])},
        {"accuracy": 0.9, "loss": torch.tensor(0.5)},
        {"depth": [1, 2, 3], "name": ["x", "y"]},
        run_name="trial",
        global_step=4,
    ),
    "graph": lambda w: w.add_graph(model(), torch.ones(1, 4)),
}


def contents(logdir: Path) -> dict[str, list[bytes] | bytes]:
    """Per run the events without wall times and without the first of a file; other files as they are."""
    found: dict[str, list[bytes] | bytes] = {}
    for path in sorted(p for p in logdir.rglob("*") if p.is_file()):
        if "tfevents" not in path.name:
            found[path.relative_to(logdir).as_posix()] = path.read_bytes()
            continue
        events = [Event.FromString(record.payload) for record in scan(path.read_bytes())]
        assert events[0].file_version == "brain.Event:2"
        for event in events:
            event.ClearField("wall_time")
        found[f"events of {path.parent.relative_to(logdir)}"] = [
            event.SerializeToString(deterministic=True) for event in events[1:]
        ]
    return found


def written(call: Call, logdir: Path, writer: type, **options: Any) -> dict[str, list[bytes] | bytes]:
    """What ``call`` makes a writer write. A run without events of its own is left out."""
    with writer(str(logdir), **options) as opened:
        call(opened)
    return {name: content for name, content in contents(logdir).items() if content}


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[Exception]
) -> Callable[[str, Call], dict[str, list[bytes] | bytes]]:
    def write(library: str, call: Call) -> dict[str, list[bytes] | bytes]:
        monkeypatch.setattr(summary_writer, "builders", LIBRARIES[library])
        return written(call, tmp_path / "ours", SummaryWriter, on_error=errors.append)

    return write


@pytest.mark.parametrize("name", [*SAME, *TORCH])
def test_with_torch_it_writes_what_torch_writes(
    name: str, ours: Any, tmp_path: Path, errors: list[Exception]
) -> None:
    call = (SAME | TORCH)[name]
    theirs = written(call, tmp_path / "theirs", torch_tensorboard.SummaryWriter)
    assert theirs
    assert ours("torch", call) == theirs
    assert errors == []


@pytest.mark.parametrize("name", SAME)
def test_with_tensorboardx_it_writes_what_tensorboardx_writes(
    name: str, ours: Any, tmp_path: Path, errors: list[Exception]
) -> None:
    theirs = written(SAME[name], tmp_path / "theirs", tensorboardX.SummaryWriter)
    assert theirs
    assert ours("tensorboardX", SAME[name]) == theirs
    assert errors == []


@pytest.mark.parametrize(
    "name",
    [
        "scalar of a text", "scalar, odd tag", "scalar, new style", "scalar, double", "scalars", "tensor",
        "tensor, bfloat16", "histogram, odd tag", "image, odd tag", "graph",
    ],
)  # fmt: skip
def test_with_tensorboardx_it_still_writes_what_torch_writes(
    name: str, ours: Any, tmp_path: Path, errors: list[Exception]
) -> None:
    theirs = written(TORCH[name], tmp_path / "theirs", torch_tensorboard.SummaryWriter)
    assert ours("tensorboardX", TORCH[name]) == theirs
    assert errors == []


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("frames", [VIDEO, VIDEO[:1] / np.float32(255)], ids=["uint8", "float"])
def test_video_is_tensorboardx_s_with_either(
    library: str, frames: Any, ours: Any, tmp_path: Path, errors: list[Exception]
) -> None:
    call: Call = lambda w: w.add_video("clip", frames, 1, fps=2)  # noqa: E731
    theirs = written(call, tmp_path / "theirs", tensorboardX.SummaryWriter)
    assert b"GIF89a" in theirs["events of ."][0]  # type: ignore[operator]
    assert ours(library, call) == theirs
    assert errors == []


def test_video_without_an_encoder_is_an_error(
    ours: Any, monkeypatch: pytest.MonkeyPatch, errors: list[Exception]
) -> None:
    monkeypatch.setattr("tensorboardX.summary.make_video", lambda *_: None)
    assert ours("torch", lambda w: w.add_video("clip", VIDEO)) == {}
    assert [str(error) for error in errors] == [
        "add_video('clip') logged nothing: no video was encoded\n  hint: pip install 'bucketboard[video]'"
    ]


def test_tensorboardx_s_mesh_has_torch_s_tags(ours: Any, tmp_path: Path) -> None:
    call: Call = lambda w: w.add_mesh("m", VERTICES, COLORS, FACES, {}, 1)  # noqa: E731
    theirs = written(call, tmp_path / "theirs", tensorboardX.SummaryWriter)["events of ."]
    mine = ours("tensorboardX", call)["events of ."]
    (torch_s,) = written(call, tmp_path / "torch", torch_tensorboard.SummaryWriter)["events of ."]
    (expected, event) = (Event.FromString(theirs[0]), Event.FromString(mine[0]))  # type: ignore[arg-type]
    tags = [value.tag for value in Event.FromString(torch_s).summary.value]
    assert [value.tag for value in event.summary.value] == tags == ["m_VERTEX", "m_FACE", "m_COLOR"]
    for value, tag in zip(expected.summary.value, tags, strict=True):
        value.tag = tag
    assert event == expected


def test_tensorboardx_s_hparams_are_in_a_sub_run_with_their_step(ours: Any, tmp_path: Path) -> None:
    parameters, metrics = {"lr": 0.1, "bias": True, "name": "x"}, {"accuracy": 0.9}
    mine = ours("tensorboardX", lambda w: w.add_hparams(parameters, metrics, run_name="t", global_step=4))
    theirs = written(
        lambda w: w.add_hparams(parameters, metrics, name="t", global_step=4),
        tmp_path / "theirs",
        tensorboardX.SummaryWriter,
    )
    expected = [Event.FromString(event) for event in theirs["events of t"]]  # type: ignore[arg-type]
    for event in expected:  # tensorboardX gives the step to the metrics only, torch to all
        event.step = 4
    assert [Event.FromString(event) for event in mine["events of t"]] == expected


def test_tensorboardx_takes_sound_in_torch_s_shape(ours: Any, tmp_path: Path) -> None:
    mine = ours("tensorboardX", lambda w: w.add_audio("sound", SOUND[None], 1))
    theirs = written(
        lambda w: w.add_audio("sound", SOUND, 1), tmp_path / "theirs", tensorboardX.SummaryWriter
    )
    assert mine == theirs


@pytest.mark.parametrize("library", LIBRARIES)
def test_onnx_graph(
    library: str, ours: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[Exception]
) -> None:
    """With a stand-in for ``onnx``, which is no dependency and too large to be one of the tests."""
    dims = [types.SimpleNamespace(dim_value=size) for size in (1, 4)]
    tensor = types.SimpleNamespace(shape=types.SimpleNamespace(dim=dims), elem_type=1)
    ends = [
        types.SimpleNamespace(name=name, type=types.SimpleNamespace(tensor_type=tensor))
        for name in ("x", "y")
    ]
    node = types.SimpleNamespace(attribute=[], output=["y"], op_type="Relu", input=["x"])
    graph = types.SimpleNamespace(input=ends[:1], output=ends[1:], node=[node])
    onnx: Any = types.ModuleType("onnx")
    onnx.load = lambda path: types.SimpleNamespace(graph=graph)
    monkeypatch.setitem(sys.modules, "onnx", onnx)
    call: Call = lambda w: w.add_onnx_graph("model.onnx")  # noqa: E731
    theirs = written(call, tmp_path / "theirs", torch_tensorboard.SummaryWriter)
    assert ours(library, call) == theirs
    assert errors == []


def test_bfloat16_keeps_its_range(ours: Any) -> None:
    """torch's writer takes the way through float16, where 1e38 becomes infinite."""
    (event,) = ours("torch", lambda w: w.add_scalar("x", torch.tensor(1e38, dtype=torch.bfloat16)))[
        "events of ."
    ]
    assert Event.FromString(event).summary.value[0].simple_value == pytest.approx(1e38, rel=0.01)


@pytest.mark.parametrize("library", LIBRARIES)
def test_nothing_is_left_in_the_temporary_directory(
    library: str, ours: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    ours(library, SAME["embedding"])
    assert list(scratch.iterdir()) == []


class Drawing(torch.nn.Module):
    """A model whose forward pass draws from every generator, with a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = torch.nn.BatchNorm1d(4).eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        random.random()
        np.random.rand()
        return self.frozen(torch.nn.functional.dropout(x, training=True))


def random_states() -> tuple[Any, ...]:
    numpy: Any = np.random.get_state()
    return random.getstate(), numpy[1].tolist(), numpy[2:], torch.get_rng_state().tolist()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # the model draws on purpose
@pytest.mark.parametrize("library", LIBRARIES)
def test_random_states_and_the_model_s_modes_are_left_alone(
    library: str, ours: Any, errors: list[Exception]
) -> None:
    network = Drawing()
    LIBRARIES[library]()
    calls = [call for name, call in (SAME | TORCH).items() if name != "graph"]  # its model is seeded
    before = random_states()
    ours(library, lambda w: [call(w) for call in calls])
    assert random_states() == before
    ours(library, lambda w: (w.add_video("v", VIDEO), w.add_graph(network, torch.ones(2, 4))))
    assert random_states() == before
    assert network.training
    assert not network.frozen.training
    assert errors == []


META = torch.ones(2, 2, device="meta")


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    "call",
    [
        lambda w: w.add_scalar("x", META[0, 0]),
        lambda w: w.add_histogram("x", META),
        lambda w: w.add_image("x", img_tensor=META, dataformats="HW"),
        lambda w: w.add_embedding(META),
        lambda w: w.add_hparams({"a": META}, {}),
    ],
)
def test_a_tensor_without_data_is_an_error_and_no_random_number(
    library: str, call: Call, ours: Any, errors: list[Exception]
) -> None:
    before = random_states()
    assert ours(library, call) == {}
    assert len(errors) == 1
    assert random_states() == before


def run(script: str, tmp_path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


OPEN = "import sys; from bucketboard.writer.summary_writer import SummaryWriter, builders\n"


def test_the_choice_is_torch_s_if_torch_is_imported(tmp_path: Path) -> None:
    assert run("import torch;" + OPEN + "print(builders().library)", tmp_path) == "torch"


def test_the_choice_is_tensorboardx_s_otherwise_and_stays(tmp_path: Path) -> None:
    script = OPEN + "print(builders().library, end=' '); import torch; print(builders().library)"
    assert run(script, tmp_path) == "tensorboardX tensorboardX"


def test_the_choice_is_tensorboardx_s_if_torch_s_does_not_import(tmp_path: Path) -> None:
    script = "import sys, torch; sys.modules['torch.utils.tensorboard'] = None;" + OPEN
    assert run(script + "print(builders().library)", tmp_path) == "tensorboardX"


def test_without_torch_what_needs_it_says_so(tmp_path: Path) -> None:
    """``None`` in ``sys.modules`` is an import that fails: a machine where torch is not installed."""
    script = f"""{OPEN}
sys.modules["torch"] = None
import numpy
w = SummaryWriter(sys.argv[1], on_error=lambda error: print(error.message))
w.add_histogram("h", numpy.ones(3))
w.add_scalar("s", 1.0, new_style=True)
del sys.modules["torch"]
w.add_tensor("t", numpy.ones(3))
w.add_graph(None)
w.add_hparams({{"a": 1}}, {{}}, {{"a": [1, 2]}}, run_name="r")
w.close()
"""
    assert run(script, tmp_path).splitlines() == [
        "add_tensor('t') logged nothing: add_tensor needs torch",
        "add_graph logged nothing: add_graph needs a torch model",
        "add_hparams logged nothing: hparam_domain_discrete needs torch",
    ]
    (events,) = [found for found in contents(tmp_path).values() if found]
    assert len(events) == 2


def test_scalars_import_none_of_the_libraries(tmp_path: Path) -> None:
    script = f"""{OPEN}
with SummaryWriter(sys.argv[1], purge_step=1) as w:
    w.add_scalar("loss", 0.5, 1)
    w.add_scalars("both", {{"a": 1, "b": True}}, 1)
    w.flush()
heavy = {{"torch", "tensorboardX", "numpy", "tensorboard", "google.protobuf", "matplotlib", "PIL"}}
print(sorted(heavy & set(sys.modules)))
"""
    assert run(script, tmp_path) == "[]"


def test_a_figure_does_not_switch_the_backend(tmp_path: Path) -> None:
    script = f"""{OPEN}
import matplotlib; matplotlib.use("svg")
from matplotlib import pyplot
w = SummaryWriter(sys.argv[1], on_error=print)
w.add_figure("plot", pyplot.figure())
w.close()
print(matplotlib.get_backend(), pyplot.get_fignums())
"""
    assert run(script, tmp_path) == "svg []"


def test_the_default_bins_are_torch_s(tmp_path: Path) -> None:
    with torch_tensorboard.SummaryWriter(str(tmp_path)) as writer:
        assert table.histogram_edges() == writer.default_bins


def test_the_cause_of_a_builder_s_error_is_kept(ours: Any, errors: list[Exception]) -> None:
    assert ours("torch", lambda w: w.add_image("x", np.ones((2, 2)))) == {}
    (error,) = errors
    assert isinstance(error, InvalidError)
    assert isinstance(error.__cause__, AssertionError)
    assert error.message.startswith("add_image('x') logged nothing: AssertionError: size of input tensor")
