"""What the tests of pulling share: buckets to fill and directories to look at."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from bucketboard.events.record import crc32c, frame
from bucketboard.replication.log import State
from bucketboard.replication.metadata import ObjectMetadata

EVENTS = "events.out.tfevents.1700000000.host.1.0"
MIB = 1 << 20


def noise(seed: int, size: int) -> bytes:
    """Bytes that nothing confuses with others."""
    return random.Random(seed).randbytes(size)


def records(first: int, stop: int) -> bytes:
    """Framed records that hold their numbers."""
    return b"".join(frame(b"record %d" % number) for number in range(first, stop))


def our_metadata(body: bytes, log: str = "log-1", state: State = State.LIVE) -> dict[str, str]:
    """What one of our own objects says of itself."""
    return ObjectMetadata(log, f"w{len(body)}", len(body), crc32c(body), state).headers()


def put(bucket: tuple[Any, str], key: str, body: bytes, *, log: str | None = None, **metadata: Any) -> None:
    """Store an object: one of a log of ours, or a stranger's."""
    client, name = bucket
    headers = our_metadata(body, log, **metadata) if log else {}
    client.put_object(Bucket=name, Key=key, Body=body, Metadata=headers)


def put_in_parts(bucket: tuple[Any, str], key: str, body: bytes, size: int, log: str | None = None) -> None:
    """Store an object as programs do that upload in parts: its ETag is no MD5 of the whole."""
    client, name = bucket
    headers = our_metadata(body, log) if log else {}
    upload = client.create_multipart_upload(Bucket=name, Key=key, Metadata=headers)["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(body), size), 1):
        answer = client.upload_part(
            Bucket=name, Key=key, UploadId=upload, PartNumber=number, Body=body[start : start + size]
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    client.complete_multipart_upload(Bucket=name, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


def content(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its path."""
    return {
        os.path.relpath(path, directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
