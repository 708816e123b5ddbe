"""Listings read fast: most of what a long one takes is botocore's way from XML to dictionaries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

__all__ = ["read_contents_fast"]

_USED = {"Key", "Size", "ETag", "LastModified", "StorageClass"}


def read_contents_fast(client: Any, timestamp: Callable[[str], datetime]) -> None:
    """Have the client read ``Contents`` of ListObjectsV2 here, no more of it than is needed.

    ``timestamp`` makes a time of its text. What is not as expected botocore reads as ever.
    """

    def read(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
        if response_dict["status_code"] != 200:
            return
        try:
            root = ElementTree.XML(response_dict["body"])
            entries = [_entry(child, timestamp) for child in root if _name(child) == "Contents"]
        except (ElementTree.ParseError, TypeError, ValueError, KeyError):
            return
        if not entries or _name(root) != "ListBucketResult":
            return
        rest = ElementTree.Element(root.tag)
        rest.extend(child for child in root if _name(child) != "Contents")
        response_dict["body"] = ElementTree.tostring(rest)
        customized_response_dict["Contents"] = entries

    client.meta.events.register("before-parse.s3.ListObjectsV2", read)


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _entry(element: ElementTree.Element, timestamp: Callable[[str], datetime]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for child in element:
        name = _name(child)
        if name in _USED:
            entry[name] = child.text or ""
    if "Key" not in entry or "ETag" not in entry:
        raise KeyError("an object without a key or ETag")
    entry["Size"] = int(entry["Size"])
    if "LastModified" in entry:
        entry["LastModified"] = timestamp(entry["LastModified"])
    return entry
