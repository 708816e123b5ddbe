"""One function for each of many tasks, by threads, processes or a Dask cluster, with the same results.

The function and its tasks are picklable and hold no secrets: workers find credentials of their own.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from bucketboard.errors import BucketboardError, InvalidError, UnavailableError

__all__ = ["Done", "Outcome", "attempt", "fan_out"]

R = TypeVar("R")
T = TypeVar("T")
_ATTEMPTS = 3
_PAUSE = 0.5
"""Seconds before the second attempt; twice as many before each later one."""
_THREADS = 8
"""In one process, where most of the time is waiting for the network."""
_LOSSES = 3
"""Dead workers that a task may have been with."""


@dataclass(frozen=True)
class Done(Generic[R]):
    """How a task ended: with a result, or with a failure in words."""

    result: R | None = None
    failure: str = ""


@dataclass
class Outcome(Generic[R]):
    """How all ended, by the names of the tasks."""

    results: dict[str, R] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, done: Done[R]) -> None:
        """Take in one."""
        if done.failure:
            self.failures[name] = done.failure
        elif done.result is not None:
            self.results[name] = done.result


def attempt(function: Callable[[T], R], task: T, pause: float = _PAUSE) -> Done[R]:
    """Call the function, again while what it needs is unavailable. Runs where the work is done."""
    for number in range(_ATTEMPTS):
        try:
            return Done(function(task))
        except UnavailableError as error:
            if number + 1 == _ATTEMPTS:
                return Done(failure=str(error))
            time.sleep(pause * 2**number)
        except BucketboardError as error:
            return Done(failure=str(error))
        except Exception as error:  # one task's failure is not that of the others
            return Done(failure=f"{type(error).__name__}: {error}")
    raise AssertionError


def fan_out(
    function: Callable[[T], R],
    tasks: Mapping[str, T],
    *,
    workers: int = 1,
    cluster: str | None = None,
    on_done: Callable[[str, Done[R]], object] | None = None,
    threads: int = _THREADS,
) -> Outcome[R]:
    """Call ``function`` with each task: in this process by ``threads``, in ``workers`` processes, or on the
    Dask cluster whose scheduler is at ``cluster``. ``on_done`` is told of each as it ends.

    A task that fails, or whose worker dies again and again, is among the failures; the others go on.

    Raises:
        InvalidError: the cluster's address is wrong, or Dask is not installed.
        UnavailableError: the cluster can't be reached, or is lost.
    """
    if workers < 1:
        raise InvalidError(f"workers={workers} must be 1 or more")
    outcome: Outcome[R] = Outcome()
    if not tasks:
        return outcome
    if cluster is not None:
        from bucketboard.bulk.dask import on_cluster

        ended = on_cluster(function, tasks, cluster)
    elif workers == 1:
        ended = _in_threads(function, tasks, min(threads, len(tasks)))
    else:
        ended = _in_processes(function, tasks, min(workers, len(tasks)))
    for name, done in ended:
        outcome.add(name, done)
        if on_done:
            on_done(name, done)
    return outcome


def _in_threads(
    function: Callable[[T], R], tasks: Mapping[str, T], threads: int
) -> Iterator[tuple[str, Done[R]]]:
    pool = ThreadPoolExecutor(threads, "bucketboard-bulk")
    try:
        yield from _drained(pool, function, iter(tasks.items()), 2 * threads)
    finally:
        pool.shutdown(cancel_futures=True)


def _drained(
    pool: Executor,
    function: Callable[[T], R],
    tasks: Iterator[tuple[str, T]],
    ahead: int,
    call: Callable[[Callable[[T], R], T], Done[R]] = attempt,
) -> Iterator[tuple[str, Done[R]]]:
    waiting: dict[Future[Done[R]], str] = {}
    while True:
        for name, task in islice(tasks, ahead - len(waiting)):
            waiting[pool.submit(call, function, task)] = name
        if not waiting:
            return
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            yield waiting.pop(future), future.result()


def _in_processes(
    function: Callable[[T], R], tasks: Mapping[str, T], workers: int
) -> Iterator[tuple[str, Done[R]]]:
    """A dead process breaks the whole pool: what has not ended goes to a new one."""
    left = dict(tasks)
    losses = dict.fromkeys(tasks, 0)
    while left:
        before = set(multiprocessing.active_children())
        # Not forked: obstore can't live in a forked child.
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_worker)
        taken: list[str] = []

        def noted(pairs: Iterator[tuple[str, Any]], taken: list[str] = taken) -> Iterator[tuple[str, Any]]:
            for name, task in pairs:
                taken.append(name)
                yield name, task

        try:
            pairs = noted(iter(list(left.items())))
            for name, done in _drained(pool, function, pairs, 2 * workers, _attempt_in_worker):
                del left[name]
                yield name, done
        except BrokenProcessPool:
            for name in [name for name in taken if name in left]:
                losses[name] += 1
                if losses[name] == _LOSSES:
                    del left[name]
                    yield name, Done(failure=f"{_LOSSES} worker processes died while they were at it")
        except BaseException:
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """A Ctrl-C goes to all processes of a terminal; the first one ends the others, who clean up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    threading.Thread(target=_end_with_parent, name="bucketboard-parent", daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next task for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _attempt_in_worker(function: Callable[[T], R], task: T) -> Done[R]:
    try:
        return attempt(function, task)
    except SystemExit:  # the pool would take it for a result and go on with the next task
        os._exit(1)
