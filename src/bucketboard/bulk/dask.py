"""Tasks on a Dask cluster of any size."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from bucketboard.bulk.engine import Done, attempt
from bucketboard.errors import InvalidError, UnavailableError
from bucketboard.runs.extra import extra

__all__ = ["on_cluster"]

R = TypeVar("R")
T = TypeVar("T")
_CONNECT_TIMEOUT = 10
_WORKERS_TIMEOUT = 60
_AHEAD = 1000
"""Tasks that a scheduler has at a time, at least."""
_PER_THREAD = 4
_ADDRESS = re.compile(r"(?:[a-z]+://)?(?:([^\s/:]+)|\[([0-9a-f:]+)\]):(\d{1,5})")


def on_cluster(
    function: Callable[[T], R], tasks: Mapping[str, T], address: str
) -> Iterator[tuple[str, Done[R]]]:
    """Each task's name and how it ended, as they end. Tasks of workers that die go to others.

    Raises:
        InvalidError: the address is wrong, or Dask, or on a worker bucketboard, is not installed.
        UnavailableError: the scheduler does not answer, has no workers, or is lost.
    """
    distributed = extra("distributed", "bucketboard[dask]")
    with _quiet(), _connected(distributed, address) as client:
        ahead = max(_AHEAD, _PER_THREAD * sum(client.nthreads().values()))
        name_of: dict[str, str] = {}
        label = f"bucketboard-{uuid.uuid4().hex}"

        def submit(number: int, name: str, task: T) -> Any:
            key = f"{label}-{number}"
            name_of[key] = name
            return client.submit(attempt, function, task, key=key, pure=False)

        waiting = (submit(number, *pair) for number, pair in enumerate(tasks.items()))
        ended = distributed.as_completed(list(itertools.islice(waiting, ahead)), loop=client.loop)
        for future in ended:
            yield name_of.pop(future.key), _done(distributed, future, address)
            future.release()
            for following in itertools.islice(waiting, 1):
                ended.add(following)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What is wrong is said in a sentence, not in Dask's tracebacks."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _connected(distributed: Any, address: str) -> Iterator[Any]:
    parts = _ADDRESS.fullmatch(address)
    if not parts:  # a client of such a one can't even be closed
        raise InvalidError(
            f"{address!r} is no address of a Dask scheduler", hint="write it as tcp://host:8786"
        )
    try:
        # Dask tries again and again where nobody listens.
        socket.create_connection((parts[1] or parts[2], int(parts[3])), _CONNECT_TIMEOUT).close()
        client = distributed.Client(address, timeout=_CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, OverflowError, asyncio.TimeoutError) as error:
        raise UnavailableError(
            f"the Dask scheduler at {address} does not answer",
            hint="look whether it runs and can be reached from here",
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_TIMEOUT)
        except asyncio.TimeoutError as error:
            raise UnavailableError(f"the Dask cluster at {address} has no workers") from error
        yield client


def _done(distributed: Any, future: Any, address: str) -> Done[Any]:
    if future.cancelled():
        raise UnavailableError(f"the Dask scheduler at {address} was lost", hint="run it again to go on")
    error = future.exception()
    if error is None:
        return future.result()  # type: ignore[no-any-return]
    if isinstance(error, ModuleNotFoundError):
        raise InvalidError(
            f"a worker of the Dask cluster misses a module: {error.name}",
            hint="install bucketboard where scheduler and workers run, in the same version",
        ) from error
    if isinstance(error, distributed.KilledWorker):
        return Done(failure="workers of the cluster died while they were at it")
    return Done(failure=f"{type(error).__name__}: {error}")
