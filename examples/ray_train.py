"""Ray Train, straight to S3 from its worker: ``python ray_train.py s3://my-bucket/exp/ray``."""

import sys
import tempfile

import ray
import ray.train
from ray.train.torch import TorchTrainer


def train(config):
    import torch

    import bucketboard

    torch.manual_seed(0)
    x = torch.rand(256, 3)
    y = x.sum(dim=1, keepdim=True)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # Ray tells its workers their rank, so that all may make a writer and only the first one writes.
    with bucketboard.SummaryWriter(config["target"], rank_zero_only=True) as writer:
        for step in range(50):
            loss = torch.nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
    ray.train.report({"loss": loss.item()})


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
with tempfile.TemporaryDirectory() as storage:
    TorchTrainer(
        train,
        train_loop_config={"target": sys.argv[1]},
        scaling_config=ray.train.ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(storage_path=storage),
    ).fit()
ray.shutdown()
