"""Traces of torch's profiler, straight to S3: ``python profiler.py s3://my-bucket/exp/profile``."""

import sys

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from bucketboard.torch import trace_handler

x = torch.rand(256, 256)
with profile(
    activities=[ProfilerActivity.CPU],
    schedule=schedule(wait=1, warmup=1, active=2, repeat=2),
    on_trace_ready=trace_handler(sys.argv[1]),
) as profiler:
    for _ in range(8):
        x = torch.relu(x @ x)
        x /= x.norm()
        profiler.step()
