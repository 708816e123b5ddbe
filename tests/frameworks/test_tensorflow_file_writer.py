"""``bucketboard.tensorflow.FileWriter`` beside ``tf.compat.v1.summary.FileWriter``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from comparing import as_tensorboard_reads, of_bucket, of_directory, pulled

import bucketboard
from bucketboard.testing import Fault, FaultKind
from promised import Place, steps

tf = pytest.importorskip("tensorflow")

from bucketboard.tensorflow import FileWriter  # noqa: E402

v1 = tf.compat.v1


@pytest.fixture
def place(new_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    made = new_place()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", made.proxy.url)
    monkeypatch.setenv("BUCKETBOARD_SPOOL", str(tmp_path / "spool"))
    return made


def train(make: Callable[..., Any], logdir: str) -> Any:
    """A session's training, as TensorFlow 1 programs log it."""
    with tf.Graph().as_default() as graph, v1.Session() as session:
        x = v1.placeholder(tf.float32, [None])
        weight = v1.Variable(0.0)
        loss = tf.reduce_mean((weight * x - 3.0 * x) ** 2)
        descend = v1.train.GradientDescentOptimizer(0.1).minimize(loss)
        v1.summary.scalar("loss", loss)
        v1.summary.histogram("x", x)
        merged = v1.summary.merge_all()
        session.run(v1.global_variables_initializer())
        writer = make(logdir, graph, filename_suffix=".old")
        writer.add_session_log(v1.SessionLog(status=v1.SessionLog.START), 0)
        for step in range(20):
            _, summary = session.run([descend, merged], {x: [1.0, 2.0]})
            writer.add_summary(summary, step)
        options, metadata = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE), v1.RunMetadata()
        session.run(loss, {x: [1.0]}, options=options, run_metadata=metadata)
        metadata.step_stats.Clear()  # times
        writer.add_run_metadata(metadata, "traced", 20)
        writer.add_event(v1.Event(step=21, wall_time=1.0))
        writer.add_meta_graph(v1.train.export_meta_graph(), 22)
        writer.flush()
        writer.close()
        return writer


def test_the_bucket_gets_what_the_stock_writer_writes(place: Place, tmp_path: Path) -> None:
    local = tmp_path / "local"
    train(v1.summary.FileWriter, str(local))
    writer = train(FileWriter, f"s3://{place.bucket}/exp")
    assert isinstance(writer, v1.summary.FileWriter)
    assert writer.get_logdir() == f"s3://{place.bucket}/exp"
    stored = of_bucket(place, "exp")
    assert stored == of_directory(local)
    assert len(stored["."]) == 26
    assert [key.endswith(".old") for key in place.event_keys()] == [True]
    assert as_tensorboard_reads(pulled(place, "exp", tmp_path / "copy")) == as_tensorboard_reads(local)
    assert os.listdir(tmp_path / "spool") == []


def test_with_eager_execution_on(place: Place) -> None:
    assert tf.executing_eagerly()
    with pytest.raises(RuntimeError, match="not compatible with eager"):
        v1.summary.FileWriter("unused")

    @tf.function
    def double(x: Any) -> Any:
        return 2 * x

    with FileWriter(f"s3://{place.bucket}/exp") as writer:
        writer.add_graph(double.get_concrete_function(tf.constant(1.0)).graph)
        value = v1.Summary.Value(tag="loss", simple_value=0.5)
        writer.add_summary(v1.Summary(value=[value]).SerializeToString(), 1)
    with pytest.warns(UserWarning, match="closed FileWriter"):
        writer.flush()
    writer.reopen()
    writer.add_summary(v1.Summary(value=[value]), 2)
    writer.close()
    first, second = place.event_keys()
    assert steps(place.get(first)) == [0, 1]
    assert steps(place.get(second)) == [2]


def test_the_writer_of_a_session(place: Place, tmp_path: Path) -> None:
    """TensorFlow's own, which other writers of the session share."""

    def run(make: Callable[..., Any], logdir: str) -> None:
        with tf.Graph().as_default(), v1.Session() as session:
            writer = make(logdir, session=session)
            for step in range(5):
                writer.add_summary(v1.Summary(value=[v1.Summary.Value(tag="a", simple_value=step)]), step)
            writer.close()
            writer.reopen()
            writer.add_summary(v1.Summary(value=[v1.Summary.Value(tag="a", simple_value=9)]), 9)
            writer.close()

    run(v1.summary.FileWriter, str(tmp_path / "local"))
    run(FileWriter, f"s3://{place.bucket}/exp")
    assert of_bucket(place, "exp") == of_directory(tmp_path / "local")
    assert os.listdir(tmp_path / "spool") == []


def test_refused_by_s3_the_training_goes_on_and_the_gap_is_told(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refused = place.proxy.inject(Fault(FaultKind.STATUS, status=403, code="AccessDenied"))
    with caplog.at_level(logging.WARNING, "bucketboard"):
        train(FileWriter, f"s3://{place.bucket}/exp")
    told = [record.getMessage() for record in caplog.records if record.name.startswith("bucketboard")]
    assert "26 events" in told[-1]
    assert len(told) <= 2, told
    refused.remove()
    assert [result.state for result in bucketboard.recover(tmp_path / "spool")] == ["sent"]
    assert len(of_bucket(place, "exp")["."]) == 26
