"""TensorBoard's own writer, straight to S3: ``python tensorboard_writer.py s3://my-bucket/exp/plain``."""

import sys

from tensorboard.summary import Writer

import bucketboard

bucketboard.install()

writer = Writer(sys.argv[1])
for step in range(100):
    writer.add_scalar("loss", 1 / (step + 1), step)
writer.close()
