"""With TensorFlow installed TensorBoard must not use it: it takes seconds to import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from viewing import Store, event_file

_SERVE = """
import sys
from bucketboard.serve import serve
from viewing import Page, eventually
with serve(sys.argv[1], port=0, reload_interval=0.05) as server:
    eventually(lambda: Page(server).scalars("run1"), [1.0])
    Page(server).get("plugins_listing")
print("tensorflow" in sys.modules)
"""
_TOO_LATE = """
import sys
from tensorboard.compat import tf
tf.__version__
from bucketboard.serve import serve
from viewing import Page
with serve(sys.argv[1], port=0) as server:
    print(Page(server).scalars("run1"))
"""


def run(store: Store, directory: Path, code: str) -> subprocess.CompletedProcess[str]:
    package = directory / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '2.99'\nprint('TensorFlow imported')\n")
    paths = [str(directory), str(Path(__file__).parent), *sys.path]
    return subprocess.run(
        [sys.executable, "-c", code, store.url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_tensorflow_is_never_imported(store: Store, tmp_path: Path) -> None:
    store.put("run1", event_file(1.0))
    done = run(store, tmp_path, _SERVE)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr


def test_tensorboard_already_bound_to_tensorflow_serves_as_well(store: Store, tmp_path: Path) -> None:
    store.put("run1", event_file(1.0))
    done = run(store, tmp_path, _TOO_LATE)
    assert (done.stdout, done.returncode) == ("TensorFlow imported\n[1.0]\n", 0), done.stderr
