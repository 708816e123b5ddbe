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
            contents = root.tag.removesuffix("ListBucketResult") + "Contents"
            fields = {contents.removesuffix("Contents") + name: name for name in _USED}
            entries = [_entry(child, fields, timestamp) for child in root if child.tag == contents]
        except (ElementTree.ParseError, TypeError, ValueError, KeyError):
            return
        if not entries:
            return
        rest = ElementTree.Element(root.tag)
        rest.extend(child for child in root if child.tag != contents)
        response_dict["body"] = ElementTree.tostring(rest)
        customized_response_dict["Contents"] = entries

    client.meta.events.register("before-parse.s3.ListObjectsV2", read)


def _entry(
    element: ElementTree.Element, fields: dict[str, str], timestamp: Callable[[str], datetime]
) -> dict[str, Any]:
    entry: dict[str, Any] = {fields[child.tag]: child.text or "" for child in element if child.tag in fields}
    if "Key" not in entry or "ETag" not in entry:
        raise KeyError("an object without a key or ETag")
    entry["Size"] = int(entry["Size"])
    if "LastModified" in entry:
        entry["LastModified"] = timestamp(entry["LastModified"])
    return entry
