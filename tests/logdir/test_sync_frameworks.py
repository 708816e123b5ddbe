"""Many runs that real frameworks write, while a replication of the directory follows them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from logdirs import in_bucket, on_disk

from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.replicator import Replicator
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from promised import MIB, Place

TENSORFLOW = os.environ.get("BUCKETBOARD_TENSORFLOW_PYTHON", sys.executable)
SCRIPT = Path(__file__).with_name("many_runs.py")


@pytest.mark.parametrize(
    ("torch_runs", "tensorflow_runs"),
    [
        pytest.param(50, 0, marks=pytest.mark.slow),
        pytest.param(26, 24, marks=pytest.mark.frameworks),
    ],
)
@pytest.mark.timeout(600)
def test_fifty_runs_that_grow(
    new_place: Callable[..., Place], tmp_path: Path, torch_runs: int, tensorflow_runs: int
) -> None:
    place = new_place()
    root = tmp_path / "runs"
    replicator = Replicator(
        root,
        S3Url.parse(f"s3://{place.bucket}/exp"),
        SyncOptions(upload_every=2.0),
        Settings.resolve(endpoint_url=place.proxy.url),
    )
    replicator.start()
    commands = [
        [sys.executable, str(SCRIPT), "torch", str(root), str(first), str(torch_runs // 2), "9"]
        for first in (0, torch_runs // 2)
    ]
    if tensorflow_runs:
        commands.append([TENSORFLOW, str(SCRIPT), "tensorflow", str(root), "50", str(tensorflow_runs), "9"])
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    processes = [subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) for command in commands]
    try:
        assert [process.wait() for process in processes] == [0] * len(commands)
    finally:
        for process in processes:
            process.kill()
    report = replicator.finish(240)
    assert report.complete, report.failed
    disk = on_disk(root)
    assert len(disk) == 50
    assert in_bucket(place) == disk
    assert place.uploads() == []

    beyond = sum(max(0, len(data) - 5 * MIB) for data in disk.values())
    first = sum(min(len(data), 5 * MIB) for data in disk.values())
    counts = place.proxy.counts
    print(
        json.dumps(
            {
                "bytes on disk": first + beyond,
                "beyond the first 5 MiB": beyond,
                "sent by appending": counts["UploadPart"].bytes_sent,
                "ratio": round(counts["UploadPart"].bytes_sent / beyond, 3),
                "sent of files below 5 MiB": counts["PutObject"].bytes_sent,
                "requests": counts.total.requests,
                "uploads": counts["PutObject"].requests + counts["CompleteMultipartUpload"].requests,
            }
        )
    )
    assert counts["UploadPart"].bytes_sent <= 1.15 * beyond
    uploads = counts["PutObject"].requests + counts["CompleteMultipartUpload"].requests
    assert counts.total.requests <= 4 * uploads + 10
