"""tensorboardX's ``SummaryWriter`` for ``s3://``."""

from bucketboard.integrations.tensorboardx import FileWriter, SummaryWriter

__all__ = ["FileWriter", "SummaryWriter"]
