"""The examples of TensorFlow, Keras and the others: to S3 and to a directory they log the same."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from comparing import as_tensorboard_reads, of_bucket, of_directory, pulled
from tensorboard.compat.proto.event_pb2 import Event

from bucketboard.testing import Fault, FaultKind
from promised import Place

EXAMPLES = Path(__file__).parents[2] / "examples"
DIRECT = ["tensorflow2", "tensorflow1", "keras_callback", "jax_flax", "xgboost_callback", "lightgbm_callback"]
"""What takes a local directory too."""
OTHERS = ["sb3", "ray_train"]


def run(name: str, target: str, place: Place, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The example as a user starts it, if what it imports is installed."""
    path = EXAMPLES / f"{name}.py"
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for module in modules:
            if importlib.util.find_spec(module.partition(".")[0]) is None:
                pytest.skip(f"{module} is not installed")
    environ = {**place.environ(), "BUCKETBOARD_SPOOL": str(cwd / "spool"), "RAY_TRAIN_V2_ENABLED": "1"}
    command = [sys.executable, str(path), target]
    return subprocess.run(command, env=environ, cwd=cwd, capture_output=True, text=True, timeout=350)


def without_rates(runs: dict[str, list[Event]]) -> dict[str, list[Event]]:
    """Without how fast the machine was."""
    return {
        run: [event for event in events if not any("fps" in value.tag for value in event.summary.value)]
        for run, events in runs.items()
    }


pytestmark = pytest.mark.timeout(400)  # Ray's processes take their time to start


@pytest.mark.parametrize("name", DIRECT)
def test_the_bucket_gets_what_a_directory_gets(
    new_place: Callable[..., Place], tmp_path: Path, name: str
) -> None:
    place = new_place()
    for target in (str(tmp_path / "local"), f"s3://{place.bucket}/exp"):
        done = run(name, target, place, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "bucketboard: " not in done.stderr
    stored = of_bucket(place, "exp")
    assert stored == of_directory(tmp_path / "local")
    assert sum(map(len, stored.values())) > 20
    copy = pulled(place, "exp", tmp_path / "copy")
    for each in stored:
        assert as_tensorboard_reads(copy / each) == as_tensorboard_reads(tmp_path / "local" / each)
    assert not list(tmp_path.glob("spool/*"))
    assert not list(tmp_path.glob("s3:*"))


STOCK_SB3 = """
import sys
from stable_baselines3 import PPO
model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, seed=0, tensorboard_log=sys.argv[1], device="cpu")
model.learn(total_timesteps=256)
"""


def test_stable_baselines3(new_place: Callable[..., Place], tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    place = new_place()
    (tmp_path / "stock.py").write_text(STOCK_SB3)
    place.run(tmp_path / "stock.py", tmp_path / "local", cwd=tmp_path).check_returncode()
    done = run("sb3", f"s3://{place.bucket}/exp", place, tmp_path)
    assert done.returncode == 0, done.stderr
    stored = without_rates(of_bucket(place, "exp"))
    assert stored == without_rates(of_directory(tmp_path / "local"))
    assert len(stored["PPO_1"]) > 20


STOCK_RAY = """
import runpy, sys
import torch.utils.tensorboard
import bucketboard
bucketboard.SummaryWriter = lambda logdir, **options: torch.utils.tensorboard.SummaryWriter(logdir)
import ray.train.torch
class Here:
    def __init__(self, train, train_loop_config, **options): self.fit = lambda: train(train_loop_config)
ray.train.torch.TorchTrainer = Here
ray.train.report = ray.init = lambda *arguments, **options: None
runpy.run_path(sys.argv.pop(1))
"""


def test_ray_train(new_place: Callable[..., Place], tmp_path: Path) -> None:
    """As torch's own writer does for the same training without Ray."""
    pytest.importorskip("ray.train", exc_type=ImportError)
    place = new_place()
    done = run("ray_train", f"s3://{place.bucket}/exp", place, tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "stock.py").write_text(STOCK_RAY)
    local = place.run(tmp_path / "stock.py", EXAMPLES / "ray_train.py", tmp_path / "local", cwd=tmp_path)
    assert local.returncode == 0, local.stderr
    stored = of_bucket(place, "exp")
    assert stored == of_directory(tmp_path / "local")
    assert len(stored["."]) == 50


@pytest.mark.parametrize("name", ["jax_flax", "xgboost_callback", "lightgbm_callback", *OTHERS])
def test_the_training_ends_well_though_s3_refuses_everything(
    new_place: Callable[..., Place], tmp_path: Path, name: str
) -> None:
    place = new_place()
    refused = place.proxy.inject(Fault(FaultKind.STATUS, status=403, code="AccessDenied"))
    done = run(name, f"s3://{place.bucket}/exp", place, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert place.keys() == []
    if name != "ray_train":  # whose worker's words go to Ray's logs
        assert done.stderr.count("send them with: bucketboard recover") == 1, done.stderr
        assert len([line for line in done.stderr.splitlines() if "AccessDenied" in line]) <= 2, done.stderr
    refused.remove()
    recovery = [sys.executable, "-m", "bucketboard", "recover", "--spool", str(tmp_path / "spool")]
    environ = {**os.environ, **place.environ()}
    done = subprocess.run(recovery, env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert sum(map(len, of_bucket(place, "exp").values())) >= 20
