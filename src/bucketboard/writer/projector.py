"""The embeddings of a run: files for TensorBoard's projector beside the event file."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["Projector"]

_CONFIG = "projector_config.pbtxt"


class Projector:
    """Collects what the libraries write to a local directory, and remembers the config that lists it all."""

    def __init__(self) -> None:
        self._config = b""
        self._lock = threading.RLock()

    def add(self, write: Callable[[str], None], add_file: Callable[[str, bytes], None]) -> None:
        """Lets ``write`` fill an empty directory and hands every file to ``add_file``, the config last.

        Each embedding comes with a config of its own. Configs are protobuf text with one repeated field, so
        the config of all embeddings is their concatenation.
        """
        with self._lock, tempfile.TemporaryDirectory(prefix="bucketboard-") as directory:
            write(directory)
            root = Path(directory)
            files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
            config = self._config + files.pop(_CONFIG).read_bytes()
            for name, path in sorted(files.items()):
                if not name.startswith("events.out.tfevents."):  # torch's writer begins one
                    add_file(name, path.read_bytes())
            add_file(_CONFIG, config)
            self._config = config
