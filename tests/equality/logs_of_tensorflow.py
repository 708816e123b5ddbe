"""What TensorFlow 2, its old v1 writer and Keras leave: ``python logs_of_tensorflow.py all DIRECTORY``.

Run by a Python that has TensorFlow, which need not be the one of the tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.hparams import api as hp
from tensorboard.plugins.mesh import summary_v2 as mesh
from tensorboard.plugins.pr_curve import summary as pr_curve

STEPS = 14
"""More than the ten that TensorBoard keeps of images, sounds and texts."""


def write(directory: Path, tables: bool = True) -> None:
    """Runs with everything TensorFlow can log; without ``tables`` of text, which end tbparse."""
    _everything(directory / "two" / "all", tables)
    _long(directory / "two" / "long")
    _trials(directory / "hparams")
    _old(directory / "one")
    _restarts(directory / "restarted")
    _keras(directory / "keras")


def _everything(directory: Path, tables: bool) -> None:
    draw = np.random.default_rng(5)
    odd = (np.nan, np.inf, -np.inf, 1e-45, -0.0)
    with tf.summary.create_file_writer(str(directory)).as_default():
        for step in range(STEPS):
            tf.summary.scalar("loss/train", 1 / (step + 1), step, description="the **loss**")
            tf.summary.scalar("loss/odd", odd[step % len(odd)], step)
            tf.summary.image("picture", draw.random((5, 8, 8, 3)), step, max_outputs=4, description="noise")
            tf.summary.image("grey", draw.random((1, 4, 4, 1)), step)
            tf.summary.histogram("weights", draw.normal(size=200), step, buckets=12)
            tf.summary.histogram("same", np.full(9, 2.0), step)
            tf.summary.histogram("empty", np.zeros(0), step)
            tf.summary.text("note", f"step **{step}** ü <b>&</b>", step, description="what *happens*")
            if tables:
                tf.summary.text("table", tf.constant([["a", "b"], [str(step), "d"]]), step)
            sounds = draw.uniform(-1, 1, (3, 400, 2)).astype(np.float32)
            tf.summary.audio("sound", sounds, 8000, step, max_outputs=2, description="hiss")
            points = draw.random((2, 5, 3)).astype(np.float32)
            colours = draw.integers(0, 255, (2, 5, 3)).astype(np.int32)
            faces = np.array([[[0, 1, 2], [2, 3, 4]]] * 2, np.int32)
            mesh.mesh("mesh", points, colors=colours, faces=faces, step=step, config_dict={"light": step})
            curve = pr_curve.pb("curve", draw.integers(0, 2, 50).astype(bool), draw.random(50), 9)
            _write_as_it_is(curve, step)
            tf.summary.write("tensor", tf.reshape(tf.range(6.0), (2, 3)) + step, step)
        layout = layout_pb2.Layout(
            category=[
                layout_pb2.Category(
                    title="losses",
                    chart=[
                        layout_pb2.Chart(
                            title="all", multiline=layout_pb2.MultilineChartContent(tag=[r"loss.*"])
                        ),
                        layout_pb2.Chart(
                            title="band",
                            margin=layout_pb2.MarginChartContent(
                                series=[{"value": "loss/train", "lower": "loss/odd", "upper": "loss/train"}]
                            ),
                        ),
                    ],
                )
            ]
        )
        _write_as_it_is(custom_scalar.pb(layout), 0)

        @tf.function
        def double(x: tf.Tensor) -> tf.Tensor:
            return tf.matmul(x, x) + 1.0

        tf.summary.trace_on(graph=True)
        double(tf.ones((2, 2)))
        tf.summary.trace_export("double", step=0)
        tf.summary.graph(double.get_concrete_function(tf.ones((2, 2))).graph)


def write_types(directory: Path) -> None:
    """Scalars of other types, as those have who write a tensor with the plugin's metadata themselves."""
    with tf.summary.create_file_writer(str(directory / "types")).as_default():
        for step in range(STEPS):
            for kind in (tf.float16, tf.float32, tf.float64, tf.int32, tf.int64, tf.uint8):
                tf.summary.write(f"type/{kind.name}", tf.cast(step / 3, kind), step, _scalar_metadata())


def _scalar_metadata() -> tf.compat.v1.SummaryMetadata:
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = "scalars"
    return metadata


def _write_as_it_is(summary: object, step: int) -> None:
    """Write a summary that was made without TensorFlow."""
    tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step)  # type: ignore[attr-defined]


def _long(directory: Path) -> None:
    with tf.summary.create_file_writer(str(directory)).as_default():
        for step in range(1500):
            tf.summary.scalar("long", step / 7, step)
            if step < 520:
                tf.summary.histogram("long/weights", np.arange(4.0) * step, step, buckets=3)
            if step < 30:
                tf.summary.image("long/picture", np.full((1, 2, 2, 3), step / 30), step)


