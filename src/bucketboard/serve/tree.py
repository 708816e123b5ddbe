"""One listing of a prefix, seen as directories and files."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping

from bucketboard.store.bucket import ObjectInfo

__all__ = ["Tree", "is_event_file", "parent"]

_WILDCARD = re.compile(r"[*?[]")
_HIDDEN = ".bucketboard"


def is_event_file(path: str) -> bool:
    """Whether TensorBoard reads the file as events."""
    return "tfevents" in path.rpartition("/")[2]


def parent(path: str) -> str:
    """The directory that ``path`` is in, "" at the top."""
    return path.rpartition("/")[0]


def _is_shown(path: str) -> bool:
    # A component that no path can name, such as the "" after a folder marker's slash, has no place in a tree.
    return not any(part in ("", ".", "..") or part.startswith(_HIDDEN) for part in path.split("/"))


class Tree:
    """The objects below a prefix at one moment. Paths are relative to the prefix; "" is the prefix itself.

    A directory is what some object is below: it comes and goes with its objects. Where both ``x`` and
    ``x/y`` exist, ``x`` is a file and a directory.
    """

    def __init__(self, objects: Mapping[str, ObjectInfo]) -> None:
        self.files = {path: info for path, info in objects.items() if _is_shown(path)}
        self._directories: dict[str, set[str]] = {}
        for path in self.files:
            self._link(path)

    def _link(self, path: str) -> None:
        while path:
            directory, _, name = path.rpartition("/")
            names = self._directories.get(directory)
            if names is not None:  # then it is linked to the top already
                names.add(name)
                return
            self._directories[directory] = {name}
            path = directory

    def is_directory(self, path: str) -> bool:
        """Whether anything is below ``path``."""
        return path in self._directories

    def exists(self, path: str) -> bool:
        """Whether ``path`` is a file or a directory."""
        return path in self.files or path in self._directories

    def names(self, directory: str) -> list[str]:
        """The names in a directory, sorted; none in one that does not exist."""
        return sorted(self._directories.get(directory, ()))

    def glob(self, pattern: str) -> list[str]:
        """The files and directories that match; a wildcard stays within its component."""
        found = [""]
        for part in pattern.split("/"):
            found = [f"{base}/{name}" if base else name for base in found for name in self._match(base, part)]
        return found

    def _match(self, directory: str, part: str) -> list[str]:
        if _WILDCARD.search(part):
            return [name for name in self.names(directory) if fnmatch.fnmatchcase(name, part)]
        return [part] if part in self._directories.get(directory, ()) else []

    @property
    def has_events(self) -> bool:
        """Whether there is any event file."""
        return any(map(is_event_file, self.files))

    def lost_runs(self, later: Tree) -> frozenset[str]:
        """The directories with an event file here that is not in ``later`` any more."""
        lost = self.files.keys() - later.files.keys()
        return frozenset(parent(path) for path in lost if is_event_file(path))
