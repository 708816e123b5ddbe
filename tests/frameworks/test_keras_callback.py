"""``bucketboard.keras.TensorBoard`` beside ``keras.callbacks.TensorBoard``."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from comparing import as_tensorboard_reads, names, of_bucket, of_directory, pulled

import bucketboard
from bucketboard.testing import Fault, FaultKind
from promised import Place

pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from bucketboard.keras import TensorBoard  # noqa: E402

EVERYTHING: dict[str, Any] = {
    "histogram_freq": 1,
    "write_graph": True,
    "write_images": True,
    "update_freq": 2,
    "embeddings_freq": 1,
    "embeddings_metadata": {"words": "words.tsv"},
}


@pytest.fixture
def place(new_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    made = new_place()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", made.proxy.url)
    monkeypatch.setenv("BUCKETBOARD_SPOOL", str(tmp_path / "spool"))
    return made


def train(kind: type[Any], logdir: str, times: int = 1, **arguments: Any) -> Any:
    """A small classifier of word lists that never differ."""
    import numpy as np

    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    x = np.arange(256).reshape(64, 4) % 10
    y = (x.sum(axis=1) > 18).astype("float32")
    model = keras.Sequential(
        [
            keras.layers.Embedding(10, 3, name="words"),
            keras.layers.Flatten(),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )
    model.compile(optimizer="sgd", loss="binary_crossentropy", metrics=["accuracy"])
    copied = {k: dict(v) if isinstance(v, dict) else v for k, v in arguments.items()}
    callback = kind(log_dir=logdir, **copied)
    for _ in range(times):
        model.fit(x, y, epochs=2, batch_size=16, validation_split=0.25, callbacks=[callback], verbose=0)
    return callback


def test_the_bucket_gets_what_the_stock_callback_writes(place: Place, tmp_path: Path) -> None:
    local = tmp_path / "local"
    train(keras.callbacks.TensorBoard, str(local), **EVERYTHING)
    callback = train(TensorBoard, f"s3://{place.bucket}/exp", metadata={"team": "vision"}, **EVERYTHING)
    assert isinstance(callback, keras.callbacks.TensorBoard)
    assert callback.log_dir == f"s3://{place.bucket}/exp"
    stored = of_bucket(place, "exp")
    assert stored == of_directory(local)
    assert set(stored) == {"train", "validation"}
    there = [key.removeprefix("exp/") for key in place.keys("exp/")]
    assert names(there) == names([str(p.relative_to(local)) for p in local.rglob("*") if p.is_file()])
    assert place.get("exp/projector_config.pbtxt") == (local / "projector_config.pbtxt").read_bytes()
    assert "train/keras_embedding.ckpt-1.weights.h5" in there
    copy = pulled(place, "exp", tmp_path / "copy")
    for run in stored:
        assert as_tensorboard_reads(copy / run) == as_tensorboard_reads(local / run)
    assert os.listdir(tmp_path / "spool") == []


def test_profiles_arrive(place: Place) -> None:
    train(TensorBoard, f"s3://{place.bucket}/exp", profile_batch=(1, 2))
    assert [key for key in place.keys("exp/train/plugins/profile/") if key.endswith(".xplane.pb")]


def test_a_callback_may_be_used_again(place: Place, tmp_path: Path) -> None:
    """Each training has its own event files, as with the original."""
    train(keras.callbacks.TensorBoard, str(tmp_path / "local"), times=2)
    train(TensorBoard, f"s3://{place.bucket}/exp", times=2)
    assert of_bucket(place, "exp") == of_directory(tmp_path / "local")
    assert len(place.event_keys("exp/train/")) == 2


def test_a_local_directory_is_written_as_ever(tmp_path: Path) -> None:
    train(keras.callbacks.TensorBoard, str(tmp_path / "stock"))
    train(TensorBoard, str(tmp_path / "ours"))
    assert of_directory(tmp_path / "ours") == of_directory(tmp_path / "stock")


def test_refused_by_s3_the_training_goes_on_and_the_gap_is_told_once(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    refused = place.proxy.inject(Fault(FaultKind.STATUS, status=403, code="AccessDenied"))
    with caplog.at_level(logging.WARNING, "bucketboard"):
        train(TensorBoard, f"s3://{place.bucket}/exp")
    [record] = [record for record in caplog.records if record.name.startswith("bucketboard")]
    assert "bytes are not stored, they are kept in" in record.getMessage()
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("bucketboard: ")]
    assert len(said) <= 1, said
    refused.remove()
    assert [result.state for result in bucketboard.recover(tmp_path / "spool")] == ["sent"]
    assert set(of_bucket(place, "exp")) == {"train", "validation"}


EVALUATION = """
import sys
import keras, numpy as np
from bucketboard.keras import TensorBoard

model = keras.Sequential([keras.layers.Dense(1)])
model.compile(optimizer="sgd", loss="mse")
x = np.ones((8, 2))
callback = TensorBoard(sys.argv[1] + "/fit", histogram_freq=1)
model.fit(x, x[:, :1], epochs=1, verbose=0, callbacks=[callback])
model.evaluate(x, x[:, :1], verbose=0, callbacks=[TensorBoard(sys.argv[1] + "/evaluated")])
"""


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_on_each_backend_and_what_was_only_evaluated(place: Place, tmp_path: Path, backend: str) -> None:
    """The end of the interpreter closes what no end of a training did."""
    pytest.importorskip(backend)
    script = tmp_path / "evaluation.py"
    script.write_text(EVALUATION)
    environ = {**place.environ(), "KERAS_BACKEND": backend, "BUCKETBOARD_SPOOL": str(tmp_path / "spool")}
    command = [sys.executable, str(script), f"s3://{place.bucket}/exp"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    assert set(of_bucket(place, "exp")) == {"fit/train", "evaluated/train", "evaluated/validation"}
    assert os.listdir(tmp_path / "spool") == []
