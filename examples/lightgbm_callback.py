"""LightGBM, straight to S3: ``python lightgbm_callback.py s3://my-bucket/exp/trees``."""

import sys

import lightgbm
import numpy as np

import bucketboard


def tensorboard(writer):
    """A callback that logs what the validation sets measure after each round, as ``<data>/<metric>``."""

    def log(environment):
        for data, metric, value, *_ in environment.evaluation_result_list:
            writer.add_scalar(f"{data}/{metric}", value, environment.iteration)

    return log


chance = np.random.default_rng(0)
x = chance.random((500, 5))
y = x.sum(axis=1)
train = lightgbm.Dataset(x[:400], y[:400])
test = lightgbm.Dataset(x[400:], y[400:], reference=train)
with bucketboard.SummaryWriter(sys.argv[1]) as writer:
    lightgbm.train(
        {"objective": "regression", "num_threads": 1, "verbose": -1},
        train,
        num_boost_round=50,
        valid_sets=[train, test],
        valid_names=["train", "test"],
        callbacks=[tensorboard(writer)],
    )
