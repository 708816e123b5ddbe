"""``bucketboard.tensorflow.create_file_writer`` in eager mode and in functions, against a real server."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from comparing import as_tensorboard_reads, of_bucket, of_directory, pulled

import bucketboard
from bucketboard.testing import Fault, FaultKind
from promised import Place, steps

tf = pytest.importorskip("tensorflow")

from bucketboard.tensorflow import create_file_writer  # noqa: E402

DEADLINE = 60.0


@pytest.fixture
def place(new_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    made = new_place()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", made.proxy.url)
    monkeypatch.setenv("BUCKETBOARD_SPOOL", str(tmp_path / "spool"))
    return made


def train(make: Callable[..., Any], logdir: str, *, in_function: bool) -> Any:
    """Least squares by gradient descent, logged in every way that ``tf.summary`` has."""
    tf.random.set_seed(1)
    x = tf.random.stateless_normal([64, 3], seed=(1, 2))
    y = x @ tf.constant([[1.0], [2.0], [3.0]])
    weights = tf.Variable(tf.zeros([3, 1]))
    writer = make(logdir)

    def step(i: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ weights - y) ** 2)
        weights.assign_sub(0.1 * tape.gradient(loss, weights))
        with writer.as_default():
            tf.summary.scalar("loss", loss, step=i)
            tf.summary.histogram("weights", weights, step=i)
            tf.summary.text("note", "a *step*", step=i)

    tf.summary.trace_on(graph=True, profiler=False)
    run = tf.function(step) if in_function else step
    for i in range(20):
        run(tf.constant(i, tf.int64))
    with writer.as_default(step=20):
        tf.summary.image("picture", tf.ones([1, 4, 4, 3]) * 0.5)
        tf.summary.audio("sound", tf.zeros([1, 100, 1]), 8000)
        if in_function:
            tf.summary.trace_export("step", step=20)
    tf.summary.trace_off()
    writer.flush()
    writer.close()
    return writer


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("in_function", [False, True])
def test_the_bucket_gets_what_stock_tensorflow_writes(
    place: Place, tmp_path: Path, in_function: bool
) -> None:
    local = tmp_path / "local"
    train(tf.summary.create_file_writer, str(local), in_function=in_function)
    writer = train(create_file_writer, f"s3://{place.bucket}/exp", in_function=in_function)
    assert isinstance(writer, tf.summary.SummaryWriter)
    stored = of_bucket(place, "exp")
    assert stored == of_directory(local)
    assert len(stored["."]) >= 62
    assert os.listdir(tmp_path / "spool") == []
    if in_function:
        copy = pulled(place, "exp", tmp_path / "copy")
        read = as_tensorboard_reads(copy)
        assert read == as_tensorboard_reads(local)
        assert len(read["values"]["loss"]) == 20


def test_arguments_that_tensorflow_refuses(place: Place, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="many"):
        create_file_writer(f"s3://{place.bucket}/exp", max_queue="many")
    wait_for(lambda: not os.listdir(tmp_path / "spool"))


def test_a_local_directory_gets_tensorflows_own_writer(tmp_path: Path) -> None:
    writer = create_file_writer(str(tmp_path / "run"))
    assert type(writer) is type(tf.summary.create_file_writer(str(tmp_path / "stock")))


def test_the_arguments_are_tensorflows(place: Place) -> None:
    writer = create_file_writer(
        f"s3://{place.bucket}/exp",
        max_queue=3,
        flush_millis=50,
        filename_suffix=".mine",
        name="mine",
        experimental_trackable=True,
        metadata={"team": "vision"},
    )
    module = tf.Module()
    module.writer = writer
    with writer.as_default(step=7):
        tf.summary.scalar("loss", 1.0)
    writer.close()
    [key] = place.event_keys()
    assert key.endswith(".mine")
    assert steps(place.get(key)) == [7]
    with pytest.raises(RuntimeError, match="already closed"):
        writer.as_default()


def test_a_writer_in_a_graph(place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Closing it is an operation there, and operations go on when it is dropped."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        step = tf.compat.v1.placeholder(tf.int64, [])
        writer = create_file_writer(f"s3://{place.bucket}/exp")
        with writer.as_default():
            log = tf.summary.scalar("loss", 0.5, step=step)
        close, directory = writer.close(), writer.directory
        session.run(writer.init())
        del writer
        gc.collect()
        for i in range(5):
            session.run(log, {step: i})
        session.run(close)
    directory.close()
    assert os.listdir(tmp_path / "spool") == []
    assert place.steps() == [0, 1, 2, 3, 4]
    assert caplog.records == []


def test_a_writer_that_is_dropped_is_sent(place: Place, tmp_path: Path) -> None:
    writer = create_file_writer(f"s3://{place.bucket}/exp")
    with writer.as_default(step=3):
        tf.summary.scalar("loss", 1.0)
    del writer
    gc.collect()
    wait_for(lambda: not os.listdir(tmp_path / "spool"))
    assert place.steps() == [3]


def test_refused_by_s3_the_training_goes_on_and_the_gap_is_told_once(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    refused = place.proxy.inject(Fault(FaultKind.STATUS, status=403, code="AccessDenied"))
    with caplog.at_level(logging.WARNING, "bucketboard"):
        train(create_file_writer, f"s3://{place.bucket}/exp", in_function=True)
    [record] = [record for record in caplog.records if record.name.startswith("bucketboard")]
    [left] = (tmp_path / "spool").iterdir()
    [path] = (left / "files").iterdir()
    size = f"{path.stat().st_size:,}"
    assert f"{size} of {size} bytes are not stored, they are kept in {left}" in record.getMessage()
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("bucketboard: ")]
    assert len(said) <= 1, said
    refused.remove()
    assert [result.state for result in bucketboard.recover(tmp_path / "spool")] == ["sent"]
    assert f"{len(place.only()):,}" == size
    assert len(of_bucket(place, "exp")["."]) >= 62


VICTIM = """
import os, sys
import tensorflow as tf
from bucketboard.tensorflow import create_file_writer

writer = create_file_writer(sys.argv[1], upload_every=3600.0, max_lag=3600.0)
step = 0
with writer.as_default():
    while True:
        for step in range(step, step + 100):
            tf.summary.scalar("loss", 1.0, step=step)
        step += 1
        writer.flush()
        print(step, writer.directory._replication._process.pid, flush=True)
        sys.stdin.readline()
"""


def test_what_was_flushed_survives_the_death_of_all_processes(place: Place, tmp_path: Path) -> None:
    script = tmp_path / "victim.py"
    script.write_text(VICTIM)
    environ = {**place.environ(), "BUCKETBOARD_SPOOL": str(tmp_path / "spool")}
    command = [sys.executable, str(script), f"s3://{place.bucket}/exp"]
    process = subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    place.processes.append(process)
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(5):
        flushed, sender = map(int, process.stdout.readline().split())
        process.stdin.write("\n")
        process.stdin.flush()
    os.kill(sender, signal.SIGKILL)
    process.kill()
    process.wait()
    [result] = bucketboard.recover(tmp_path / "spool")
    assert (result.state, result.target) == ("sent", f"s3://{place.bucket}/exp")
    found = place.steps()
    assert found == list(range(len(found)))
    assert len(found) >= flushed == 500
    assert os.listdir(tmp_path / "spool") == []
