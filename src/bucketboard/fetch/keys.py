"""Untrusted keys as local paths: whoever may write to a bucket must not choose where a pull writes."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["Layout", "Refusal", "lay_out", "refusal_of"]

NAME_BYTES = 255
PATH_BYTES = 4095
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A key that can't be a file below the target, and why not."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Which of the paths can be files together, and which are refused."""

    paths: list[str]
    refused: list[Refusal]


def refusal_of(path: str, room: int = PATH_BYTES) -> str | None:
    """Why ``path``, relative and with slashes, can't be a file's name; None if it can.

    ``room`` is how many bytes it may have, of what the system allows, behind the target's own path.
    """
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        return "it can't be encoded as a file name"
    if not path.isprintable() and any(unicodedata.category(character) in ("Cc", "Cs") for character in path):
        return "it has control characters in it"
    if "\\" in path:
        return "it has a backslash in it"
    if len(encoded) > room:
        return "it is longer than a path may be"
    parts = path.split("/")
    for part in parts:
        if part == "":
            return "it ends in a slash" if path.endswith("/") else "it has an empty component"
        if part in (".", ".."):
            return f"it has the component {part!r}"
        if _DRIVE.match(part):
            return "it has a drive letter in it"
        if len(os.fsencode(part)) > NAME_BYTES:
            return f"it has a component longer than {NAME_BYTES} bytes"
    return None


def lay_out(
    paths: Iterable[str], *, room: int = PATH_BYTES, fold: Callable[[str], str] | None = None
) -> Layout:
    """Sort out the paths that can't be files, or can't all be files of one directory.

    ``fold`` gives what the target's file system takes two names for the same by, where it does.
    """
    layout = Layout([], [])
    fitting = []
    for path in sorted(set(paths)):
        reason = refusal_of(path, room)
        if reason is None:
            fitting.append(path)
        else:
            layout.refused.append(Refusal(path, reason))
    directories = {ancestor for path in fitting for ancestor in _ancestors(path)}
    spelled: dict[str, str] = {}
    for path in fitting:
        if path in directories:
            layout.refused.append(Refusal(path, "other keys need a directory of this name"))
            continue
        other = _collision(path, fold, spelled) if fold else None
        if other is not None:
            layout.refused.append(Refusal(path, f"the file system takes it for {other!r}"))
            continue
        layout.paths.append(path)
    return layout


def _ancestors(path: str) -> list[str]:
    found, at = [], path.find("/")
    while at >= 0:
        found.append(path[:at])
        at = path.find("/", at + 1)
    return found


def _collision(path: str, fold: Callable[[str], str], spelled: dict[str, str]) -> str | None:
    """The path seen before that ``path``, or a directory on its way, would become; else it is kept."""
    prefixes = [*_ancestors(path), path]
    for prefix in prefixes:
        other = spelled.get(fold(prefix))
        if other is not None and (other != prefix or other == path):
            return other
    spelled.update((fold(prefix), prefix) for prefix in prefixes)
    return None
