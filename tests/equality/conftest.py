"""Log directories written by real frameworks, each made once, and a bucket for each test."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import logs_of_torch
import pytest
from boards import upload

from bucketboard.testing import Server

Written = Callable[[str], Path]
ROOT = Path(__file__).parents[2]
TENSORFLOW = Path(os.environ.get("BUCKETBOARD_TENSORFLOW_PYTHON", ROOT / ".venv-frameworks/bin/python"))
"""A Python that has TensorFlow beside bucketboard: ``make frameworks`` makes it."""


@pytest.fixture(scope="session")
def tensorflow() -> str:
    """A Python that has TensorFlow beside bucketboard."""
    if not TENSORFLOW.exists():
        pytest.skip("TensorFlow is not at hand: make frameworks")
    return str(TENSORFLOW)


@pytest.fixture(scope="session")
def written_by_tensorflow(tensorflow: str, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Log directories of TensorFlow and Keras: "all" or "types"."""
    made: dict[str, Path] = {}

    def write(what: str) -> Path:
        if what not in made:
            made[what] = tmp_path_factory.mktemp(f"tensorflow-{what}")
            script = Path(__file__).with_name("logs_of_tensorflow.py")
            quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
            subprocess.run(
                [tensorflow, str(script), what, str(made[what])],
                env={**os.environ, **quiet},
                check=True,
            )
        return made[what]

    return write


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The log directory of a framework by its name; the framework is imported when it is asked for."""
    made: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in made:
            directory = tmp_path_factory.mktemp(name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what frameworks say of their own parts
                if name == "doubles":
                    logs_of_torch.write_doubles(directory)
                else:
                    logs_of_torch.write(directory, name)
            made[name] = directory
        return made[name]

    return write


@pytest.fixture
def stored(moto_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], str]]:
    """Puts a directory into a bucket that the environment leads to; gives its URL."""
    for name, value in moto_server.environ().items():
        monkeypatch.setenv(name, value)
    client = moto_server.client()

    def put(directory: Path) -> str:
        bucket = f"equal-{uuid4().hex}"
        client.create_bucket(Bucket=bucket)
        return upload(client, bucket, directory)

    yield put
    client.close()
