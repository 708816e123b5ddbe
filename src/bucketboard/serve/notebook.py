"""``%load_ext bucketboard`` and ``%bucketboard s3://bucket/exp``: TensorBoard inside a notebook.

The viewer runs in a process of its own, which ends with the kernel: its clients must not be forked along with
what the notebook trains.
"""

from __future__ import annotations

import atexit
import contextlib
import html
import json
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
import urllib.parse
from dataclasses import dataclass
from typing import IO, Any

from bucketboard.errors import InvalidError, UnavailableError

__all__ = ["Viewer", "load_ipython_extension", "show", "start", "stop"]

_HEIGHT = 800
_PROXY_VARIABLE = "BUCKETBOARD_PROXY_URL"
_STOP_TIMEOUT = 10.0
_FRAME = """
<iframe id="{name}" width="100%" height="{height}" frameborder="0"></iframe>
<script>
  (function () {{
    const url = new URL({url}, window.location);
    if ({port}) url.port = {port};
    document.getElementById({quoted}).src = url;
  }})();
</script>
"""


@dataclass
class Viewer:
    """A viewer that this process started."""

    process: subprocess.Popen[str]
    link: str
    log: IO[str]

    @property
    def port(self) -> int:
        """The port it listens on."""
        return urllib.parse.urlsplit(self.link).port or 0

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """End it."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        try:
            self.process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.log.close()


_viewers: dict[tuple[str, ...], Viewer] = {}


def load_ipython_extension(shell: Any) -> None:
    """Called by ``%load_ext bucketboard``."""
    shell.register_magic_function(_magic, magic_kind="line", magic_name="bucketboard")


def _magic(line: str) -> None:
    """Show TensorBoard: ``%bucketboard s3://bucket/exp``, with the options of ``bucketboard serve``.

    ``--height N`` is the height of the frame in pixels. ``%bucketboard stop`` ends all viewers started here.
    """
    from bucketboard.errors import BucketboardError

    arguments = shlex.split(line, comments=True)
    try:
        if arguments == ["stop"]:
            stop()
        else:
            height = _take_height(arguments)
            show(start(arguments), height)
    except BucketboardError as error:
        print(f"bucketboard: error: {error}", file=sys.stderr)


def _take_height(arguments: list[str]) -> int:
    if "--height" not in arguments:
        return _HEIGHT
    at = arguments.index("--height")
    value = arguments[at + 1 : at + 2]
    del arguments[at : at + 2]
    if not value or not value[0].isdecimal():
        raise InvalidError("--height is a number of pixels")
    return int(value[0])


def start(arguments: list[str]) -> Viewer:
    """The viewer with these arguments of ``bucketboard serve``, which may be running already.

    Raises:
        InvalidError: it did not start; the message says why.
    """
    key = tuple(arguments)
    known = _viewers.get(key)
    if known is not None and known.running:
        return known
    port = [] if any(argument.partition("=")[0] == "--port" for argument in arguments) else ["--port", "0"]
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, "-m", "bucketboard", "serve", "--until-stdin-closes", *port, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    assert process.stdout is not None
    link = process.stdout.readline().strip()
    viewer = Viewer(process, link, log)
    if not link:
        process.wait()
        log.seek(0)
        reason = log.read().strip().removeprefix("bucketboard: error: ")
        viewer.close()
        raise InvalidError(reason or "the viewer did not start")
    if not _viewers:
        atexit.register(stop)
    _viewers[key] = viewer
    return viewer


def stop() -> None:
    """End all viewers of this process."""
    while _viewers:
        _viewers.popitem()[1].close()


def show(viewer: Viewer, height: int = _HEIGHT) -> None:
    """Display a viewer below the cell.

    The browser reaches it on the notebook's own host, at the viewer's port. Behind a proxy
    ``BUCKETBOARD_PROXY_URL`` says where: an address with ``%PORT%`` in it.
    """
    if not viewer.running:
        raise UnavailableError("the viewer has ended", hint="start it anew")
    try:
        from IPython.display import HTML, display
    except ImportError:
        print(viewer.link)
        return
    parts = urllib.parse.urlsplit(viewer.link)
    proxy = os.environ.get(_PROXY_VARIABLE)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    url = proxy.replace("%PORT%", str(viewer.port)).rstrip("/") + path if proxy else path
    name = f"bucketboard-{secrets.token_hex(8)}"
    frame = _FRAME.format(
        name=html.escape(name),
        height=height,
        url=_script(url),
        port=0 if proxy else viewer.port,
        quoted=_script(name),
    )
    display(HTML(frame))


def _script(text: str) -> str:
    """A string for a script inside HTML."""
    return json.dumps(text).replace("<", "\\u003c")
