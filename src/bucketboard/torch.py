"""torch's ``SummaryWriter`` for ``s3://``, and a handler for traces of its profiler."""

from bucketboard.integrations.torch import FileWriter, SummaryWriter, trace_handler

__all__ = ["FileWriter", "SummaryWriter", "trace_handler"]
