"""``SummaryWriter``: torch's signatures, no error into training, sub-runs, its life from open to reopened."""

from __future__ import annotations

import enum
import inspect
import re
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from torch.utils import tensorboard as torch_tensorboard

from bucketboard.errors import InvalidError, UnavailableError
from bucketboard.events.record import scan
from bucketboard.replication.position import Mark, Position
from bucketboard.writer import builders as table
from bucketboard.writer import summary_writer
from bucketboard.writer.summary_writer import SummaryWriter

PUBLIC = [name for name in dir(torch_tensorboard.SummaryWriter) if not name.startswith("_")]


def events(run: Path) -> list[Event]:
    """All events of the run's files, each file's first left out."""
    found = []
    for path in sorted(run.glob("events.out.tfevents.*")):
        found += [Event.FromString(record.payload) for record in scan(path.read_bytes())][1:]
    return found


@pytest.fixture
def errors() -> list[Any]:
    return []


@pytest.fixture
def writer(tmp_path: Path, errors: list[Any]) -> Iterator[SummaryWriter]:
    with SummaryWriter(tmp_path / "run", on_error=errors.append) as opened:
        yield opened


# Signatures


@pytest.mark.parametrize("name", ["__init__", "__enter__", "__exit__", *PUBLIC])
def test_signatures_are_torch_s(name: str) -> None:
    def parameters(cls: type) -> list[tuple[Any, ...]]:
        found = inspect.signature(getattr(cls, name)).parameters.values()
        return [(p.name, p.kind, p.default) for p in found]

    ours, theirs = parameters(SummaryWriter), parameters(torch_tensorboard.SummaryWriter)
    assert ours[: len(theirs)] == theirs
    assert all(
        kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
        for _, kind, _ in ours[len(theirs) :]
    )


