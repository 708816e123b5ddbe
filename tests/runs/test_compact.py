"""``compact``: few files with the same bytes in the same order, at every moment once."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bucketboard.bulk.compact import compact
from bucketboard.cli.main import main
from bucketboard.errors import InvalidError
from bucketboard.runs.compact import Compacted, groups
from bucketboard.runs.listing import list_runs
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url
from bucketboard.testing import Fault, FaultKind
from promised import Place, blob, framed

NAME = "events.out.tfevents.{:010}.host.1.0"
COMMAND = """
import sys
from bucketboard.cli.main import main
sys.exit(main(["compact", sys.argv[1], "--force"]))
"""


def fill(place: Place, run: str, files: int = 6) -> bytes:
    """A run of small files; gives all its bytes in order."""
    data = [framed(blob(2 * number, 40)) + framed(blob(2 * number + 1, 70)) for number in range(files)]
    for number, body in enumerate(data):
        key = f"exp/{run}/{NAME.format(number)}"
        place.client.put_object(Bucket=place.bucket, Key=key, Body=body)
    return b"".join(data)


def compacted(place: Place, url: str = "exp", **options: bool) -> list[Compacted]:
    return compact(f"s3://{place.bucket}/{url}", endpoint_url=place.proxy.url, **options)


def seen(place: Place) -> dict[str, bytes]:
    """What readers have of each run: its event files that count, one behind the other."""
    url = S3Url.parse(f"s3://{place.bucket}/exp")
    bucket = Bucket(place.bucket, Settings.resolve(endpoint_url=place.server.endpoint))
    return {
        name: b"".join(place.get(info.key) for info in run.event_files)
        for name, run in list_runs(bucket, url).items()
    }


@pytest.mark.parametrize("server", ["moto", "seaweedfs"])
def test_the_same_bytes_in_one_file(new_place: Callable[..., Place], server: str) -> None:
    place = new_place(server)
    wanted = {"a": fill(place, "a"), "b": fill(place, "b", files=1)}
    assert compacted(place, force=True) == [
        Compacted("a", 6, 1, len(wanted["a"])),
        Compacted("b", 1, 1, 0),
    ]
    assert seen(place) == wanted
    [key] = place.event_keys("exp/a/")
    assert key == f"exp/a/{NAME.format(0)}.compacted"
    metadata = place.head(key)["Metadata"]
    assert metadata["bucketboard-state"] == "closed"
    assert len([key for key in place.keys("exp/") if "trash" in key]) == 6
    assert not any("journal" in key for key in place.keys(""))
    assert compacted(place, force=True)[0] == Compacted("a", 1, 1, 0)


@pytest.mark.parametrize("sizes", [[], [5], [5, 5], [100, 1, 1], [60, 60, 60, 30, 10], [1] * 7, [200, 200]])
def test_neighbours_are_joined_up_to_a_size(sizes: list[int]) -> None:
    files = [ObjectInfo(f"{number:03}", size, "") for number, size in enumerate(sizes)]
    found = groups(files, most=100)
    assert all(len(group) > 1 and sum(info.size for info in group) <= 100 for group in found)
    joined = [info for group in found for info in group]
    assert joined == sorted(joined, key=lambda info: info.key)
    for left, right in itertools.pairwise(files):  # neighbours that fit are in a group, or beside one
        assert left in joined or right in joined or left.size + right.size > 100


def test_a_run_being_written_or_damaged_is_left(new_place: Callable[..., Place]) -> None:
    place = new_place("moto")
    fill(place, "damaged")
    place.client.put_object(Bucket=place.bucket, Key=f"exp/damaged/{NAME.format(3)}", Body=framed(b"x")[:-1])
    writer = place.writer(f"s3://{place.bucket}/exp/live")
    writer.add_event(blob(1, 10))
    writer.sync(30)
    place.client.copy_object(
        Bucket=place.bucket,
        Key=f"exp/live/{NAME.format(1)}",
        CopySource=f"{place.bucket}/{place.event_keys('exp/live/')[0]}",
    )
    before = {key: place.get(key) for key in place.keys("")}
    damaged, live = compacted(place)
    assert "damaged" in damaged.error
    assert "being written" in live.error
    assert {key: place.get(key) for key in place.keys("")} == before
    writer.close()


def test_a_file_that_changes_meanwhile_leaves_the_run_as_it_is(new_place: Callable[..., Place]) -> None:
    place = new_place("moto")
    fill(place, "a")
    key = f"exp/a/{NAME.format(2)}"
    new = framed(blob(9, 99))
    changed = []

    def change(request: object) -> bool:
        if not changed:
            changed.append(place.client.put_object(Bucket=place.bucket, Key=key, Body=new))
        return False

    place.proxy.inject(Fault(FaultKind.REFUSE, operation="CopyObject", when=change))
    [result] = compacted(place, force=True)
    assert result.error
    assert place.get(key) == new
    assert len(place.event_keys("exp/a/")) == 6
    assert place.keys() == place.event_keys("exp/a/")


def test_a_dry_run_sends_nothing(new_place: Callable[..., Place]) -> None:
    place = new_place("moto")
    wanted = fill(place, "a")
    before = place.proxy.counts.total.bytes_sent
    assert compacted(place, force=True, dry_run=True) == [Compacted("a", 6, 1, len(wanted))]
    assert place.proxy.counts.total.bytes_sent == before
    assert len(place.keys()) == 6


def test_nothing_to_compact(new_place: Callable[..., Place]) -> None:
    with pytest.raises(InvalidError, match="no event files"):
        compacted(new_place("moto"))


def test_the_command(
    new_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = new_place("moto")
    wanted = fill(place, "a")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", place.proxy.url)
    url = f"s3://{place.bucket}/exp"
    assert main(["compact", url, "--force", "--dry-run"]) == 0
    assert "a: 6 files would become 1" in capsys.readouterr().out
    assert main(["compact", url, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "run": "a",
        "before": 6,
        "after": 1,
        "bytes": len(wanted),
        "error": "",
    }


OPERATIONS = [
    ("PutObject", 1),  # the journal
    ("PutObject", 2),  # the joined file
    ("CopyObject", 3),
    ("PutObject", 3),  # the journal's turn
    ("DeleteObjects", 1),
    ("DeleteObject", 1),  # the journal's end
]


@pytest.mark.parametrize("kind", [FaultKind.HOLD, FaultKind.LOST_REPLY], ids=["before", "after"])
@pytest.mark.parametrize(("operation", "nth"), OPERATIONS, ids=lambda value: str(value))
def test_killed_at_every_step_and_run_again(
    new_place: Callable[..., Place], tmp_path: Path, operation: str, nth: int, kind: FaultKind
) -> None:
    """Readers see the run once in between; the command, run again, brings it to its end."""
    _killed(new_place("moto"), tmp_path, Fault(kind, operation=operation, nth=nth))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_random_requests_and_run_again(new_place: Callable[..., Place], tmp_path: Path) -> None:
    draw = random.Random(11)
    place = new_place("seaweedfs")
    for _ in range(25):
        kind = draw.choice([FaultKind.HOLD, FaultKind.LOST_REPLY])
        _killed(place, tmp_path, Fault(kind, nth=draw.randrange(1, 24)))
        for key in place.keys():  # noqa: SIM118
            place.client.delete_object(Bucket=place.bucket, Key=key)


def _killed(place: Place, directory: Path, fault: Fault) -> None:
    wanted = {"a": fill(place, "a", files=4)}
    script = directory / "command.py"
    script.write_text(COMMAND)
    held = place.proxy.inject(fault)
    process = subprocess.Popen([sys.executable, script, f"s3://{place.bucket}/exp"], env=place.environ())
    place.processes.append(process)  # type: ignore[arg-type]
    held.wait_fired()
    process.kill()
    process.wait()
    held.remove()
    assert seen(place) == wanted
    assert all(not result.error for result in compacted(place, force=True))
    assert seen(place) == wanted
    assert len(place.event_keys("exp/a/")) == 1
    assert not any("journal" in key for key in place.keys(""))
    assert place.uploads() == []
