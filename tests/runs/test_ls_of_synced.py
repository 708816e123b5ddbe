"""Runs that a directory was replicated to, whose index was made of the files there."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs_written import Experiment

import bucketboard
from bucketboard import EventFileWriter


@pytest.mark.parametrize("published", [False, True])
def test_the_same_is_said_with_an_index_of_the_local_files(
    experiment: Experiment, tmp_path: Path, published: bool
) -> None:
    writer = EventFileWriter(tmp_path / "runs" / "a")
    writer.add_scalar("loss", 0.5, 3, 1e9)
    writer.close()
    bucketboard.sync(tmp_path / "runs", experiment.url, metadata={"team": "vision"}, publish_index=published)
    [run], requests = experiment.requests(lambda: bucketboard.ls(experiment.url))
    assert (run.state, run.metadata, run.step) == ("finished", {"team": "vision"}, 3)
    assert run.tags["loss"].value == 0.5
    assert requests["GetObject"] == 2
