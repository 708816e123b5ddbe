"""tensorboardX with its own SummaryWriter, straight to S3: ``python tensorboardx.py s3://my-bucket/exp/tbx``."""

import sys

import numpy as np
from tensorboardX import SummaryWriter

import bucketboard

bucketboard.install()  # this line, and nothing else; or: from bucketboard.tensorboardx import SummaryWriter

random = np.random.default_rng(0)
x = random.random((256, 8))
y = x.sum(axis=1)
weights = np.zeros(8)

with SummaryWriter(sys.argv[1]) as writer:
    for step in range(100):
        error = x @ weights - y
        weights -= 0.1 * x.T @ error / len(x)
        writer.add_scalar("loss", float(np.mean(error**2)), step)
        if step % 20 == 0:
            writer.add_histogram("weights", weights, step)
            writer.flush()  # costs nothing: the log is on disk, the bucket follows