def test_only_options_that_were_given_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what was left out can come from the environment."""
    made: list[tuple[Any, ...]] = []

    class Recorded:
        def __init__(self, *args: Any, **options: Any) -> None:
            made.append((args, options))

        def add_scalar(self, *_: Any) -> None: ...

    monkeypatch.setattr(summary_writer, "EventFileWriter", Recorded)
    SummaryWriter("s3://b/r", "", None, 5, 6.0, ".x")
    SummaryWriter("s3://b/r", spool=None, metadata={"a": "b"}, rank_zero_only=False, region="eu-west-1")
    assert made == [
        (("s3://b/r", 5, 6.0, ".x"), {}),
        (
            ("s3://b/r", 10, 120, ""),
            {"spool": None, "metadata": {"a": "b"}, "rank_zero_only": False, "region": "eu-west-1"},
        ),
    ]


def test_an_unknown_option_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="unknown setting 'endpoint'"):
        SummaryWriter(tmp_path, endpoint="http://localhost")


def test_the_default_directory_is_torch_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SummaryWriter(comment="-try") as writer:
        directory = writer.get_logdir()
    assert directory == writer.log_dir
    assert re.fullmatch(rf"runs/[A-Z][a-z]{{2}}\d\d_\d\d-\d\d-\d\d_{socket.gethostname()}-try", directory)
    assert (tmp_path / directory).is_dir()


# Scalars


class Metric(str, enum.Enum):
    LOSS = "loss"


@pytest.mark.parametrize(
    "value",
    [0.1, 3, True, "0.1", np.float32(0.1), np.float64(0.1), np.int8(3), np.array([[0.1]]), np.array("0.1"),
     torch.tensor(0.1), torch.tensor([[2]]), torch.tensor(0.5, requires_grad=True), torch.tensor(True),
     float("inf"), 1e300],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("step", [None, 0, 7, -1, 2.9, np.int64(5), torch.tensor(5), True, 2**62])
def test_a_scalar_is_what_torch_makes_of_it(
    value: Any, step: Any, writer: SummaryWriter, tmp_path: Path, errors: list[Any]
) -> None:
    with torch_tensorboard.SummaryWriter(str(tmp_path / "theirs")) as theirs:
        theirs.add_scalar("loss", value, step, 12)
    writer.add_scalar("loss", value, step, 12)
    writer.flush()
    assert events(tmp_path / "run") == events(tmp_path / "theirs")
    assert errors == []


@pytest.mark.parametrize("tag", ["", "a/b", "/a b(é)%", "loss:0", "../up", Metric.LOSS])
def test_a_tag_is_logged_as_it_is(tag: str, writer: SummaryWriter, tmp_path: Path) -> None:
    writer.add_scalar(tag, 1.0)
    writer.add_histogram(tag, np.ones(2))
    writer.flush()
    assert [event.summary.value[0].tag for event in events(tmp_path / "run")] == [str.__str__(tag)] * 2


def test_scalars_share_a_tag_in_sub_runs(writer: SummaryWriter, tmp_path: Path, errors: list[Any]) -> None:
    for step in range(3):
        writer.add_scalars("fit/loss", {"train": step, "test": None if step == 1 else step}, step)
    writer.close()
    for run, steps in (("fit_loss_train", [0, 1, 2]), ("fit_loss_test", [0, 2])):
        found = events(tmp_path / "run" / run)
        assert [event.step for event in found] == steps
        assert {event.summary.value[0].tag for event in found} == {"fit/loss"}
    assert [error.message for error in errors] == [
        "add_scalars('fit/loss/test') logged nothing: "
        "TypeError: float() argument must be a string or a real number, not 'NoneType'"
    ]


@pytest.mark.slow
def test_a_scalar_takes_a_microsecond(writer: SummaryWriter) -> None:
    durations = []
    for step in range(50_000):
        begin = time.perf_counter_ns()
        writer.add_scalar("loss", 0.5, step)
        durations.append(time.perf_counter_ns() - begin)
    assert statistics.median(durations) <= 1000


# Training comes first


class Hostile:
    """Raises whatever is asked of it."""

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


BAD: list[Any] = [None, "text", b"bytes", {}, object(), Hostile(), lambda: 0, np.ones((2, 0, 7))]
BROKEN: dict[str, Callable[[SummaryWriter, Any], None]] = {
    "add_scalar": lambda w, bad: w.add_scalar("x", [bad]),
    "add_tensor": lambda w, bad: w.add_tensor("x", bad),
    "add_histogram": lambda w, bad: w.add_histogram("x", [bad]),
    "add_histogram_raw": lambda w, bad: w.add_histogram_raw("x", 0, 1, 1, 1, 1, [bad], []),
    "add_image": lambda w, bad: w.add_image("x", bad),
    "add_images": lambda w, bad: w.add_images("x", bad),
    "add_image_with_boxes": lambda w, bad: w.add_image_with_boxes("x", bad, bad, labels=bad),
    "add_figure": lambda w, bad: w.add_figure("x", bad),
    "add_video": lambda w, bad: w.add_video("x", bad),
    "add_audio": lambda w, bad: w.add_audio("x", [[bad]]),
    "add_text": lambda w, bad: w.add_text("x", [bad]),  # type: ignore[arg-type]
    "add_onnx_graph": lambda w, bad: w.add_onnx_graph(bad),
    "add_graph": lambda w, bad: w.add_graph(bad, bad),
    "add_embedding": lambda w, bad: w.add_embedding(bad, metadata=bad),
    "add_pr_curve": lambda w, bad: w.add_pr_curve("x", bad, np.ones(3)),
    "add_pr_curve_raw": lambda w, bad: w.add_pr_curve_raw("x", bad, 1, [2, 3], 4, 5, 6),
    "add_custom_scalars": lambda w, bad: w.add_custom_scalars([bad]),  # type: ignore[arg-type]
    "add_custom_scalars_multilinechart": lambda w, bad: w.add_custom_scalars_multilinechart([bad, 5]),
    "add_custom_scalars_marginchart": lambda w, bad: w.add_custom_scalars_marginchart([bad]),
    "add_mesh": lambda w, bad: w.add_mesh("x", bad, config_dict={"lights": object()}),
    "add_hparams": lambda w, bad: w.add_hparams({"a": bad}, [bad]),  # type: ignore[arg-type]
    "add_scalars": lambda w, bad: w.add_scalars("x", [bad]),  # type: ignore[arg-type]
}


def test_every_method_is_among_the_broken_calls() -> None:
    assert set(BROKEN) == {name for name in PUBLIC if name.startswith("add_")}


@pytest.mark.parametrize("library", [table.torch_builders, table.tensorboardx_builders])
@pytest.mark.parametrize("method", BROKEN)
def test_no_input_raises_and_each_error_is_reported(
    method: str,
    library: Any,
    writer: SummaryWriter,
    errors: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(summary_writer, "builders", library)
    for number, bad in enumerate(BAD, 1):
        BROKEN[method](writer, bad)
        assert len(errors) == number, type(bad)
        assert isinstance(errors[-1], InvalidError)
        assert errors[-1].message.startswith(method)
        assert isinstance(errors[-1].__cause__, Exception)
    writer.close()
    assert events(tmp_path / "run") == []
    assert len(errors) == len(BAD)


@pytest.mark.parametrize("tag", [None, 5, b"x", ["x"]])
def test_a_bad_tag_is_reported(tag: Any, writer: SummaryWriter, errors: list[Any]) -> None:
    writer.add_scalar(tag, 1.0)
    writer.add_scalars(tag, {"a": 1.0})
    writer.add_text(tag, "x")
    writer.add_image(tag=tag, img_tensor=np.ones((3, 4, 4)))
    writer.add_embedding(np.ones((2, 2)), tag=tag)
    kind = type(tag).__name__
    assert [error.message for error in errors] == [
        f"{method} logged nothing: a tag must be a str, not {kind}"
        for method in ("add_scalar", "add_scalars", "add_text", "add_image", "add_embedding")
    ]


@pytest.mark.parametrize(
    "step",
    ["x", float("nan"), [1], 2**63, -(2**63) - 1, Hostile()],
    ids=["text", "nan", "list", "large", "small", "hostile"],
)
def test_a_bad_step_is_reported(step: Any, writer: SummaryWriter, errors: list[Any], tmp_path: Path) -> None:
    writer.add_scalar("x", 1.0, step)
    writer.add_text("x", "y", step)
    writer.add_hparams({"a": 1}, {"b": 2}, run_name="r", global_step=step)
    writer.add_scalar("x", 1.0, 1, "then")  # type: ignore[arg-type]
    writer.close()
    assert len(errors) == 4
    assert events(tmp_path / "run") == []


def test_a_tag_that_is_no_text_is_reported_when_it_is_encoded(
    writer: SummaryWriter, errors: list[Any]
) -> None:
    writer.add_scalar("\ud800", 1.0)
    writer.add_text("\ud800", "x")
    writer.flush()
    assert len(errors) == 2


def test_a_summary_without_values_is_an_error(writer: SummaryWriter, errors: list[Any]) -> None:
    writer.add_mesh("m", None)
    assert [error.message for error in errors] == ["add_mesh('m') logged nothing: there is nothing in it"]


def test_a_missing_library_is_named(writer: SummaryWriter, errors: list[Any]) -> None:
    writer.add_onnx_graph("model.onnx")
    assert errors[0].hint == "pip install onnx"


def test_an_interrupt_is_not_swallowed(writer: SummaryWriter) -> None:
    class Interrupting:
        def __float__(self) -> float:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.add_scalar("x", Interrupting())


# The life of the writer


def test_purge_step_hides_what_an_earlier_file_holds(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        for step in range(10):
            writer.add_scalar("loss", step, step)
    with SummaryWriter(tmp_path, purge_step=4) as writer:
        writer.add_scalar("loss", 40, 4)
    version, start, _ = events(tmp_path)[10:]
    assert (version.step, version.file_version) == (4, "brain.Event:2")
    assert (start.step, start.session_log.status) == (4, SessionLog.START)
    accumulator = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in accumulator.Scalars("loss")] == [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 40),
    ]


def test_a_closed_writer_opens_again_as_torch_s_does(tmp_path: Path, errors: list[Any]) -> None:
    writer = SummaryWriter(tmp_path, on_error=errors.append)
    for step in range(3):
        writer.add_scalar("loss", 1.0, step)
        writer.add_text("note", "x", step)
        writer.add_scalars("all", {"a": 1.0}, step)
        writer.close()
        writer.close()
    assert errors == []
    for run, count in ((tmp_path, 6), (tmp_path / "all_a", 3)):
        assert len(list(run.glob("events.out.tfevents.*"))) == 3
        assert len(events(run)) == count


def test_a_closed_writer_makes_no_file_if_nothing_is_added(tmp_path: Path) -> None:
    writer = SummaryWriter(tmp_path)
    writer.close()
    writer.flush()
    writer.sync()
    writer.add_scalar("x", None)  # reported, nothing to log
    writer.add_text("x", "y", "z")  # type: ignore[arg-type]
    writer.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_hparams_without_a_name_get_a_run_each(
    writer: SummaryWriter, tmp_path: Path, errors: list[Any]
) -> None:
    for rate in (0.1, 0.2):
        writer.add_hparams({"rate": rate}, {"accuracy": rate})
    writer.flush()
    runs = [path for path in (tmp_path / "run").iterdir() if path.is_dir()]
    assert [len(events(run)) for run in runs] == [4, 4]
    assert all(abs(float(run.name) - time.time()) < 60 for run in runs)
    assert errors == []


def test_position_counts_the_sub_runs_too(writer: SummaryWriter, tmp_path: Path) -> None:
    writer.add_scalar("loss", 1.0)
    writer.add_scalars("all", {"a": 1.0, "b": 2.0})
    position = writer.sync(5)
    files = (tmp_path / "run").rglob("events.out.tfevents.*")
    assert position == writer.position
    assert position.stored == Mark(sum(path.stat().st_size for path in files), 3)
    assert writer.dropped == 0


def test_file_writer_takes_events(writer: SummaryWriter, tmp_path: Path) -> None:
    event = Event(step=3, wall_time=1.0)
    writer.file_writer.add_event(event)
    writer.flush()
    assert events(tmp_path / "run") == [event]


def test_embeddings_of_several_calls_are_listed_together(writer: SummaryWriter, tmp_path: Path) -> None:
    writer.add_embedding(np.ones((2, 3)), tag="a")
    writer.add_embedding(np.ones((2, 2)), metadata=["x"])  # one label for two points: reported
    writer.add_embedding(np.ones((2, 3)), tag="b", global_step=4)
    writer.close()
    config = (tmp_path / "run" / "projector_config.pbtxt").read_text()
    assert re.findall('tensor_name: "(.*)"', config) == ["a:00000", "b:00004"]
    for path in re.findall('tensor_path: "(.*)"', config):
        assert len((tmp_path / "run" / path).read_text().splitlines()) == 2


def test_threads_share_a_writer(writer: SummaryWriter, tmp_path: Path, errors: list[Any]) -> None:
    start = threading.Barrier(4)

    def log(thread: int) -> None:
        start.wait(10)
        for step in range(500):
            writer.add_scalar(f"loss/{thread}", step, step)
            writer.add_scalars("all", {"a": step}, step)
            if step % 100 == 0:
                writer.add_embedding(np.ones((2, 2)), tag=str(thread), global_step=step)
                writer.add_histogram("h", np.ones(3), step)

    threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert errors == []
    logged = [e for e in events(tmp_path / "run") if e.summary.value[0].tag != "h"]
    for number in range(4):
        assert [e.step for e in logged if e.summary.value[0].tag == f"loss/{number}"] == list(range(500))
    assert len(events(tmp_path / "run" / "all_a")) == 2000
    assert (tmp_path / "run" / "projector_config.pbtxt").read_text().count("embeddings {") == 20


class FileWriter:
    """Records what is asked of a run's file writer; ``fails`` is what a ``sync`` that waits raises."""

    close_timeout = 60.0
    enabled = True
    fails: dict[str, Exception] = {}
    position = Position(Mark(), Mark(), Mark())

    def __init__(self, name: str = "run", calls: list[Any] | None = None, **_: Any) -> None:
        self._name = name
        self._calls = calls if calls is not None else []

    def child(self, name: str) -> FileWriter:
        return FileWriter(name, self._calls)

    def sync(self, timeout: float | None) -> None:
        self._calls.append((self._name, "sync", timeout))
        if timeout != 0 and self._name in self.fails:
            raise self.fails[self._name]

    def begin_close(self) -> None:
        self._calls.append((self._name, "begin_close"))

    def end_close(self, timeout: float) -> None:
        assert 0 <= timeout <= self.close_timeout
        self._calls.append((self._name, "end_close"))

    def add_scalar(self, *_: Any) -> None: ...


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []
    monkeypatch.setattr(summary_writer, "EventFileWriter", lambda *_: FileWriter("run", made))
    return made


