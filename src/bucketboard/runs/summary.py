"""What is known of runs without their data: made of the index, and of what is new since."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from bucketboard.selection import RUN_FILE
from bucketboard.store.bucket import ObjectInfo

if TYPE_CHECKING:
    from bucketboard.index import Index, Part, Tag

__all__ = ["FIELDS", "RunSummary", "State", "TagSummary", "summary", "with_hparams_from_below"]

State = Literal["live", "finished", "stalled", "unknown"]
FIELDS = ("run", "url", "state", "start", "last", "written", "age", "events", "step", "files", "size")
"""What a run has besides labels, metadata, hyperparameters and tags; names mean these first."""


@dataclass(frozen=True, slots=True)
class TagSummary:
    """A tag of a run. ``step``, ``wall_time`` (seconds since the epoch) and ``value`` are those of its last
    value; ``value`` is None where the series is not one of scalars."""

    plugin: str
    count: int
    step: int
    wall_time: float
    value: float | None


@dataclass(frozen=True)
class RunSummary:
    """A run. Times are in seconds since the epoch, sizes in bytes.

    ``state`` is "finished" when the writer closed it, else "live" or, with no write for a while, "stalled";
    "unknown" where it was not written by bucketboard and nothing was written lately.
    """

    run: str
    """Its name below the prefix; "." for the prefix itself."""
    url: str
    state: State
    start: float | None
    """The earliest wall time of an event."""
    last: float | None
    """The latest wall time of a value."""
    written: float | None
    """When S3 last took something of it."""
    age: float
    """Seconds since then."""
    events: int
    step: int | None
    """The greatest step."""
    files: int
    """Event files."""
    size: int
    """Of its event files together."""
    tags: Mapping[str, TagSummary]
    hparams: Mapping[str, Any]
    metadata: Mapping[str, str]
    """What the writer was given."""
    gathered: Mapping[str, str]
    """What the writer found out by itself: commit, host, versions, job."""
    labels: Mapping[str, str]
    trouble: tuple[str, ...] = field(default=())
    """Why something of it could not be read."""

    def value(self, name: str, where: str = "") -> Any:
        """A field, label, metadata key, hyperparameter or last value of a tag, the first of these there is.

        ``where`` ("label", "metadata", "hparam" or "tag") looks in one place alone. None: there is none.
        """
        if not where and name in FIELDS:
            return getattr(self, name)
        for place, known in (
            ("label", self.labels),
            ("metadata", self.metadata),
            ("metadata", self.gathered),
            ("hparam", self.hparams),
        ):
            if where in ("", place) and name in known:
                return known[name]
        tag = self.tags.get(name) if where in ("", "tag") else None
        return tag.value if tag else None

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        found = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        return {**found, "tags": {name: dataclasses.asdict(tag) for name, tag in self.tags.items()}}


def summary(
    index: Index,
    url: str,
    run: str,
    paths: Sequence[str],
    listed: Mapping[str, ObjectInfo],
    *,
    now: float,
    stalled_after: float,
    trouble: Mapping[str, str],
) -> RunSummary:
    """The run with event files at ``paths``, as the index knows it; ``trouble`` by path, where something of
    it could not be read."""
    parts = [index.parts[path] for path in paths if path in index.parts]
    whole = functools.reduce(lambda one, other: one.joined(other), parts) if parts else None
    times = [info.last_modified.timestamp() for path in paths if (info := listed[path]).last_modified]
    written = max(times, default=None)
    age = max(0.0, now - written) if written is not None else math.inf
    own = index.run_files.get(RUN_FILE if run == "." else f"{run}/{RUN_FILE}")
    if own is not None and own.path not in listed:
        own = None
    last = index.parts.get(paths[-1])
    told = [each for each in (whole, own) if each]
    return RunSummary(
        run=run,
        url=url if run == "." else f"{url.rstrip('/')}/{run}",
        state=_state(last, age, stalled_after),
        start=_time(whole.start if whole else None),
        last=_time(whole.last if whole else None),
        written=written,
        age=age,
        events=whole.events if whole else 0,
        step=whole.step if whole else None,
        files=len(paths),
        size=sum(listed[path].size for path in paths),
        tags=_Tags([known for path in paths if (known := index.tags.get(path))]),
        hparams=json.loads(whole.hparams) if whole and whole.hparams else {},
        metadata=_merged(each.metadata for each in told),
        gathered=_merged(each.gathered for each in told),
        labels=json.loads(own.labels) if own else {},
        trouble=tuple(f"{path}: {trouble[path]}" for path in paths if path in trouble),
    )


def _merged(texts: Iterable[str | None]) -> dict[str, str]:
    # Most say nothing, which need not be parsed ten thousand times.
    return {key: value for text in texts if text and text != "{}" for key, value in json.loads(text).items()}


def with_hparams_from_below(runs: Iterable[RunSummary]) -> list[RunSummary]:
    """A run without hyperparameters has those of the only run right below it that has some: ``add_hparams``
    writes them to such a run."""
    found = list(runs)
    below: dict[str, list[RunSummary]] = {}
    for run in found:
        if run.hparams and "/" in run.run:
            below.setdefault(run.run.rpartition("/")[0], []).append(run)
    return [
        dataclasses.replace(run, hparams=only[0].hparams)
        if not run.hparams and len(only := below.get(run.run, [])) == 1
        else run
        for run in found
    ]


def _state(last: Part | None, age: float, stalled_after: float) -> State:
    # Only the newest file counts: what a writer left live and went on from in another stays so.
    if last is not None and last.state == "closed":
        return "finished"
    if age <= stalled_after:
        return "live"
    return "stalled" if last is not None and last.state else "unknown"


def _time(time: float | None) -> float | None:
    return None if time is None or math.isnan(time) else time


class _Tags(Mapping[str, TagSummary]):
    """The tags of a run's files together, looked up when asked for: of thousands of runs few ever are."""

    def __init__(self, files: Sequence[Mapping[str, Tag]]) -> None:
        self._files = files

    def __getitem__(self, name: str) -> TagSummary:
        found = [tags[name] for tags in self._files if name in tags]
        if not found:
            raise KeyError(name)
        last = found[-1]
        count = sum(tag.count for tag in found)
        return TagSummary(found[0].plugin, count, last.step, last.wall_time, last.value)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(itertools.chain(*self._files)))

    def __len__(self) -> int:
        return len(set().union(*self._files))

    def __repr__(self) -> str:
        return repr(dict(self))
