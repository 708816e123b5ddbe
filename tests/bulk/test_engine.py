"""Many tasks by threads and processes: the same results, failures apart, dead workers replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
import work

from bucketboard.bulk.engine import attempt, fan_out
from bucketboard.errors import InvalidError


@pytest.mark.parametrize("workers", [1, 2])
def test_all_tasks_are_done_whoever_does_them(workers: int) -> None:
    ended: list[str] = []
    tasks = {str(number): number for number in range(40)}
    outcome = fan_out(work.square, tasks, workers=workers, on_done=lambda name, done: ended.append(name))
    assert outcome.results == {str(number): number * number for number in range(40)}
    assert outcome.failures == {}
    assert sorted(ended) == sorted(tasks)


def test_failures_are_told_and_the_others_go_on() -> None:
    outcome = fan_out(work.fail_at_three, {str(number): number for number in range(6)})
    assert sorted(outcome.results) == ["0", "1", "2", "5"]
    assert outcome.failures == {"3": "three is damaged", "4": "KeyError: 'four'"}


def test_what_is_unavailable_is_tried_again(tmp_path: Path) -> None:
    assert attempt(work.once_unavailable, str(tmp_path / "a"), pause=0).result == "done"
    failed = attempt(work.once_unavailable, str(tmp_path / "no such directory" / "a"), pause=0)
    assert "FileNotFoundError" in failed.failure


def test_a_killed_worker_costs_nothing(tmp_path: Path) -> None:
    tasks = {str(number): (str(tmp_path), number) for number in range(8)}
    outcome = fan_out(work.die_once, tasks, workers=2)
    assert outcome.results == {str(number): number for number in range(8)}
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_a_task_that_always_kills_its_worker_fails_alone() -> None:
    outcome = fan_out(work.always_die, {str(number): number for number in range(30)}, workers=1 + 1)
    assert "worker processes died" in outcome.failures["0"]
    assert len(outcome.results) + len(outcome.failures) == 30
    assert len(outcome.results) >= 26


def test_nothing_to_do_and_no_workers() -> None:
    assert fan_out(work.square, {}, workers=2).results == {}
    with pytest.raises(InvalidError):
        fan_out(work.square, {"1": 1}, workers=0)
