"""Each method of the data interface, whatever is asked of it: as TensorBoard's Rust server has it."""

from __future__ import annotations

import hashlib
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorboard_data_server
from boards import runs_with_events

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboard import errors
    from tensorboard.data.provider import RunTagFilter
    from tensorboard.data.server_ingester import ExistingServerDataIngester
    from tensorboard.util.grpc_util import ChannelCredsType

    from bucketboard.serve.catalog import Catalog
    from bucketboard.serve.provider import CatalogProvider
    from bucketboard.serve.targets import mounts_of

Written = Callable[[str], Path]
Stored = Callable[[Path], str]
KINDS = {
    "scalars": ("scalars",),
    "tensors": (
        "histograms", "text", "pr_curves", "mesh", "hparams", "custom_scalars", "graphs", "scalars", "none",
    ),
    "blob_sequences": ("images", "audio", "graphs", "graph_run_metadata", "graph_keras_model", "scalars"),
}  # fmt: skip


@pytest.fixture
def ours(written: Written, stored: Stored) -> Iterator[CatalogProvider]:
    catalog = Catalog(mounts_of(stored(written("torch")), {}))
    catalog.refresh()
    yield CatalogProvider(catalog)
    catalog.close()


@pytest.fixture(scope="module")
def stock(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """TensorBoard's client of its Rust server."""
    directory, port = written("torch"), tmp_path_factory.mktemp("port") / "port"
    command = [tensorboard_data_server.server_binary(), f"--logdir={directory}", "--reload=once"]
    process = subprocess.Popen([*command, "--port=0", f"--port-file={port}"])
    deadline = time.monotonic() + 60
    while not (port.exists() and port.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    address = f"localhost:{port.read_text().strip()}"
    ingester = ExistingServerDataIngester(address, channel_creds_type=ChannelCredsType.LOCAL)
    provider = ingester.data_provider
    while {run.run_name for run in provider.list_runs(None, experiment_id="")} != runs_with_events(directory):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield provider
    process.terminate()
    process.wait(30)


def shown(provider: Any, told: Any) -> Any:
    """What a method gave, as something that can be compared and read."""
    if isinstance(told, dict):
        return {key: shown(provider, value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return [shown(provider, entry) for entry in told]
    if hasattr(told, "blob_key"):
        blob = provider.read_blob(None, blob_key=told.blob_key)
        return f"{len(blob)} bytes {hashlib.sha256(blob).hexdigest()}"
    if isinstance(told, np.ndarray):
        # NaN is equal to itself here; what strings are, a provider may tell in either of two types.
        return [told.shape, told.dtype.kind.replace("S", "O"), repr(told.tolist())]
    if hasattr(told, "__dict__") or hasattr(told, "__slots__"):
        names = [name for name in dir(told) if not name.startswith("_")]
        attributes = {name: getattr(told, name) for name in names}
        return {name: shown(provider, value) for name, value in attributes.items() if not callable(value)}
    return repr(told) if isinstance(told, float) else told


def filters(provider: Any) -> list[RunTagFilter | None]:
    runs = sorted(run.run_name for run in provider.list_runs(None, experiment_id=""))
    some = [None, [], [runs[0]], runs[::2], ["no such run", runs[-1]]]
    tags = [None, [], ["loss/train"], ["loss", "weights", "picture", "no such tag"]]
    return [None, *(RunTagFilter(runs=chosen, tags=named) for chosen, named in product(some, tags))]


def test_what_there_is(ours: CatalogProvider, stock: Any) -> None:
    assert sorted(ours.list_plugins(None, experiment_id="")) == sorted(
        stock.list_plugins(None, experiment_id="")
    )

    def runs(provider: Any) -> Any:
        found = shown(provider, provider.list_runs(None, experiment_id=""))
        return sorted(found, key=lambda run: run["run_name"])

    assert runs(ours) == runs(stock)


@pytest.mark.parametrize(
    ("kind", "plugin"), [(kind, name) for kind, names in KINDS.items() for name in names]
)
def test_every_list_and_read(ours: CatalogProvider, stock: Any, kind: str, plugin: str) -> None:
    for chosen in filters(stock):
        given = {"experiment_id": "", "plugin_name": plugin, "run_tag_filter": chosen}

        def told(provider: Any, method: str, given: Any = given, **more: Any) -> Any:
            found = shown(provider, getattr(provider, method)(None, **given, **more))
            # A run of which nothing is told may be left out or be empty.
            return {run: tags for run, tags in found.items() if tags}

        assert told(ours, f"list_{kind}") == told(stock, f"list_{kind}"), chosen
        for most in (1, 2, 7, 100_000):
            expected = told(stock, f"read_{kind}", downsample=most)
            assert told(ours, f"read_{kind}", downsample=most) == expected, (chosen, most)
        if kind == "scalars":
            assert told(ours, "read_last_scalars") == told(stock, "read_last_scalars"), chosen


def test_what_can_not_be_told(ours: CatalogProvider) -> None:
    for key in ("", "nonsense", "W10", "!!", "ü"):
        with pytest.raises((errors.NotFoundError, errors.InvalidArgumentError)):
            ours.read_blob(None, blob_key=key)
    for kind in KINDS:
        with pytest.raises(TypeError):
            getattr(ours, f"read_{kind}")(None, experiment_id="", plugin_name="scalars", downsample=None)
