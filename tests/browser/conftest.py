"""An experiment in a bucket, our TensorBoard that shows it, and a browser that looks at that."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import experiment
import pytest
from page import Tab, browser

from bucketboard.testing import Server

PICTURES = Path(__file__).parents[2] / "build" / "browser"


@pytest.fixture(scope="module")
def board(moto_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of ``bucketboard serve`` on the experiment."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in moto_server.environ().items():
            environment.setenv(name, value)
        environment.setenv("BUCKETBOARD_SPOOL", str(tmp_path_factory.mktemp("spool")))
        environment.setenv("NO_PROXY", "127.0.0.1,localhost")
        client = moto_server.client()
        client.create_bucket(Bucket="browser")
        client.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, of what its add_graph uses
            experiment.write("s3://browser/exp")
        command = [sys.executable, "-m", "bucketboard", "serve", "s3://browser/exp", "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        yield process.stdout.readline().strip().rstrip("/")
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser for all tabs."""
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def show(
    driver: Any, board: str, moto_server: Server, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Tab]:
    """Opens a tab by its name; what the test writes goes where the tab looks."""
    for name, value in moto_server.environ().items():
        monkeypatch.setenv(name, value)
    PICTURES.mkdir(parents=True, exist_ok=True)
    return lambda name: Tab(driver, board, name, PICTURES)
