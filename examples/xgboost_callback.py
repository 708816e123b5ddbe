"""XGBoost, straight to S3: ``python xgboost_callback.py s3://my-bucket/exp/trees``."""

import sys

import numpy as np
import xgboost

import bucketboard


class TensorBoard(xgboost.callback.TrainingCallback):
    """What ``evals`` measure after each round, as ``<data>/<metric>``."""

    def __init__(self, logdir, **options):
        super().__init__()
        self.writer = bucketboard.SummaryWriter(logdir, **options)

    def after_iteration(self, model, epoch, evals_log):
        for data, metrics in evals_log.items():
            for metric, values in metrics.items():
                self.writer.add_scalar(f"{data}/{metric}", values[-1], epoch)
        return False

    def after_training(self, model):
        self.writer.close()
        return model


chance = np.random.default_rng(0)
x = chance.random((500, 5))
y = x.sum(axis=1)
train, test = xgboost.DMatrix(x[:400], y[:400]), xgboost.DMatrix(x[400:], y[400:])
xgboost.train(
    {"nthread": 1},
    train,
    num_boost_round=50,
    evals=[(train, "train"), (test, "test")],
    verbose_eval=False,
    callbacks=[TensorBoard(sys.argv[1])],
)
