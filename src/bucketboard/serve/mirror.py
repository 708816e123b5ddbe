"""Copies of files that are no event files, for plugins that read the log directory themselves."""

from __future__ import annotations

import logging
import os
import posixpath
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from bucketboard.errors import BucketboardError
from bucketboard.events.filename import is_event_file
from bucketboard.selection import is_shown
from bucketboard.serve.catalog import Catalog
from bucketboard.serve.mount import Mount
from bucketboard.serve.tree import parent, run_name
from bucketboard.source import DirectorySource
from bucketboard.store.bucket import ObjectInfo

__all__ = ["Mirror"]

_log = logging.getLogger(__name__)
_CONFIG = "projector_config.pbtxt"
_ASSETS = "plugins"
_PROJECTOR = "projector"
_PROJECTOR_ASSETS = "org_tensorflow_tensorboard_projector"


class Mirror:
    """A temporary directory with the runs of a catalog as they would lie in a log directory.

    It is filled when a plugin is asked for something: with the plugin's assets
    (``<run>/plugins/<name>/…``), for the projector also with its configurations and the files they name.
    Nothing else is fetched, however large it is. Directories are linked rather than copied.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._holder = tempfile.TemporaryDirectory(prefix="bucketboard-", ignore_cleanup_errors=True)
        self._root = Path(self._holder.name)
        self._copies: dict[Path, str] = {}
        """ETag of each copy."""
        self._shelves: list[_Shelf] = []
        self._lock = threading.Lock()
        self.path = self._holder.name
        """The log directory for plugins."""
        for mount in catalog.mounts:
            if not isinstance(mount.source, DirectorySource):
                self._shelves.append(_Shelf(mount))
            elif mount.name:
                (self._root / mount.name).parent.mkdir(parents=True, exist_ok=True)
                (self._root / mount.name).symlink_to(Path(mount.source.location).resolve())
            else:
                self.path = mount.source.location

    def prepare(self) -> None:
        """Let plugins see whether they have data: the projector reads it, others look at directories."""
        self.fill(_PROJECTOR)
        with self._lock:
            for shelf in self._shelves:
                for paths in shelf.assets.values():
                    for path in paths:
                        _attempt(self._place(shelf.mount, path).parent)

    def fill(self, plugin: str) -> None:
        """Fetch what ``plugin`` may read, as of the last listing. What can't be fetched is logged."""
        with self._lock:
            try:
                for shelf in self._shelves:
                    self._fill(shelf, plugin)
            except (BucketboardError, OSError) as error:
                _log.warning("files for %s could not be fetched: %s", plugin, error)

    def close(self) -> None:
        """Remove the copies."""
        self._holder.cleanup()

    def _fill(self, shelf: _Shelf, plugin: str) -> None:
        shelf.look()
        mount = shelf.mount
        names = (plugin, _PROJECTOR_ASSETS) if plugin == _PROJECTOR else (plugin,)
        for name in names:
            for path in shelf.assets.get(name, ()):
                if path.rpartition("/")[2] != _CONFIG:
                    self._fetch(mount, path)
        if plugin == _PROJECTOR:
            for path in shelf.configurations:
                if self._is_old(mount, path):
                    text, info = mount.source.get(path)
                    text, wanted = _safe(text, parent(path))
                    for named in wanted:
                        self._fetch(mount, named)
                    # Last, because the projector wants all that a configuration names.
                    self._write(self._place(mount, path), text, info.etag)

    def _is_old(self, mount: Mount, path: str) -> bool:
        info = mount.files.get(path)
        return info is not None and self._copies.get(self._place(mount, path)) != info.etag

    def _fetch(self, mount: Mount, path: str) -> None:
        if self._is_old(mount, path):
            data, info = mount.source.get(path)
            self._write(self._place(mount, path), data, info.etag)

    def _write(self, place: Path, data: bytes, etag: str) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f"{place.name}.part")
        part.write_bytes(data)
        os.replace(part, place)
        self._copies[place] = etag

    def _place(self, mount: Mount, path: str) -> Path:
        return self._root / run_name(parent(path), mount.name) / path.rpartition("/")[2]


class _Shelf:
    """What of a mount's last listing is for plugins."""

    def __init__(self, mount: Mount) -> None:
        self.mount = mount
        self.configurations: list[str] = []
        self.assets: dict[str, list[str]] = {}
        self._seen: Mapping[str, ObjectInfo] | None = None

    def look(self) -> None:
        if self._seen is self.mount.files:
            return
        self._seen = self.mount.files
        self.configurations, self.assets = [], {}
        for path in self._seen:
            *directories, name = path.split("/")
            if not is_shown(path) or is_event_file(path):
                continue
            if name == _CONFIG:
                self.configurations.append(path)
            if _ASSETS in directories[:-1]:
                self.assets.setdefault(directories[directories.index(_ASSETS) + 1], []).append(path)


def _attempt(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a key that is a file and a directory at once
        _log.warning("%s can't be mirrored: %s", directory, error)


def _safe(text: bytes, directory: str) -> tuple[bytes, list[str]]:
    """A projector's configuration without names that lead out of the mount, and those it has, as paths.

    Older releases of TensorBoard read whatever file of this machine a configuration names.
    """
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    try:
        config = text_format.Parse(text.decode(errors="replace"), ProjectorConfig())
    except text_format.ParseError:
        return text, []
    paths, refused = [], False
    for one in config.embeddings:
        fields = ((one, "tensor_path"), (one, "metadata_path"), (one, "bookmarks_path"))
        for message, field in (*fields, (one.sprite, "image_path")):
            name = getattr(message, field)
            path = posixpath.normpath(posixpath.join(directory, name))
            if not name:
                continue
            if is_shown(path) and not name.startswith(("/", "~")):
                paths.append(path)
            else:
                message.ClearField(field)
                refused = True
    return text_format.MessageToString(config).encode() if refused else text, paths
