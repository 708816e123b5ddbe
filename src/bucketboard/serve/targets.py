"""What the user asks to see, as mounts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bucketboard.errors import InvalidError
from bucketboard.serve.mount import Mount
from bucketboard.source import BucketSource, DirectorySource, Source
from bucketboard.store.fast import fast_bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url, is_s3_url

__all__ = ["Target", "mounts_of", "parse_logdir_spec"]

Target = str | os.PathLike[str]
_READ_ATTEMPTS = 3
_NAMED = re.compile(r"([^=/:]+)=(.+)", re.DOTALL)
_URI = re.compile(r"[a-zA-Z][0-9a-zA-Z.]*://.*")


def mounts_of(
    targets: Target | Sequence[Target] | Mapping[str, Target], settings: Mapping[str, Any]
) -> list[Mount]:
    """The mounts of one target, several ``name=target``, or a mapping of names to targets.

    Raises:
        InvalidError: a target is neither ``s3://`` nor a directory, several are without names, or a setting
            is wrong.
    """
    named = list(_named(targets))
    if len(named) > 1 and not isinstance(targets, Mapping) and not all(name for name, _ in named):
        raise InvalidError(
            "several targets need names", hint="write them as a=s3://bucket/one b=s3://bucket/two"
        )
    names = [name for name, _ in named if name]
    for name in names:
        if names.count(name) > 1:
            raise InvalidError(f"two targets have the name {name!r}")
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise InvalidError(f"{name!r} can't be the name of a target")
    if not any(is_s3_url(target) for _, target in named) and (
        given := [name for name, value in settings.items() if value is not None]
    ):
        raise InvalidError(f"{given[0]} is for s3:// targets, and {named[0][1]!r} is a directory")
    return [Mount(_source(target, settings), name) for name, target in named]


def _named(targets: Target | Sequence[Target] | Mapping[str, Target]) -> Iterable[tuple[str, str]]:
    if isinstance(targets, Mapping):
        return [(name, os.fspath(target)) for name, target in targets.items()]
    if isinstance(targets, str | os.PathLike):
        targets = [targets]
    texts = [os.fspath(target) for target in targets]
    if not texts:
        raise InvalidError(
            "there is nothing to show", hint="name a target: s3://bucket/prefix or a directory"
        )
    return [_split(text) for text in texts]


def _split(text: str) -> tuple[str, str]:
    match = _NAMED.fullmatch(text)
    # A directory may have such a name, as "lr=0.1" is one.
    if match is None or (not is_s3_url(match.group(2)) and Path(text).is_dir()):
        return "", text
    return match.group(1), match.group(2)


def parse_logdir_spec(spec: str) -> dict[str, str]:
    """TensorBoard's ``--logdir_spec``: ``name1:path1,name2:path2``."""
    found: dict[str, str] = {}
    for part in filter(None, spec.split(",")):
        name, path = "", part
        if not _URI.fullmatch(part) and ":" in part and not part.startswith("/"):
            name, _, path = part.partition(":")
        if name in found:
            raise InvalidError(f"--logdir_spec: two paths have the name {name!r}")
        found[name] = path
    if not found:
        raise InvalidError("--logdir_spec names no path")
    return found


def _source(target: str, settings: Mapping[str, Any]) -> Source:
    if is_s3_url(target):
        url = S3Url.parse(target)
        return BucketSource(url, fast_bucket(url.bucket, Settings.resolve(**settings), _READ_ATTEMPTS))
    if "://" in target:
        raise InvalidError(f"{target!r} is neither s3:// nor a directory")
    directory = Path(target).expanduser()
    if not directory.is_dir():
        raise InvalidError(f"no such directory: {target!r}", hint="for a bucket write s3://bucket/prefix")
    return DirectorySource(directory)
