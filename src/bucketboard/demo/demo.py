"""The demo from start to end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bucketboard.demo.place import Place, embedded, require, users
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings

if TYPE_CHECKING:
    from bucketboard.demo.compare import Comparison
    from bucketboard.serve import TensorBoardServer
    from bucketboard.testing import Counts

__all__ = ["Outcome", "demonstrate"]


@dataclass(frozen=True)
class Outcome:
    """What landed, what was compared, and the TensorBoard that shows it."""

    url: str
    runs: int
    objects: int
    bytes_stored: int
    bytes_logged: int
    events: int
    writing: Counts | None
    """The requests of training; None where nobody counted."""
    viewing: Counts | None
    comparison: Comparison
    seconds: float
    server: TensorBoardServer


@contextlib.contextmanager
def demonstrate(
    target: str | None = None,
    *,
    port: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Iterator[Outcome]:
    """Train, write, view and compare; what was written is served until the context is left.

    Args:
        target: a prefix of a real bucket; None starts a server for the occasion.
        port: TensorBoard's, see :func:`bucketboard.serve.serve`.
        progress: is told what happens, line by line.
        settings: how to reach the target, see :class:`bucketboard.store.settings.Settings`.

    Raises:
        InvalidError: a package of the demo is missing, or the target is not right.
    """
    require(embedded=target is None)
    from bucketboard.serve import avoid_tensorflow

    avoid_tensorflow()  # before the writers, who use TensorBoard too
    where = embedded() if target is None else contextlib.nullcontext(users(target, settings))
    with where as place:
        bucket = Bucket(place.url.bucket, Settings.resolve(**settings), attempts=3)
        bucket.list(place.url.prefix)  # what is wrong with it should be said before the training
        with _view(place, bucket, port, progress, settings) as outcome:
            yield outcome


@contextlib.contextmanager
def _view(
    place: Place,
    bucket: Bucket,
    port: int | None,
    progress: Callable[[str], None],
    settings: dict[str, Any],
) -> Iterator[Outcome]:
    from bucketboard.demo.compare import compare
    from bucketboard.demo.train import train
    from bucketboard.serve import serve

    progress(f"training on scikit-learn's digits, writing to {place.url}")
    begin = place.counts() if place.counts else None
    started = time.monotonic()
    runs = train(str(place.url), place.writer_options, progress)
    written = place.counts() if place.counts else None
    objects = bucket.list(place.url.prefix).objects
    listed = place.counts() if place.counts else None
    with serve(str(place.url), port=port, reload_interval=1.0, **settings) as server:
        progress(f"asking TensorBoard at {server.url} for what was logged")
        comparison = compare(server.url, runs)
        positions = [run.writer.position for run in runs]
        yield Outcome(
            url=str(place.url),
            runs=len(runs),
            objects=len(objects),
            bytes_stored=sum(info.size for info in objects),
            bytes_logged=sum(position.logged.bytes for position in positions),
            events=sum(position.stored.events for position in positions),
            writing=written - begin if written and begin else None,
            viewing=place.counts() - listed if place.counts and listed else None,
            comparison=comparison,
            seconds=time.monotonic() - started,
            server=server,
        )
