"""Embeddings for the projector, by the writers of torch and tensorboardX as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bucketboard.testing import Fault, FaultKind
from promised import Place

pytestmark = pytest.mark.timeout(600)
TRAINING = """
import sys

sys.modules["tensorflow"] = None
import {module} as library
import numpy as np
import torch

import bucketboard

bucketboard.install()
random = np.random.default_rng(0)
with library.SummaryWriter(sys.argv[1]) as writer:
    for step, tag in ((1, "words"), (2, "pictures")):
        pictures = torch.from_numpy(random.random((4, 3, 8, 8))) if step == 2 else None
        writer.add_embedding(random.random((4, 3)), list("äbcd"), pictures, step, tag)
        writer.add_scalar("loss", 1 / step, step)
"""


@pytest.mark.parametrize("module", ["torch.utils.tensorboard", "tensorboardX"])
def test_the_projectors_files_are_those_of_a_directory_and_no_failure_reaches_the_training(
    module: str, spooled_place: Callable[..., Place], tmp_path: Path
) -> None:
    place = spooled_place("moto")
    script = tmp_path / "training.py"
    script.write_text(TRAINING.format(module=module))
    local = tmp_path / "local"
    place.run(script, local, cwd=tmp_path).check_returncode()
    done = place.run(script, place.url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    paths = sorted(p for p in local.rglob("*") if p.is_file() and "tfevents" not in p.name)
    files = {path.relative_to(local).as_posix(): path.read_bytes() for path in paths}
    assert "projector_config.pbtxt" in files
    assert "00002/pictures/sprite.png" in files
    keys = [key for key in place.keys("exp/run/") if "tfevents" not in key]
    stored = {key.removeprefix("exp/run/"): place.get(key) for key in keys}
    assert stored == files
    assert place.steps() == [1, 2]
    assert not list(tmp_path.glob("s3:*")), "a local directory named after the URL"

    place.proxy.inject(Fault(FaultKind.STATUS, status=403, code="AccessDenied"))
    done = place.run(script, f"{place.url}/refused", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("send them with: bucketboard recover") == 1, done.stderr
    assert place.keys("exp/run/refused/") == []
