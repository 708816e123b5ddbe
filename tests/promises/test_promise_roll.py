"""Files that follow one another: rolled, and continued elsewhere."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata

from promised import MIB, Place, blob, framed, records, steps

ROLL = 8 * MIB


def _download(place: Place, directory: Path) -> Path:
    for key in place.keys():  # noqa: SIM118 - a method of ours
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(place.get(key))
    return directory / "exp" / "run"


@pytest.mark.parametrize("server", ["seaweedfs", "moto"])
def test_three_times_the_roll_size_gives_three_objects(
    new_place: Callable[..., Place], server: str, spool: Path | None
) -> None:
    place = new_place(server)
    writer = place.writer(spool=spool, roll_size=ROLL)
    fit = (ROLL - 100) // len(framed(blob(128, 200_000)))
    logged = [blob(step, 200_000) for step in range(3 * fit)]
    for number, event in enumerate(logged):
        writer.add_event(event)
        if number % 10 == 0:
            writer.sync(30)
    assert writer.position.appended.events == len(logged)
    writer.close()
    keys = place.event_keys()
    assert len(keys) == 3
    names = [re.fullmatch(r"exp/run/events\.out\.tfevents\.(\d{10})\..+\.\d+\.\d+", key) for key in keys]
    times = [int(name.group(1)) for name in names if name]
    assert len(times) == 3
    assert times == sorted(set(times))
    states = [place.head(key)["Metadata"]["bucketboard-state"] for key in keys]
    assert states == ["rolled", "rolled", "closed"]
    assert place.payloads() == logged
    assert all(len(data) <= ROLL for data in place.files())
    assert place.uploads() == []


def test_a_rolled_file_waits_for_the_one_before(new_place: Callable[..., Place], spool: Path | None) -> None:
    """A file appears only after the one before is complete: a reader never sees a gap."""
    place = new_place("seaweedfs")
    place.proxy.down()
    writer = place.writer(spool=spool, roll_size=1 << 16)
    for step in range(40):
        writer.add_event(blob(step, 10_000))
    writer.flush()
    place.proxy.up()
    seen: list[list[int]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(place.steps())

    reader = threading.Thread(target=read)
    reader.start()
    writer.sync(60)
    writer.close()
    done.set()
    reader.join()
    assert place.steps() == list(range(40))
    assert all(found == list(range(len(found))) for found in seen)


def test_metadata_of_a_tag_is_repeated_in_each_file(
    new_place: Callable[..., Place], spool: Path | None
) -> None:
    """TensorFlow 2 writes it with the first value only; a file must be readable alone."""
    place = new_place("moto")
    writer = place.writer(spool=spool, roll_size=1 << 16)
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    for step in range(4000):
        value = Summary.Value(tag="loss", simple_value=step)
        if step == 0:
            value.metadata.CopyFrom(metadata)
        writer.add_event(Event(step=step, wall_time=1e9, summary=Summary(value=[value])))
    writer.close()
    files = place.files()
    assert len(files) > 2
    for data in files:
        events = [Event.FromString(payload) for payload in list(records(data))[1:]]
        assert events[0].summary.value[0].metadata == metadata
        assert not any(event.summary.value[0].HasField("metadata") for event in events[1:])
    assert place.steps() == list(range(4000))


ELSEWHERE = """
import sys, time
behind = float(sys.argv[3])
clock = time.time
time.time = lambda: clock() - behind
from bucketboard import EventFileWriter
writer = EventFileWriter(sys.argv[1], spool=sys.argv[2] or None, roll_size=1 << 16)
first, last = int(sys.argv[4]), int(sys.argv[5])
for step in range(first, last):
    writer.add_scalar("loss", step / 8, step, 1e9 + step)
    if step == (first + last) // 2:
        writer.sync(30)
writer.sync(30)
if sys.argv[6] == "kill":
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
writer.close()
"""


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # tbparse's use of pandas
def test_a_run_that_goes_on_elsewhere_is_read_without_a_gap(
    new_place: Callable[..., Place], tmp_path: Path, spool: Path | None
) -> None:
    """Killed, and continued on a machine whose clock is behind; TensorBoard and tbparse read one series."""
    place = new_place("seaweedfs")
    script = tmp_path / "elsewhere.py"
    script.write_text(ELSEWHERE)
    parts = [(0, 0, 3000, "kill"), (1e6, 3000, 6000, "kill"), (3600, 6000, 9000, "close")]
    for number, part in enumerate(parts):
        directory = f"{spool}{number}" if spool else ""
        done = place.run(script, place.url, directory, *part)
        assert done.returncode == (-9 if part[3] == "kill" else 0), done.stderr
    assert len(place.event_keys()) >= 6
    assert place.steps() == list(range(9000))

    run = _download(place, tmp_path / "copy")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    assert "loss" in tags["scalars"] + tags["tensors"]
    scalars = [(event.step, event.value) for event in accumulator.Scalars("loss")]
    assert scalars == [(step, step / 8) for step in range(9000)]

    from tensorboard.backend.event_processing.directory_loader import DirectoryLoader
    from tensorboard.backend.event_processing.event_file_loader import TimestampedEventFileLoader

    loaded = DirectoryLoader(str(run), TimestampedEventFileLoader).Load()
    assert [event.step for event in loaded if event.summary.value] == list(range(9000))

    tbparse = pytest.importorskip("tbparse")
    frame = tbparse.SummaryReader(str(run)).scalars
    assert list(zip(frame["step"], frame["value"], strict=True)) == scalars
    assert set(frame["tag"]) == {"loss"}


def test_a_file_is_what_its_metadata_says(new_place: Callable[..., Place], spool: Path | None) -> None:
    place = new_place("moto")
    writer = place.writer(spool=spool, roll_size=1 << 16)
    for step in range(3000):
        writer.add_scalar("loss", step, step, 1e9)
    writer.close()
    for key in place.event_keys():
        data = place.get(key)
        assert steps(data)
        assert b"".join(map(framed, records(data))) == data
