"""Accelerate's TensorBoard tracker, straight to S3: ``python accelerate_tracker.py s3://my-bucket/exp``."""

import sys

import torch
from accelerate import Accelerator

import bucketboard

# This line, and nothing else; or: log_with=bucketboard.accelerate.TensorBoardTracker("accelerate", "s3://…")
bucketboard.install()

accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=sys.argv[1])
accelerator.init_trackers("accelerate", config={"lr": 0.01})

torch.manual_seed(0)
x = torch.rand(256, 8)
data = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(x, x.sum(dim=1, keepdim=True)), batch_size=32
)
model = torch.nn.Linear(8, 1)
model, optimizer, data = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.01), data)

step = 0
for _ in range(3):
    for inputs, targets in data:
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        accelerator.log({"loss": loss.item()}, step=step)
        step += 1
accelerator.end_training()
