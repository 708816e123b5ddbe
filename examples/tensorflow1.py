"""A program for TensorFlow 1, straight to S3: ``python tensorflow1.py s3://my-bucket/exp/tf1``."""

import sys

import tensorflow as tf

from bucketboard.tensorflow import FileWriter  # in place of tf.compat.v1.summary.FileWriter

v1 = tf.compat.v1
with tf.Graph().as_default() as graph, v1.Session() as session:
    x = v1.placeholder(tf.float32, [None], name="x")
    weight = v1.Variable(0.0, name="weight")
    loss = tf.reduce_mean((weight * x - 3.0 * x) ** 2)
    descend = v1.train.GradientDescentOptimizer(0.01).minimize(loss)
    v1.summary.scalar("loss", loss)
    summaries = v1.summary.merge_all()
    session.run(v1.global_variables_initializer())
    with FileWriter(sys.argv[1], graph) as writer:
        for step in range(100):
            _, summary = session.run([descend, summaries], {x: [1.0, 2.0, 3.0]})
            writer.add_summary(summary, step)
