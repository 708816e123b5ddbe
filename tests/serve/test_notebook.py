"""The magic, in a real notebook with a real kernel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import pytest
from viewing import Store, event_file, eventually

from bucketboard.serve import notebook

_CELLS = (
    "%load_ext bucketboard",
    "%bucketboard {url} --height 500",
    "%bucketboard {url} --height 600",
    "from bucketboard.serve import notebook\n"
    "[viewer] = notebook._viewers.values()\n"
    "print(viewer.link, viewer.process.pid)",
    "%bucketboard s3://no-such-bucket-here/exp",
    "%bucketboard stop",
)


def _frames(outputs: list[Any]) -> list[str]:
    return [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]


def test_it_is_shown_below_the_cell(store: Store) -> None:
    import nbformat
    from nbclient import NotebookClient

    store.put("run1", event_file(1.0))
    cells = [nbformat.v4.new_code_cell(cell.format(url=store.url)) for cell in _CELLS]
    book = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(book, timeout=60, kernel_name="python3").execute(env={**os.environ, **_path()})
    outputs = [cell["outputs"] for cell in book["cells"]]
    [first], [second] = _frames(outputs[1]), _frames(outputs[2])
    link, pid = outputs[3][0]["text"].split()
    port = re.search(r":(\d+)/", link)
    assert port
    for frame, height in ((first, "500"), (second, "600")):
        assert f'height="{height}"' in frame
        assert f"url.port = {port[1]};" in frame
    assert "NoSuchBucket" in outputs[4][0]["text"]
    # Stopped, and with the kernel gone, nothing is left.
    eventually(lambda: os.path.exists(f"/proc/{pid}"), False)


def _path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_a_viewer_is_reused_and_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", _path()["PYTHONPATH"])
    store.put("run1", event_file(1.0))
    try:
        viewer = notebook.start([store.url])
        assert notebook.start([store.url]) is viewer
        with urllib.request.urlopen(f"{viewer.link}data/runs", timeout=30) as answer:
            assert answer.read() == b'["run1"]'
    finally:
        notebook.stop()
    assert not viewer.running
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.urlopen(viewer.link, timeout=5)


def test_it_ends_with_the_process_that_started_it(store: Store) -> None:
    code = (
        "import os, sys\n"
        "from bucketboard.serve import notebook\n"
        "viewer = notebook.start([sys.argv[1]])\n"
        "print(viewer.process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, store.url],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **_path()},
    )
    pid = done.stdout.strip()
    assert pid, done.stderr

    def state() -> str:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return "gone"

    eventually(lambda: state() in ("gone", "Z"), True)


def test_the_frame_can_not_be_broken_out_of() -> None:
    assert notebook._script("</script>") == '"\\u003c/script>"'
