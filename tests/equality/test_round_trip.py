"""What goes to the bucket and comes back is what it was, and TensorBoard opens the copy."""

from __future__ import annotations

import os
import subprocess
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards import stock

from bucketboard import pull, sync
from bucketboard.testing import Server

TRACE = """
import sys
import tensorflow as tf
writer = tf.summary.create_file_writer(sys.argv[1] + "/train")
tf.profiler.experimental.start(sys.argv[1] + "/train")
with writer.as_default():
    for step in range(5):
        noise = tf.random.normal((200, 200))
        tf.summary.scalar("loss", tf.reduce_sum(noise @ noise), step)
tf.profiler.experimental.stop()
writer.close()
"""


@pytest.fixture(autouse=True)
def here(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)


def there_and_back(root: Path, bucket: str, copy: Path) -> None:
    assert sync(root, f"s3://{bucket}/exp").complete
    assert pull(f"s3://{bucket}/exp", copy).complete
    assert files(copy) == files(root)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
        return zlib.decompress(body, 47) if answer.headers.get("Content-Encoding") == "gzip" else body


def test_a_projector_directory_and_a_profile_of_torch(bucket: tuple[Any, str], tmp_path: Path) -> None:
    import torch
    from torch.profiler import ProfilerActivity, profile, tensorboard_trace_handler
    from torch.utils.tensorboard import SummaryWriter

    root, copy = tmp_path / "runs", tmp_path / "copy"
    vectors = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    with SummaryWriter(str(root / "run")) as writer:
        writer.add_scalar("loss", 0.5, 1)
        writer.add_embedding(
            torch.from_numpy(vectors), metadata=[f"item {n}" for n in range(20)], tag="words"
        )
    handler = tensorboard_trace_handler(str(root / "run"))
    with profile(activities=[ProfilerActivity.CPU], on_trace_ready=handler):
        torch.ones(10, 10) @ torch.ones(10, 10)
    assert any(path.name.endswith(".pt.trace.json") for path in (root / "run").iterdir())

    there_and_back(root, bucket[1], copy)
    with stock(copy) as url:
        assert get(f"{url}/data/plugin/projector/runs") == b'["run"]'
        info = get(f"{url}/data/plugin/projector/info?run=run")
        name = "words:00000"
        assert name.encode() in info
        tensor = get(f"{url}/data/plugin/projector/tensor?run=run&name={name}")
        assert np.allclose(np.frombuffer(tensor, np.float32).reshape(20, 4), vectors, atol=1e-5)
        assert get(f"{url}/data/plugin/projector/metadata?run=run&name={name}").split(b"\n")[3] == b"item 3"


@pytest.mark.frameworks
def test_a_profile_of_tensorflow(tensorflow: str, bucket: tuple[Any, str], tmp_path: Path) -> None:
    root, copy = tmp_path / "runs", tmp_path / "copy"
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([tensorflow, "-c", TRACE, str(root)], env=environ, check=True)
    [trace] = root.rglob("*.xplane.pb")
    there_and_back(root, bucket[1], copy)
    with stock(copy, python=tensorflow, fast=False) as url:
        session = f"train/{trace.parent.name}"
        assert session in get(f"{url}/data/plugin/profile/runs").decode()
        assert b"trace_viewer" in get(f"{url}/data/plugin/profile/run_tools?run={session}")
