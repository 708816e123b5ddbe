"""What a published index says of event files, beside the objects that it says it of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bucketboard.events.columns import Columns
from bucketboard.events.metadata import is_scalar
from bucketboard.events.scanner import FileScanner
from bucketboard.index import Covered, Index, Objects
from bucketboard.replication.metadata import ObjectMetadata


def used(covered: Covered, etag: str, body: bytes, metadata: ObjectMetadata | None) -> bool:
    """Whether a reader takes the object for the file that the index covers, and goes on from there."""
    log_id = metadata.log_id if metadata else None
    if etag == covered.etag:
        return True
    if log_id != covered.log_id or len(body) < covered.end:
        return False
    tail = covered.tail
    return log_id is not None or body[covered.end - len(tail) : covered.end] == tail


def check_claims(objects: Objects, stored: Mapping[str, tuple[str, bytes, ObjectMetadata | None]]) -> int:
    """What the index says of each object that readers would go by it for is so. Gives their number.

    ``stored``: ETag, bytes and metadata of objects by path.
    """
    index = Index.open(objects)
    assert not index.trouble
    scalars = index.scalars()
    checked = 0
    for path, covered in index.files.items():
        if path not in stored or not used(covered, *stored[path]):
            continue
        etag, body, _ = stored[path]
        assert covered.end <= covered.looked
        assert covered.looked <= len(body) or etag != covered.etag
        said = {
            tag: (rows.step.tolist(), rows.value.tobytes())
            for (at, tag), rows in scalars.items()
            if at == path
        }
        columns = FileScanner().feed(body[: covered.end])
        assert columns.events == covered.events
        assert said == _scalars(columns)
        checked += 1
    return checked


def _scalars(columns: Columns) -> dict[str, Any]:
    found = {}
    for place, first in columns.first.items():
        rows = columns.tag == place
        if is_scalar(int(columns.kind[rows][0]), first):
            rows &= columns.is_scalar
            found[columns.tags[place]] = (columns.step[rows].tolist(), columns.value[rows].tobytes())
    return found
