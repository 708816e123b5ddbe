"""Two processes train with torch's DistributedDataParallel, rank 0 logs: ``python ddp.py s3://my-bucket/exp/ddp``.

With ``--all`` every rank logs, into a run of its own.
"""

import os
import sys
import tempfile

import torch
import torch.distributed as dist

from bucketboard.torch import SummaryWriter

RANKS = 2


def train(rank: int, target: str, every_rank: bool, meeting: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=RANKS)
    if every_rank:
        writer = SummaryWriter(f"{target}/rank{rank}", rank_zero_only=False)
    else:
        writer = SummaryWriter(target)  # in all ranks; those that are not 0 write nothing
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.rand(256, 8)[rank::RANKS]
    for step in range(50):
        loss = torch.nn.functional.mse_loss(model(x), x.sum(dim=1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss", loss, step)
    writer.close()
    dist.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        meeting = os.path.join(directory, "meeting")
        torch.multiprocessing.start_processes(
            train, (sys.argv[1], "--all" in sys.argv, meeting), nprocs=RANKS, start_method="fork"
        )