def _trials(directory: Path) -> None:
    rate = hp.HParam("rate", hp.RealInterval(0.0, 1.0), display_name="Rate", description="of learning")
    layers = hp.HParam("layers", hp.IntInterval(1, 4))
    name = hp.HParam("optimizer", hp.Discrete(["adam", "sgd"]))
    metric = hp.Metric("accuracy", group="validation", display_name="Accuracy", description="the *share*")
    with tf.summary.create_file_writer(str(directory)).as_default():
        hp.hparams_config(hparams=[rate, layers, name], metrics=[metric, hp.Metric("loss")])
    for number in range(4):
        run = directory / f"trial {number}"
        with tf.summary.create_file_writer(str(run)).as_default():
            group = number // 2  # which has its hyperparameters from whichever of its sessions is met first
            values = {rate: 0.1 / (group + 1), layers: group + 1, name: ("adam", "sgd")[group]}
            hp.hparams(values, trial_id=f"t{group}", start_time_secs=1e9 + number)
            for step in range(3):
                tf.summary.scalar("loss", 1 / (step + number + 1), step)
            if number < 3:  # the last one never ends
                _write_as_it_is(_session_end(1e9 + 10 * number), 0)
        with tf.summary.create_file_writer(str(run / "validation")).as_default():
            for step in range(3):
                tf.summary.scalar("accuracy", (step + number) / 10, step)


def _session_end(at: float) -> object:
    from tensorboard.plugins.hparams import api_pb2, summary

    return summary.session_end_pb(api_pb2.STATUS_SUCCESS, end_time_secs=at)


def _old(directory: Path) -> None:
    """The summaries of TensorFlow 1: simple values, and images, sounds and histograms of their own kinds."""
    one = tf.compat.v1
    with tf.Graph().as_default(), one.Session() as session:
        x = one.placeholder(tf.float32, (None, 3), name="x")
        y = tf.matmul(x, tf.ones((3, 2)), name="y")
        one.summary.scalar("sum", tf.reduce_sum(y))
        one.summary.histogram("y", y)
        one.summary.image("picture", tf.reshape(tf.tile(x, (1, 4)), (-1, 2, 2, 3)), max_outputs=2)
        one.summary.audio("sound", tf.reshape(y, (1, -1, 1)), 100)
        one.summary.text("note", tf.strings.as_string(tf.reduce_sum(y)))
        one.summary.tensor_summary("tensor", y)
        merged = one.summary.merge_all()
        writer = one.summary.FileWriter(str(directory), session.graph)
        for step in range(STEPS):
            value = {x: np.full((4, 3), step / STEPS)}
            trace = one.RunMetadata()
            options = one.RunOptions(trace_level=one.RunOptions.FULL_TRACE if step == 3 else 0)
            writer.add_summary(session.run(merged, value, options, trace), step)
            if step == 3:
                writer.add_run_metadata(trace, "third step", step)
        writer.close()


def _restarts(directory: Path) -> None:
    """Restarts that say so by a session log, and ones that only overlap."""
    one = tf.compat.v1
    with tf.Graph().as_default():
        for part, first in enumerate((0, 12, 8)):
            writer = one.summary.FileWriter(str(directory / "sessions"), filename_suffix=f".{part}")
            if part:
                writer.add_session_log(one.SessionLog(status=one.SessionLog.START), first)
            for step in range(first, first + 20):
                value = one.Summary.Value(tag="loss", simple_value=100 * part + step)
                writer.add_summary(one.Summary(value=[value]), step)
            writer.close()
            _later(directory / "sessions", part)
    for part, first in enumerate((0, 12, 8)):
        writer = tf.summary.create_file_writer(str(directory / "overlaps"), filename_suffix=f".{part}")
        with writer.as_default():
            for step in range(first, first + 20):
                tf.summary.scalar("loss", 100.0 * part + step, step)
                if step % 4 == 0:
                    tf.summary.image("picture", np.full((2, 2, 2, 3), part / 3), step)
        writer.close()
        _later(directory / "overlaps", part)


def _later(directory: Path, part: int) -> None:
    """Put a file's part into the second of its name, as if the restarts had been minutes apart."""
    [path] = directory.glob(f"*.{part}")
    head, _, rest = path.name.partition("tfevents.")
    seconds, _, rest = rest.partition(".")
    path.rename(path.with_name(f"{head}tfevents.{int(seconds) + 100 * part}.{rest}.done"))


def _keras(directory: Path) -> None:
    import keras

    draw = np.random.default_rng(7)
    x, y = draw.random((64, 8)).astype(np.float32), draw.integers(0, 3, 64)
    model = keras.Sequential(
        [
            keras.Input((8,), dtype="float32"),
            keras.layers.Dense(6, activation="relu", name="first"),
            keras.layers.Dense(3, name="last"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    watch = keras.callbacks.TensorBoard(
        str(directory), histogram_freq=1, write_graph=True, write_images=True, update_freq=2
    )
    trial = hp.KerasCallback(str(directory / "trial"), {"units": 6, "activation": "relu"})
    model.fit(x, y, epochs=3, batch_size=16, validation_split=0.25, callbacks=[watch, trial], verbose=0)
    words = keras.Sequential([keras.Input((4,)), keras.layers.Embedding(5, 3, name="words")])
    words.compile("sgd", "mse")
    inner = str(directory / "embeddings")
    watch = keras.callbacks.TensorBoard(inner, embeddings_freq=1, embeddings_metadata="words.tsv")
    words.fit(draw.integers(0, 5, (8, 4)), draw.random((8, 4, 3)), epochs=1, callbacks=[watch], verbose=0)
    Path(inner, "words.tsv").write_text("a\nb\nc\nd\ne\n")


if __name__ == "__main__":
    kinds = {"all": write, "types": write_types, "without tables": lambda target: write(target, tables=False)}
    kinds[sys.argv[1]](Path(sys.argv[2]))
