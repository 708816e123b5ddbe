"""install() and uninstall(), ranks, kills, and doors that are as the frameworks' own classes."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from promised import SOURCE, Place

pytestmark = pytest.mark.timeout(600)

_WITHOUT_TENSORFLOW = "import sys; sys.modules['tensorflow'] = None\n"


def _python(code: str, place: Place | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = place.environ() if place else {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environ},
        capture_output=True,
        text=True,
        timeout=290,
    )


def _succeeds(code: str, place: Place | None = None, **environ: str) -> str:
    done = _python(code, place, **environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_installing_imports_no_framework_and_uninstalling_leaves_nothing() -> None:
    _succeeds(
        """
import sys, bucketboard
before = list(sys.meta_path)
bucketboard.install()
bucketboard.install(max_lag=60)
assert len(sys.meta_path) == len(before) + 1
heavy = {"torch", "tensorboard", "tensorboardX", "tensorflow", "lightning", "fsspec", "boto3", "numpy"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
bucketboard.uninstall()
bucketboard.uninstall()
assert sys.meta_path == before
"""
    )


@pytest.mark.parametrize("order", ["before", "after"])
def test_what_install_changed_is_as_before_when_uninstalled(order: str) -> None:
    _succeeds(
        _WITHOUT_TENSORFLOW
        + f"""
import bucketboard
if {order == "before"}: bucketboard.install()
import accelerate.tracking, fsspec, os.path, tensorboardX.record_writer, tensorboard.compat
import tensorboard.compat.tensorflow_stub.io.gfile as gfile
from tensorboard.compat import tf
def state():
    return (tensorboardX.record_writer.REGISTERED_FACTORIES["s3"],
            gfile._REGISTERED_FILESYSTEMS["s3"], tf.io.gfile,
            fsspec.registry.get("s3"), str(fsspec.available_protocols()))
def files():
    methods = (tensorboardX.SummaryWriter.add_embedding,
               accelerate.tracking.TensorBoardTracker.store_init_configuration)
    return [os.path.basename(method.__code__.co_filename) for method in methods]
if {order == "before"}: bucketboard.uninstall()
stock = state()
assert not any("bucketboard" in repr(entry) for entry in stock), stock
assert files() == ["writer.py", "tracking.py"]
bucketboard.install()
ours = state()
assert all("bucketboard" in repr(entry) for entry in ours[:3]), ours
assert files() == ["methods.py"] * 2
import tempfile
local = tempfile.mkdtemp()
assert tf.io.gfile.exists(local) and not tf.io.gfile.exists(os.path.join(local, "x"))
assert fsspec.get_filesystem_class("s3").__module__ == "bucketboard.integrations.bucket_filesystem"
bucketboard.uninstall()
assert state() == stock
assert files() == ["writer.py", "tracking.py"]
assert type(tensorboardX.record_writer.__spec__.loader).__name__ == "SourceFileLoader"
"""
    )


def test_wrong_options_are_refused_by_install() -> None:
    import bucketboard

    with pytest.raises(bucketboard.InvalidError, match="max_lag"):
        bucketboard.install(max_lag=-1)
    with pytest.raises(bucketboard.InvalidError, match="unknown setting 'nonsense'"):
        bucketboard.install(nonsense=1)


@pytest.mark.parametrize(
    ("door", "hidden", "extra"),
    [
        ("torch", "torch", "torch"),
        ("tensorboardx", "tensorboardX", "tensorboardx"),
        ("lightning", "lightning", "lightning"),
        ("accelerate", "accelerate", "huggingface"),
    ],
)
def test_a_missing_framework_is_one_sentence_that_names_the_extra(door: str, hidden: str, extra: str) -> None:
    done = _python(f"import sys; sys.modules[{hidden!r}] = None\nimport bucketboard.{door}")
    assert done.returncode == 1
    assert f"pip install 'bucketboard[{extra}]'" in done.stderr.splitlines()[-1]
    assert _succeeds(
        f"import sys; sys.modules[{hidden!r}] = None\n"
        f"try:\n import bucketboard.{door}\nexcept ImportError as error:\n print(type(error).__mro__)"
    )


def test_the_doors_have_every_method_of_the_classes_they_stand_for() -> None:
    from torch.utils.tensorboard import SummaryWriter as TorchWriter

    from bucketboard.torch import SummaryWriter

    for name, method in inspect.getmembers(TorchWriter, inspect.isfunction):
        ours = getattr(SummaryWriter, name)
        assert ours is not method or name == "_encode", f"{name} would write past our event files"
        if not name.startswith("_"):
            theirs = list(inspect.signature(method).parameters)
            assert list(inspect.signature(ours).parameters)[: len(theirs)] == theirs, name


def test_random_states_are_untouched_and_no_signal_handler_is_changed(
    spooled_place: Callable[..., Place],
) -> None:
    place = spooled_place("moto")
    _succeeds(
        _WITHOUT_TENSORFLOW
        + f"""
import random, signal, numpy as np, torch
def states():
    return (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist(),
            [signal.getsignal(number) for number in signal.valid_signals()])
import bucketboard
before = states()
bucketboard.install()
import bucketboard.torch, bucketboard.tensorboardx
from torch.utils.tensorboard import SummaryWriter
for writer in (SummaryWriter, bucketboard.torch.SummaryWriter, bucketboard.tensorboardx.SummaryWriter):
    with writer("{place.url}") as open_writer:
        open_writer.add_scalar("a", 1.0, 1)
        open_writer.add_histogram("h", np.arange(9), 1)
        open_writer.flush()
    assert states() == before
""",
        place,
    )


def test_a_killed_training_loses_nothing_it_flushed(spooled_place: Callable[..., Place]) -> None:
    place = spooled_place("moto")
    code = f"""
import os, signal, time, bucketboard
bucketboard.install()
from torch.utils.tensorboard import SummaryWriter
import tensorboardX
one, two = SummaryWriter("{place.url}/torch"), tensorboardX.SummaryWriter("{place.url}/tbx")
for step in range(100):
    one.add_scalar("a", 1.0, step); two.add_scalar("a", 1.0, step)
one.flush()
from bucketboard.integrations.written import WRITTEN
[events] = WRITTEN._open["{place.url}/tbx"]
while events.position.logged.events < 100:
    two.flush()  # tensorboardX's does not wait for its own queue
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""
    place.proxy.down()
    done = _python(_WITHOUT_TENSORFLOW + code, place)
    assert done.returncode == -9, done.stderr
    place.proxy.up()
    _succeeds("import bucketboard; bucketboard.recover()", place)
    for run in ("torch", "tbx"):
        assert place.steps(f"exp/run/{run}/") == list(range(100))


def test_one_rank_of_a_distributed_training_writes_unless_all_are_asked_for(
    spooled_place: Callable[..., Place],
) -> None:
    place = spooled_place("moto")
    code = _WITHOUT_TENSORFLOW + (
        "import sys, bucketboard\n"
        "from torch.utils.tensorboard import SummaryWriter\n"
        "bucketboard.install({})\n"
        f"with SummaryWriter('{place.url}/{{}}') as writer: writer.add_scalar('a', 1.0, 1)"
    )
    for rank in ("0", "1"):
        _succeeds(code.format("", "one"), place, RANK=rank)
        _succeeds(code.format("rank_zero_only=False", "all"), place, RANK=rank)
    assert len(place.event_keys("exp/run/one/")) == 1
    assert len(place.event_keys("exp/run/all/")) == 2


def test_a_next_version_of_lightning_is_never_one_that_is_there(spooled_place: Callable[..., Place]) -> None:
    place = spooled_place("moto")
    place.client.put_object(Bucket=place.bucket, Key="exp/run/lightning_logs/version_10/x", Body=b"")
    place.client.put_object(Bucket=place.bucket, Key="exp/run/lightning_logs/version_9/x", Body=b"")
    code = (
        _WITHOUT_TENSORFLOW
        + f"""
import bucketboard
from bucketboard.lightning import TensorBoardLogger
print(TensorBoardLogger("{place.url}").version)
bucketboard.install()
from lightning.pytorch.loggers import TensorBoardLogger
print(TensorBoardLogger("{place.url}").version)
"""
    )
    assert _succeeds(code, place).split() == ["11", "11"]
    place.proxy.down()
    ours = int(_succeeds(code, place).split()[0])
    assert ours > 1_700_000_000
