"""The fixture of all tests of runs."""

from runs_written import experiment

__all__ = ["experiment"]
