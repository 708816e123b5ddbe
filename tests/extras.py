"""Installs each extra alone into a fresh environment and logs a little to an S3 server that is started here.

python tests/extras.py                  all of them
python tests/extras.py torch keras      only these
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bucketboard.testing import moto

ROOT = Path(__file__).parents[1]
CONSTRAINTS = Path(__file__).with_name("extras-constraints.txt")
URL = "s3://extras/{extra}"
_AT_ONCE = 2
LINES = {
    "torch": """
from bucketboard.torch import SummaryWriter
import torch
with SummaryWriter(url) as writer:
    writer.add_scalar("loss", torch.tensor(1.0), 1)
""",
    "tensorboardx": """
from bucketboard.tensorboardx import SummaryWriter
with SummaryWriter(url) as writer:
    writer.add_scalar("loss", 1.0, 1)
""",
    "lightning": """
from bucketboard.lightning import TensorBoardLogger
logger = TensorBoardLogger(url)
logger.log_metrics({"loss": 1.0}, 1)
logger.finalize("success")
""",
    "huggingface": """
import bucketboard, torch
from bucketboard.torch import SummaryWriter
from transformers.integrations import TensorBoardCallback
writer = SummaryWriter(url)
TensorBoardCallback(tb_writer=writer)
writer.add_scalar("loss", 1.0, 1)
writer.close()
""",
    "tensorflow": """
import tensorflow as tf
from bucketboard.tensorflow import create_file_writer
writer = create_file_writer(url)
with writer.as_default(step=1):
    tf.summary.scalar("loss", 1.0)
writer.close()
""",
    "keras": """
import keras, numpy as np
from bucketboard.keras import TensorBoard
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.ones((8, 2)), np.ones(8), verbose=0, callbacks=[TensorBoard(url)])
""",
    "sb3": """
import os
import bucketboard
from stable_baselines3 import PPO
with bucketboard.SpooledDirectory(url) as logs:
    PPO("MlpPolicy", "CartPole-v1", n_steps=64, tensorboard_log=os.fspath(logs)).learn(64)
""",
    "video": """
import bucketboard, numpy as np
with bucketboard.SummaryWriter(url) as writer:
    writer.add_video("clip", np.zeros((1, 4, 3, 16, 16), dtype="uint8"), 1)
""",
    "index": """
import bucketboard, subprocess, sys
with bucketboard.SummaryWriter(url) as writer:
    writer.add_scalar("loss", 1.0, 1)
subprocess.run([sys.executable, "-m", "bucketboard", "index", url], check=True)
""",
    "data": """
import bucketboard
with bucketboard.SummaryWriter(url) as writer:
    writer.add_scalar("loss", 1.0, 1)
logdir = bucketboard.open(url)
assert list(logdir.scalars()["value"]) == logdir.scalars_arrow()["value"].to_pylist() == [1.0]
""",
    "dask": """
import bucketboard, distributed, subprocess, sys
with bucketboard.SummaryWriter(url) as writer:
    writer.add_scalar("loss", 1.0, 1)
options = {"processes": False, "protocol": "tcp", "host": "127.0.0.1", "dashboard_address": None}
with distributed.LocalCluster(**options) as cluster:
    verify = [sys.executable, "-m", "bucketboard", "verify", url, "--cluster", cluster.scheduler_address]
    subprocess.run(verify, check=True)
""",
    "demo": """
import subprocess, sys
subprocess.run([sys.executable, "-m", "bucketboard", "demo", "--no-serve", "--target", url], check=True)
""",
    "testing": """
import bucketboard
from bucketboard.testing import moto
with bucketboard.SummaryWriter(url) as writer:
    writer.add_scalar("loss", 1.0, 1)
""",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"of {', '.join(LINES)}")
    asked = parser.parse_args().extras or list(LINES)
    if unknown := set(asked) - set(LINES):
        parser.error(f"no such extra: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as place, moto() as server:
        wheel = _wheel(Path(place))
        client = server.client()
        client.create_bucket(Bucket="extras")
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environ.update(server.environ(), BUCKETBOARD_SPOOL=f"{place}/spool", TF_CPP_MIN_LOG_LEVEL="3")

        def one(extra: str) -> bool:
            began = time.monotonic()
            trouble = _try(extra, wheel, Path(place), environ)
            if not trouble and not client.list_objects_v2(Bucket="extras", Prefix=f"{extra}/")["KeyCount"]:
                trouble = "nothing arrived in the bucket"
            print(f"{extra:14} {time.monotonic() - began:4.0f} s  {trouble or 'works'}", flush=True)
            return not trouble

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            worked = list(pool.map(one, asked))
    return 0 if all(worked) else 1


def _wheel(place: Path) -> Path:
    """Built from a copy: what an earlier build has left in the tree must not get into it."""
    source = place / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place)]
    subprocess.run([*command, str(source)], check=True)
    [wheel] = place.glob("bucketboard-*.whl")
    return wheel


def _try(extra: str, wheel: Path, place: Path, environ: dict[str, str]) -> str:
    """What is wrong with an extra, "" for nothing."""
    with tempfile.TemporaryDirectory(dir=place) as venv:
        python = Path(venv, "bin", "python")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
        wanted = f"bucketboard[{extra}] @ {wheel.as_uri()}"
        install = [*pip, "--disable-pip-version-check", "--constraint", str(CONSTRAINTS), wanted]
        script = f"url = {URL.format(extra=extra)!r}\n{LINES[extra]}"
        for command in (install, [str(python), "-c", script]):
            done = subprocess.run(command, env=environ, cwd=venv, capture_output=True, text=True)
            if done.returncode:
                return f"failed: {done.stderr[-2000:]}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
