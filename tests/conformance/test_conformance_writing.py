"""A writer on every server: how its object grows, what is kept when it is killed, and who is kept out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sites import Site

from bucketboard import FencedError
from promised import MIB, blob, records, steps

pytestmark = pytest.mark.conformance

_VICTIM = """
import sys, time
from bucketboard import SummaryWriter
writer = SummaryWriter(sys.argv[1], upload_every=0.2)
writer.add_scalar("loss", 1.0, 0)
writer.sync(60)
for step in range(1, 500):
    writer.add_scalar("loss", 1.0, step)
writer.flush()
print("flushed", flush=True)
time.sleep(600)
"""


def test_an_object_grows_and_rolls_and_is_at_every_moment_whole(site: Site) -> None:
    place = site.place
    writer = place.writer(f"{site.url}/run 1", spool=None, roll_size=8 * MIB)
    written = 0
    for size, count in ((2_000, 3), (3 * MIB, 2), (2_000, 2), (3 * MIB, 2), (2_000, 1)):
        for _ in range(count):
            writer.add_event(blob(written, size))
            written += 1
        writer.sync(60)
        assert place.steps(site.prefix) == list(range(written))
    writer.close()
    assert place.steps(site.prefix) == list(range(written))
    keys = place.event_keys(site.prefix)
    assert all(key.startswith(f"{site.prefix}run 1/events.out.tfevents.") for key in keys)
    assert len(keys) > 1
    states = []
    for key in keys:
        metadata = {name.lower(): value for name, value in place.head(key)["Metadata"].items()}
        assert metadata["bucketboard-length"] == str(len(place.get(key)))
        states.append(metadata["bucketboard-state"])
    # A writer that changed to segments leaves its first object live: a later file supersedes that.
    assert set(states[1:-1]) <= {"rolled"}
    assert states[-1] in ("closed", "rolled")
    assert site.uploads() == []
    assert place.errors == []


def test_segments_are_written_once(site: Site) -> None:
    place = site.place
    writer = place.writer(f"{site.url}/segments", spool=None, append="segments")
    seen: dict[str, str] = {}
    for step in range(3):
        writer.add_event(blob(step, 2_000))
        writer.sync(60)
        now = {key: place.head(key)["ETag"] for key in place.event_keys(site.prefix)}
        assert seen.items() <= now.items()
        seen = now
    writer.close()
    assert place.steps(site.prefix) == [0, 1, 2]


def test_a_versioned_bucket_keeps_no_superseded_bytes(site: Site) -> None:
    place = site.place
    try:
        place.client.put_bucket_versioning(Bucket=place.bucket, VersioningConfiguration={"Status": "Enabled"})
    except place.client.exceptions.ClientError:
        assert place.server.name in ("juicefs", "rclone"), "has no versions"
        return
    writer = place.writer(f"{site.url}/versions", spool=None)
    for step in range(3):
        writer.add_event(blob(step, 500_000))
        writer.sync(60)
    writer.close()
    assert place.steps(site.prefix) == [0, 1, 2]
    assert place.version_bytes() <= 1.4 * sum(map(len, place.files(site.prefix)))


def test_what_a_killed_training_has_flushed_is_recovered(site: Site, tmp_path: Path) -> None:
    script = tmp_path / "victim.py"
    script.write_text(_VICTIM)
    process = subprocess.Popen(
        [sys.executable, str(script), f"{site.url}/killed"],
        env=site.environ(),
        stdout=subprocess.PIPE,
        text=True,
    )
    site.place.processes.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "flushed\n"
    process.kill()
    process.wait()
    for data in site.place.files(site.prefix):
        list(records(data))
    site.command("recover")
    assert [step for data in site.place.files(site.prefix) for step in steps(data)] == list(range(500))
    assert site.uploads() == []
    assert "nothing" in site.command("recover").lower()


@pytest.mark.parametrize("size", [2_000, 3 * MIB])
def test_a_second_writer_is_refused_or_found_out(site: Site, size: int) -> None:
    place = site.place
    writer = place.writer(f"{site.url}/fenced", spool=None)
    for step in range(2):
        writer.add_event(blob(step, size))
    writer.sync(60)
    key = place.event_keys(site.prefix)[-1]
    foreign = b"x" * (7 * MIB)
    place.client.put_object(Bucket=place.bucket, Key=key, Body=foreign)
    writer.add_event(blob(2, size))
    with pytest.raises(FencedError):
        writer.sync(60)
    writer.close()
    assert place.get(key) == foreign
