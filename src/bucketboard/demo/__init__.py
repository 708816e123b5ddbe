"""The whole path on real data: train, write to S3, view, and compare what is shown with what was logged."""

from bucketboard.demo.demo import Outcome, demonstrate

__all__ = ["Outcome", "demonstrate"]
