"""TensorFlow 2's summaries, straight to S3: ``python tensorflow2.py s3://my-bucket/exp/tf2``."""

import sys

import tensorflow as tf

from bucketboard.tensorflow import create_file_writer  # in place of tf.summary.create_file_writer

tf.random.set_seed(0)
x = tf.random.stateless_normal([256, 3], seed=(0, 1))
y = x @ tf.constant([[1.0], [2.0], [3.0]])
weights = tf.Variable(tf.zeros([3, 1]))
writer = create_file_writer(sys.argv[1])


@tf.function
def train(step):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((x @ weights - y) ** 2)
    weights.assign_sub(0.1 * tape.gradient(loss, weights))
    with writer.as_default():
        tf.summary.scalar("loss", loss, step=step)
        tf.summary.histogram("weights", weights, step=step)


for step in tf.range(100, dtype=tf.int64):
    train(step)
writer.close()  # waits for S3; the end of the program would as well