def test_sync_asks_every_run_before_it_waits_for_one(calls: list[Any]) -> None:
    writer = SummaryWriter("s3://b/r")
    writer.sync()
    assert calls == [("run", "sync", None)]
    calls.clear()
    writer.add_scalars("x", {"a": 1, "b": 2})
    writer.sync()
    runs = ["run", "x_a", "x_b"]
    assert calls == [(run, "sync", timeout) for timeout in (0, None) for run in runs]


def test_sync_waits_for_the_others_too_when_a_run_fails(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = UnavailableError("not stored")
    monkeypatch.setattr(FileWriter, "fails", {"x_a": failure, "x_b": UnavailableError("neither")})
    writer = SummaryWriter("s3://b/r")
    writer.add_scalars("x", {"a": 1, "b": 2, "c": 3})
    with pytest.raises(UnavailableError) as raised:
        writer.sync(30)
    assert raised.value is failure
    assert [name for name, _, timeout in calls if timeout] == ["run", "x_a", "x_b", "x_c"]
    assert all(timeout <= 30 for _, _, timeout in calls)


def test_close_ends_all_runs_within_one_timeout(calls: list[Any]) -> None:
    writer = SummaryWriter("s3://b/r")
    writer.add_scalars("x", {"a": 1})
    writer.close()
    assert calls == [(run, half) for half in ("begin_close", "end_close") for run in ("run", "x_a")]
