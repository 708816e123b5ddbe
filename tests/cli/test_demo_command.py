from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any
from uuid import uuid4

import pytest

from bucketboard.cli.main import main
from bucketboard.testing import Server

_COMMAND = [sys.executable, "-m", "bucketboard", "demo", "--no-serve"]


def test_what_is_shown_is_what_was_logged() -> None:
    done = subprocess.run([*_COMMAND, "--json"], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["differences"] == []
    assert told["scalars_compared"] > 1000
    assert told["images_compared"] >= 20
    assert told["bytes_stored"] == told["bytes_logged"]
    # Each event file once, and an image where it lies when it is looked at.
    extra = told["requests_viewing"]["GetObject"] - told["objects"]
    assert 0 < extra <= told["images_compared"]


def test_in_a_bucket_of_ones_own(moto_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto_server.environ().items():
        monkeypatch.setenv(name, value)
    client = moto_server.client()
    bucket = f"demo-{uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    done = subprocess.run(
        [*_COMMAND, "--target", f"s3://{bucket}/try"], capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    assert "all equal" in done.stdout
    assert "requests" not in done.stdout
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys
    assert all(key.startswith("try/digits-") for key in keys)
    client.close()


def test_a_difference_is_seen() -> None:
    """A value that is changed between the logging and the comparison is found, and is a failure."""
    code = (
        "import sys\nfrom bucketboard.demo import compare, train\nfrom bucketboard.cli.main import main\n"
        "compare._PATIENCE = 0.5\noriginal = train.train\n"
        "def spoiled(*arguments):\n"
        "    runs = original(*arguments)\n"
        "    runs[0].scalars[runs[0].name, 'test/loss'][3] = (4, 1.0)\n"
        "    runs[1].images[runs[1].name, 'test/samples'][0][1][0, 0] += 1\n"
        "    return runs\n"
        "train.train = spoiled\ntrain.MODELS = train.MODELS[:2]\n"
        "sys.exit(main(['demo', '--no-serve']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=150)
    assert done.returncode == 1, done.stderr
    assert "test/loss: 18 shown, 18 logged" in done.stderr
    assert "test/samples: another image at step 3" in done.stderr
    assert "2 differences" in done.stdout


def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "sklearn" else find(name))
    assert main(["demo", "--no-serve"]) == 2
    assert capsys.readouterr().err == (
        "bucketboard: error: the demo needs sklearn\n  hint: pip install 'bucketboard[demo]'\n"
    )
