"""Lightning's ``TensorBoardLogger`` for ``s3://``."""

from bucketboard.integrations.lightning import TensorBoardLogger

__all__ = ["TensorBoardLogger"]
