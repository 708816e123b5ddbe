"""What an event object says of itself in its user metadata (``x-amz-meta-*``). Layout: docs/FORMAT.md.

S3 allows 2 KB of ASCII; the user's own keys get 1 KiB of it, percent-encoded, and what does not fit stands
in the run's ``bucketboard.json`` only.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bucketboard.replication.log import State
from bucketboard.selection import RUN_FILE

__all__ = ["RUN_FILE", "ObjectMetadata", "run_file"]

FORMAT = "1"
USER_BYTES = 1024
GATHERED_BYTES = 512


@dataclass(frozen=True)
class ObjectMetadata:
    """``length`` and ``crc32c`` are those of the whole object; ``write_id`` is new with every upload.

    ``damaged`` is where bytes begin that are no valid record, None where there are none.
    """

    log_id: str
    write_id: str
    length: int
    crc32c: int
    state: State
    user: Mapping[str, str] = field(default_factory=dict)
    damaged: int | None = None
    gathered: Mapping[str, str] = field(default_factory=dict)
    """What the writer found out by itself."""

    def headers(self) -> dict[str, str]:
        """The metadata's names and values, all ASCII."""
        values = {
            "bucketboard-format": FORMAT,
            "bucketboard-log": self.log_id,
            "bucketboard-write": self.write_id,
            "bucketboard-length": str(self.length),
            "bucketboard-crc32c": f"{self.crc32c:08x}",
            "bucketboard-state": self.state.value,
        }
        if self.damaged is not None:
            values["bucketboard-damaged"] = str(self.damaged)
        if self.user:
            values["bucketboard-user"] = _encoded(self.user, USER_BYTES)
        if self.gathered:
            values["bucketboard-gathered"] = _encoded(self.gathered, GATHERED_BYTES)
        return values

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> ObjectMetadata | None:
        """The metadata in ``values`` (lower-case names); None for an object that is none of ours."""
        try:
            if values["bucketboard-format"] != FORMAT:
                return None
            return cls(
                values["bucketboard-log"],
                values["bucketboard-write"],
                int(values["bucketboard-length"]),
                int(values["bucketboard-crc32c"], 16),
                State(values["bucketboard-state"]),
                _decoded(values.get("bucketboard-user", "")),
                int(values["bucketboard-damaged"]) if "bucketboard-damaged" in values else None,
                _decoded(values.get("bucketboard-gathered", "")),
            )
        except (KeyError, ValueError):
            return None


def _decoded(text: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(text, keep_blank_values=True))


def _encoded(pairs: Mapping[str, str], most: int) -> str:
    """As many of the pairs, in order, as fit."""
    text = ""
    for pair in pairs.items():
        longer = (
            text
            + ("&" if text else "")
            + urllib.parse.urlencode([pair], errors="backslashreplace", quote_via=urllib.parse.quote)
        )
        if len(longer) <= most:
            text = longer
    return text


def run_file(user: Mapping[str, str], gathered: Mapping[str, str] | None = None) -> bytes | None:
    """What a writer says in ``bucketboard.json``; None where the objects' own metadata holds all of ``user``
    and nothing was ``gathered`` beyond what they hold."""
    said: dict[str, Any] = {}
    if len(_decoded(_encoded(user, USER_BYTES))) != len(user):
        said["metadata"] = dict(user)
    if gathered:
        said["gathered"] = dict(gathered)
    if not said:
        return None
    text = json.dumps({"format": 1, **said}, ensure_ascii=False, indent=1)
    return text.encode(errors="backslashreplace")
