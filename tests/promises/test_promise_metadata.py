"""What HEAD says of the objects, after every kind of write."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import pytest

from promised import MIB, Place, blob

FIELDS = {
    "bucketboard-format",
    "bucketboard-log",
    "bucketboard-write",
    "bucketboard-length",
    "bucketboard-crc32c",
    "bucketboard-gathered",
    "bucketboard-state",
}


def _check(place: Place, key: str, state: str, user: dict[str, str]) -> dict[str, str]:
    head = place.head(key)
    metadata: dict[str, str] = head["Metadata"]
    data = place.get(key)
    assert set(metadata) == FIELDS | ({"bucketboard-user"} if user else set())
    assert dict(urllib.parse.parse_qsl(metadata["bucketboard-gathered"])).keys() >= {"host", "python"}
    assert metadata["bucketboard-format"] == "1"
    assert int(metadata["bucketboard-length"]) == head["ContentLength"] == len(data)
    assert metadata["bucketboard-crc32c"] == f"{google_crc32c.value(data):08x}"
    assert metadata["bucketboard-state"] == state
    assert dict(urllib.parse.parse_qsl(metadata.get("bucketboard-user", ""))) == user
    assert head["ContentType"] == "application/octet-stream"
    return metadata


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_metadata_after_each_write(new_place: Callable[..., Place], server: str, spool: Path | None) -> None:
    """First put, put again, append, append again, roll, close: the log stays, the write id never does."""
    place = new_place(server)
    user = {"team": "vision & Größe", "leer": "a=b"}
    writer = place.writer(spool=spool, roll_size=12 * MIB, metadata=user)
    seen = []
    for size in (1000, 3 * MIB, 3 * MIB, 3 * MIB):
        writer.add_event(blob(len(seen), size))
        writer.sync(30)
        [key] = place.event_keys()
        seen.append(_check(place, key, "live", user))
    writer.add_event(blob(9, 4 * MIB))
    writer.sync(30)
    first, second = place.event_keys()
    assert first == key
    rolled = _check(place, first, "rolled", user)
    live = _check(place, second, "live", user)
    writer.close()
    closed = _check(place, second, "closed", user)
    assert place.head(first)["Metadata"] == rolled
    logs = [metadata["bucketboard-log"] for metadata in (*seen, rolled)]
    assert len(set(logs)) == 1
    assert live["bucketboard-log"] == closed["bucketboard-log"] != logs[0]
    writes = [metadata["bucketboard-write"] for metadata in (*seen, rolled, live, closed)]
    assert len(set(writes)) == len(writes)


def test_options_are_restated_at_every_rewrite(new_place: Callable[..., Place], spool: Path | None) -> None:
    place = new_place("moto")
    options = {"tags": {"cost": "a b", "who": "x/y@z"}, "sse": "aws:kms", "sse_kms_key_id": "alias/mine"}
    writer = place.writer(spool=spool, storage_class="STANDARD_IA", roll_size=12 * MIB, **options)

    def check(key: str, storage_class: str) -> None:
        head = place.head(key)
        assert head.get("StorageClass", "STANDARD") == storage_class
        assert head["ServerSideEncryption"] == "aws:kms"
        assert "mine" in head["SSEKMSKeyId"]
        tags = place.client.get_object_tagging(Bucket=place.bucket, Key=key)["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {"cost": "a b", "who": "x/y@z"}

    for step in range(4):
        writer.add_event(blob(step, 2500 * 1024))
        writer.sync(30)
        [key] = place.event_keys()
        check(key, "STANDARD")
    writer.add_event(blob(5, 4 * MIB))
    writer.sync(30)
    first, second = place.event_keys()
    check(first, "STANDARD_IA")
    check(second, "STANDARD")
    writer.close()
    check(second, "STANDARD_IA")
    assert place.errors == []


def test_options_are_restated_by_recovery(new_place: Callable[..., Place], tmp_path: Path) -> None:
    from bucketboard import recover

    place = new_place("moto")
    writer = place.writer(
        spool=tmp_path, tags={"cost": "x"}, sse="AES256", metadata={"team": "a"}, close_timeout=0, timeout=5
    )
    writer.add_event(blob(1, 6 * MIB))
    writer.sync(30)
    place.proxy.down()
    writer.add_event(blob(2, 1000))
    writer.close()
    place.proxy.up()
    assert [result.state for result in recover(tmp_path)] == ["sent"]
    [key] = place.event_keys()
    assert place.steps() == [1, 2]
    _check(place, key, "closed", {"team": "a"})
    assert place.head(key)["ServerSideEncryption"] == "AES256"
    assert place.client.get_object_tagging(Bucket=place.bucket, Key=key)["TagSet"] == [
        {"Key": "cost", "Value": "x"}
    ]


@pytest.mark.parametrize("server", ["seaweedfs", "moto", "juicefs", "rclone"])
def test_metadata_of_any_size_and_script_arrives(
    new_place: Callable[..., Place], server: str, spool: Path | None
) -> None:
    place = new_place(server)
    user = {"größe": "日本語 ✓\n", "long": "x" * 5000, "n": "1", **{f"k{n}": "ü" * 30 for n in range(20)}}
    writer = place.writer(spool=spool, metadata={**user, "n": 1})
    writer.add_scalar("loss", 1, 1, 1e9)
    writer.sync(30)
    assert json.loads(place.get("exp/run/bucketboard.json"))["metadata"] == user
    [key] = place.event_keys()
    headers = {name.lower(): value for name, value in place.head(key)["Metadata"].items()}
    assert sum(len(name) + len(value) for name, value in headers.items()) <= 2048
    assert all(value.isascii() for value in headers.values())
    some = dict(urllib.parse.parse_qsl(headers["bucketboard-user"]))
    assert some.items() <= user.items()
    assert some["größe"] == user["größe"]
    writer.close()
    assert sorted(place.keys()) == sorted(["exp/run/bucketboard.json", key])


@pytest.mark.parametrize("prefix", ["a b/c+d/e%f", "ünï/日本", "x?y#z/&=", "", "dots../~tilde'()*"])
@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_prefixes_of_all_kinds(new_place: Callable[..., Place], server: str, prefix: str) -> None:
    """Also through copying, whose source is named in a header."""
    place = new_place(server)
    writer = place.writer(f"s3://{place.bucket}/{prefix}", spool=None)
    for step in range(3):
        writer.add_event(blob(step, 3 * MIB))
        writer.sync(30)
    writer.close()
    [key] = place.event_keys()
    assert key.rpartition("/")[0] == prefix
    assert place.steps() == [0, 1, 2]
    assert place.proxy.counts["UploadPartCopy"].requests
