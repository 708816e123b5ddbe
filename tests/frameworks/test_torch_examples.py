"""Each example logs to S3 exactly what the framework's own writer logs for it to a local directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import logged
import pytest

import bucketboard
from bucketboard.testing import Fault, FaultKind
from promised import Place

pytestmark = pytest.mark.timeout(600)
RUNNING = Path(__file__).with_name("running.py")
CASES = {
    "torch as it is, beside TensorFlow": ("pytorch",),
    "torch as it is": ("pytorch", "--without-tensorflow"),
    "torch by our door": ("pytorch", "--without-tensorflow", "--door", "torch"),
    "tensorboard as it is, beside TensorFlow": ("tensorboard_writer",),
    "tensorboardX as it is": ("tensorboardx",),
    "tensorboardX by our door": ("tensorboardx", "--door", "tensorboardx"),
    "Lightning as it is": ("lightning_logger", "--without-tensorflow"),
    "Lightning by our door": ("lightning_logger", "--without-tensorflow", "--door", "lightning"),
    "Hugging Face as it is": ("huggingface", "--without-tensorflow"),
    "Hugging Face with our writer": ("huggingface_callback", "--without-tensorflow"),
    "Accelerate as it is": ("accelerate_tracker", "--without-tensorflow"),
    "Accelerate by our door": ("accelerate_tracker", "--without-tensorflow", "--door", "accelerate"),
    "DDP": ("ddp", "--without-tensorflow"),
    "DDP, all ranks": ("ddp", "--without-tensorflow", "--all"),
    "the profiler": ("profiler", "--without-tensorflow"),
}


@pytest.fixture(scope="session")
def logged_locally(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Place, tuple[str, ...]], logged.Logged]:
    """What an example logs to a local directory with the framework's own writer; run once."""
    made: dict[tuple[str, bool], logged.Logged] = {}

    def run(place: Place, case: tuple[str, ...]) -> logged.Logged:
        example, every_rank = case[0], "--all" in case
        if (example, every_rank) not in made:
            directory = tmp_path_factory.mktemp(example)
            more = ["--stock", "--without-tensorflow", *(["--all"] if every_rank else [])]
            done = place.run(RUNNING, example, directory, *more, cwd=directory.parent, timeout=290)
            assert done.returncode == 0, done.stderr
            made[example, every_rank] = logged.of_directory(directory)
            assert made[example, every_rank]
        return made[example, every_rank]

    return run


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_bucket_gets_what_a_directory_gets(
    case: tuple[str, ...],
    spooled_place: Callable[..., Place],
    logged_locally: Callable[..., logged.Logged],
    tmp_path: Path,
) -> None:
    place = spooled_place()
    done = place.run(RUNNING, *case[:1], place.url, *case[1:], cwd=tmp_path, timeout=290)
    assert done.returncode == 0, done.stderr
    assert "bucketboard" not in done.stderr.replace("bucketboard-example", "")
    assert logged.of_bucket(place, "exp/run") == logged_locally(place, case)
    assert not list(tmp_path.glob("s3:*")), "a local directory named after the URL"
    assert not place.uploads()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_training_ends_well_though_s3_refuses_everything(
    case: tuple[str, ...], spooled_place: Callable[..., Place], tmp_path: Path
) -> None:
    place = spooled_place("moto")
    place.proxy.inject(Fault(FaultKind.STATUS, status=403, code="AccessDenied"))
    checkpoints = ["--without-checkpoints"] if case[0] == "lightning_logger" else []
    done = place.run(RUNNING, *case[:1], place.url, *case[1:], *checkpoints, cwd=tmp_path, timeout=290)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert place.keys() == []
    # Of each run: what is wrong, once, and at the end how much is missing and what sends it.
    assert "not stored, they are kept in" in done.stderr
    assert "send them with: bucketboard recover" in done.stderr
    lines = [line for line in done.stderr.splitlines() if "AccessDenied" in line]
    assert len(lines) == len(set(lines)), done.stderr


def test_stock_tensorboard_reads_a_pulled_copy(spooled_place: Callable[..., Place], tmp_path: Path) -> None:
    from bucketboard.serve.stub import avoid_tensorflow

    avoid_tensorflow()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    place = spooled_place()
    done = place.run(RUNNING, "pytorch", place.url, "--without-tensorflow", cwd=tmp_path, timeout=290)
    assert done.returncode == 0, done.stderr
    bucketboard.pull(place.url, tmp_path / "pulled", endpoint_url=place.proxy.url)
    accumulator = EventAccumulator(str(tmp_path / "pulled"), size_guidance={"histograms": 0}).Reload()
    assert [event.step for event in accumulator.Scalars("loss")] == list(range(100))
    assert accumulator.Graph().node
    assert [event.step for event in accumulator.Histograms("weights")] == [0, 20, 40, 60, 80]
    session = EventAccumulator(str(tmp_path / "pulled" / "hparams")).Reload()
    assert len(session.Scalars("final/loss")) == 1
