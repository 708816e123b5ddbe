"""Keras into S3: the callback `TensorBoard`."""

from bucketboard.integrations.keras import TensorBoard

__all__ = ["TensorBoard"]
