"""torch with its own SummaryWriter, straight to S3: ``python pytorch.py s3://my-bucket/exp/pytorch``."""

import sys

import torch
from torch.utils.tensorboard import SummaryWriter

import bucketboard

bucketboard.install()  # this line, and nothing else; or: from bucketboard.torch import SummaryWriter

torch.manual_seed(0)
x = torch.rand(256, 8)
y = x.sum(dim=1, keepdim=True)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

with SummaryWriter(sys.argv[1]) as writer:
    writer.add_graph(model, x[:1])
    for step in range(100):
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss", loss, step)
        if step % 20 == 0:
            writer.add_histogram("weights", model[0].weight, step)
            writer.flush()  # costs nothing: the log is on disk, the bucket follows
    writer.add_hparams({"lr": 0.01}, {"final/loss": loss.item()}, run_name="hparams")
