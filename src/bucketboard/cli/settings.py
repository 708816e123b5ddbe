"""Options for the settings of the bucket, made from the settings themselves."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from bucketboard.store.settings import PARSERS, Settings

__all__ = ["add_settings", "given_settings"]

_STORING = {"request_checksum", "sse", "sse_kms_key_id", "storage_class", "acl", "tags"}
"""Settings that matter to what is stored, and not to what is read."""


def add_settings(parser: argparse.ArgumentParser, *, storing: bool = True) -> None:
    """Add an option for each setting; without ``storing``, for those alone that reading needs."""
    group = parser.add_argument_group(
        "bucket", "Each can also come from BUCKETBOARD_<NAME>; what is left out, from the AWS configuration."
    )
    for entry in fields(Settings):
        if storing or entry.name not in _STORING:
            _add(group, entry.name, entry.metadata["parse"], entry.metadata["help"])


def _add(group: argparse._ArgumentGroup, name: str, parse: str, text: str) -> None:
    option = f"--{name.replace('_', '-')}"
    if parse == "bool":
        group.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=text)
        return
    parser = PARSERS[parse]

    def value(argument: str) -> Any:
        return parser(argument)

    value.__name__ = {"pairs": "KEY=VALUE&KEY=VALUE"}.get(parse, parse)  # argparse names it in its error
    group.add_argument(option, type=value, metavar=name.rpartition("_")[2].upper(), help=text)


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as options."""
    named = {entry.name: getattr(options, entry.name, None) for entry in fields(Settings)}
    return {name: value for name, value in named.items() if value is not None}
