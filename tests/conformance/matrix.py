"""What a server supports: asked of it, and read in docs/COMPATIBILITY.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from promised import Place

SERVERS = {
    "seaweedfs": "SeaweedFS 4.48",
    "moto": "moto 5.2",
    "juicefs": "JuiceFS 1.4 gateway (MinIO)",
    "rclone": "rclone 1.75",
}
"""All that must run, with the heads of their columns."""
DOCUMENT = Path(__file__).parents[2] / "docs" / "COMPATIBILITY.md"
_OF_DOCTOR = {
    "`If-Match` on PutObject": "conditional writes",
    "`If-Match` on CompleteMultipartUpload": "conditional append",
    "UploadPartCopy": "append",
    "a wrong CRC32C is refused": "checksums",
    "multipart uploads are listed and aborted": "cleanup",
}
ROWS = (
    "signatures are verified",
    *_OF_DOCTOR,
    "versioning",
    "lifecycle rules",
    "keys `x` and `x/y` together",
    "an object grows",
    "a second writer is",
)
_WORDS = {True: "yes", False: "no", None: "not told"}


def probe(place: Place, checks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The answers of a server by row; ``checks`` are what `bucketboard doctor` found."""
    client, bucket = place.client, place.bucket
    ok = {name: check["ok"] for name, check in checks.items()}
    answers = {row: _WORDS[ok.get(name, False)] for row, name in _OF_DOCTOR.items()}
    stranger = place.server.with_credentials(place.server.access_key, "wrong").client()
    answers["signatures are verified"] = _refused(lambda: stranger.list_objects_v2(Bucket=bucket))
    stranger.close()
    answers["versioning"] = _accepted(
        lambda: (
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            and client.get_bucket_versioning(Bucket=bucket)["Status"]
        )
    )
    rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "exp/"}, "Expiration": {"Days": 9}}
    answers["lifecycle rules"] = _accepted(
        lambda: (
            client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
            and client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"][0]
        )
    )
    answers["keys `x` and `x/y` together"] = _accepted(lambda: _both(client, bucket))
    answers["an object grows"] = "by its new bytes" if ok.get("append") else "no: segments"
    excluded = [ok.get("conditional writes"), ok.get("conditional append")]
    answers["a second writer is"] = (
        "refused" if all(excluded) else "refused below 5 MiB, detected above" if excluded[0] else "detected"
    )
    return {row: answers[row] for row in ROWS}


def _both(client: Any, bucket: str) -> bool:
    for key in ("both", "both/y"):
        client.put_object(Bucket=bucket, Key=key, Body=b"1")
    return all(client.head_object(Bucket=bucket, Key=key)["ContentLength"] for key in ("both", "both/y"))


def _accepted(action: Any) -> str:
    try:
        return "yes" if action() else "no"
    except (ClientError, KeyError):
        return "no"


def _refused(action: Any) -> str:
    return "no" if _accepted(action) == "yes" else "yes"


def table(found: Mapping[str, Mapping[str, str]]) -> str:
    """The rows as Markdown."""
    heads = [SERVERS[name] for name in SERVERS]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for row in ROWS:
        cells = [found.get(name, {}).get(row, "did not run") for name in SERVERS]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def documented() -> dict[str, dict[str, str]]:
    """What the document says, by server and row."""
    text = DOCUMENT.read_text()
    [found] = re.findall(r"<!-- probed -->\n\n(.*?)\n\n", text, re.DOTALL)
    head, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in found.splitlines())
    names = {title: name for name, title in SERVERS.items()}
    return {
        names[title]: {cells[0]: cells[column] for cells in lines}
        for column, title in enumerate(head)
        if column
    }
