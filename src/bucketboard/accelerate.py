"""Accelerate's TensorBoard tracker for ``s3://``."""

from bucketboard.integrations.accelerate import TensorBoardTracker

__all__ = ["TensorBoardTracker"]
