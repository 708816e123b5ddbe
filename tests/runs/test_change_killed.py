"""A change that is killed anywhere: nothing is lost, readers see each run once, the next command ends it."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from changing import EVENTS, Runs, start

import bucketboard
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server

ARGUMENTS: dict[str, dict[str, Any]] = {"rm": {}, "mv": {}, "prune": {"keep_last": 1}}


@pytest.fixture
def runs(server: Server, bucket: tuple[Any, str]) -> Runs:
    return Runs(server, *bucket)


class Trial:
    """One command on runs of its own, killed once and run again."""

    def __init__(self, runs: Runs, name: str, top: str, tmp_path: Path) -> None:
        self.runs = runs
        self.name = name
        self.top = top
        self.path = tmp_path
        self.before = runs.fill(f"{top}/exp", "a b/train c d")
        run = name != "prune"
        self.source = runs.url(f"{top}/exp/b" if run else f"{top}/exp")
        self.arguments = [self.source, *([runs.url(f"{top}/old/b")] if name == "mv" else [])]

    def kill(self, proxy: FaultProxy, fault: Fault) -> bool:
        """Run it and kill it where ``fault`` holds it; False if it ended before."""
        held = proxy.inject(fault)
        process = start(self.name, proxy.url, *self.arguments)
        try:
            while process.poll() is None:
                try:
                    held.wait_fired(timeout=0.1)
                    break
                except TimeoutError:
                    continue
            ended = process.poll() is not None
            process.kill()
            _, complaint = process.communicate()
            assert not ended or process.returncode == 0, complaint.decode()
        finally:
            held.remove()
        return not ended

    def check_between(self) -> None:
        """Every byte is somewhere, and whoever lists the top or the logdir sees no run twice or in part."""
        stored = set(self.runs.objects(f"{self.top}/").values())
        assert stored >= set(self.before.values())
        self._check_shown(self.runs.shown(self.runs.url(self.top)), all_of_them=self.name == "mv")
        self._check_shown(self.runs.shown(self.runs.url(f"{self.top}/exp")), all_of_them=False)

    def _check_shown(self, shown: Counter[bytes], all_of_them: bool) -> None:
        assert set(shown.values()) <= {1}
        for run in ("a", "b/train", "c", "d"):
            bodies = [body for key, body in self.before.items() if f"/exp/{run}/" in key]
            seen = [body in shown for body in bodies]
            assert all(seen) or not any(seen), f"{run} is seen in part"
            if all_of_them:
                assert all(seen), f"{run} is not seen"
        assert shown.keys() <= set(self.before.values())

    def again(self) -> None:
        """The same command brings it to its end."""
        endpoint = self.runs.server.endpoint
        action = getattr(bucketboard, self.name)
        stored = self.runs.objects(f"{self.top}/")
        ended = (
            not any("journal" in key for key in stored) and f"{self.top}/exp/b/train/{EVENTS}" not in stored
        )
        if ended and self.name != "prune":
            with pytest.raises(bucketboard.InvalidError, match="there is nothing below"):
                action(*self.arguments, endpoint_url=endpoint)
        else:
            assert action(*self.arguments, **ARGUMENTS[self.name], endpoint_url=endpoint).complete

    def check_end(self) -> None:
        """All is where it belongs, and nothing else is anywhere."""
        stored = self.runs.objects(f"{self.top}/")
        assert sorted(stored.values()) == sorted(self.before.values())
        shown = {key: body for key, body in stored.items() if ".bucketboard" not in key}
        if self.name == "mv":
            assert shown == {key.replace("/exp/b/", "/old/b/"): body for key, body in self.before.items()}
        elif self.name == "rm":
            assert shown == {key: body for key, body in self.before.items() if "/exp/b/" not in key}
        else:
            assert len(shown) == 3
            assert shown.items() <= self.before.items()
        assert not any("journal" in key for key in stored)


POINTS = {
    "before the journal": Fault(FaultKind.HOLD, "PutObject", "*/.bucketboard-journal/*", nth=1),
    "in the middle of copying": Fault(FaultKind.HOLD, "CopyObject", nth=2),
    "before the turn": Fault(FaultKind.HOLD, "PutObject", "*/exp/.bucketboard-journal/*", nth=2),
    "before deleting": Fault(FaultKind.HOLD, "DeleteObjects", nth=1),
    "before the journal goes": Fault(FaultKind.HOLD, "DeleteObject", "*/.bucketboard-journal/*", nth=1),
}

QUICK = {("rm", "in the middle of copying"), ("mv", "before the turn"), ("mv", "before deleting")}


@pytest.mark.parametrize(
    ("name", "point"),
    [
        pytest.param(name, point, marks=() if (name, point) in QUICK else pytest.mark.slow)
        for name in ("rm", "mv")
        for point in POINTS
    ],
)
def test_killed_at_a_point_and_run_again_it_is_done(
    name: str, point: str, server: Server, runs: Runs, tmp_path: Path
) -> None:
    trial = Trial(runs, name, "top", tmp_path)
    with FaultProxy(server.endpoint) as proxy:
        assert trial.kill(proxy, POINTS[point])
    trial.check_between()
    trial.again()
    trial.check_end()


def test_the_next_command_there_ends_what_was_interrupted_and_says_so(
    server: Server, runs: Runs, tmp_path: Path
) -> None:
    trial = Trial(runs, "mv", "top", tmp_path)
    with FaultProxy(server.endpoint) as proxy:
        assert trial.kill(proxy, POINTS["in the middle of copying"])
    report = bucketboard.rm(runs.url("top/exp/c"), endpoint_url=server.endpoint)
    assert report.resumed == [f"mv {trial.source}"]
    assert report.runs == ["."]
    shown = {key for key in runs.objects() if ".bucketboard" not in key}
    assert {key.rpartition("/")[0] for key in shown} == {"top/exp/a", "top/old/b/train", "top/exp/d"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("server", "moments"), [("seaweed", 100), ("moto", 30)], indirect=["server"])
def test_killed_at_a_hundred_moments_no_run_is_lost_halved_or_doubled(
    server: Server, moments: int, runs: Runs, tmp_path: Path
) -> None:
    chance = random.Random(100)
    lengths: dict[str, int] = {}
    killed: Counter[str] = Counter()
    for number in range(moments):
        name = ("rm", "mv", "prune")[number % 3]
        with FaultProxy(server.endpoint) as proxy:
            if name not in lengths:
                whole = Trial(runs, name, f"whole-{name}", tmp_path)
                process = start(name, proxy.url, *whole.arguments)
                _, complaint = process.communicate()
                assert process.returncode == 0, complaint.decode()
                whole.check_end()
                lengths[name] = proxy.counts.total.requests
            trial = Trial(runs, name, f"trial{number}", tmp_path)
            nth = chance.randint(1, lengths[name])
            killed[name] += trial.kill(proxy, Fault(FaultKind.HOLD, nth=nth))
        trial.check_between()
        trial.again()
        trial.check_end()
    assert all(killed[name] > moments / 4 for name in ARGUMENTS)
