"""A TensorBoard in this process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bucketboard.errors import InvalidError
from bucketboard.serve.guard import choose_token, is_loopback
from bucketboard.serve.stub import avoid_tensorflow
from bucketboard.serve.targets import Target, mounts_of

if TYPE_CHECKING:
    from bucketboard.serve.board import Board
    from bucketboard.serve.watch import Watch

__all__ = ["TensorBoardServer", "serve"]

_log = logging.getLogger(__name__)
DEFAULT_PORT = 6006
DEFAULT_CACHE = 1 << 30
_SAMPLES = "--samples_per_plugin"


class TensorBoardServer:
    """A running TensorBoard; leaving it as a context closes it."""

    def __init__(self, target: str, board: Board, watch: Watch, token: str | None) -> None:
        self.target = target
        """What it shows."""
        self.token = token
        """What requests must show; None: nothing."""
        self._board = board
        self._watch = watch
        self._closed = threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it is found."""
        return self._board.url

    @property
    def link(self) -> str:
        """What to open in a browser: the address, with the token where one is needed."""
        return f"{self.url}?token={quote(self.token, safe='')}" if self.token else self.url

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._board.port

    @property
    def health(self) -> dict[str, Any]:
        """What ``/healthz`` says."""
        return self._board.health()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is closed; False when the time is up before."""
        return self._closed.wait(timeout)

    def close(self) -> None:
        """Stop answering and reading."""
        with self._lock:
            if not self._closed.is_set():
                self._watch.close()
                self._board.close()
                self._closed.set()

    def __enter__(self) -> TensorBoardServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def serve(
    target: Target | Sequence[Target] | Mapping[str, Target],
    *,
    host: str | None = "127.0.0.1",
    port: int | None = None,
    bind_all: bool = False,
    reload_interval: float = 5.0,
    runs: str | None = None,
    samples_per_plugin: Mapping[str, int] | None = None,
    auth_token_file: str | None = None,
    insecure_no_auth: bool = False,
    allowed_hosts: Sequence[str] = (),
    cache_size: int = DEFAULT_CACHE,
    publish_index: bool = False,
    tensorboard_args: Sequence[str] = (),
    **settings: Any,
) -> TensorBoardServer:
    """Start TensorBoard on ``s3://bucket/prefix`` or a directory.

    Args:
        target: what to show; each directory below it that holds event files is a run. Several are given as
            ``["a=s3://bucket/one", "b=s3://bucket/two"]`` or as a mapping of names.
        host: the address to listen on. The default is reachable from this machine only.
        port: 0 takes any free one; None takes 6006, or the next free one.
        bind_all: listen on all addresses of the machine, in place of ``host``.
        reload_interval: seconds between two looks for new data while somebody looks, up to four times that
            where nothing changes; 0 reads everything once.
        runs: a regular expression; only runs in whose name it is found are read.
        samples_per_plugin: points to keep of a series, by plugin; 0 keeps all. Defaults as TensorBoard's.
        auth_token_file: file with the token that requests must show. Without it the token is
            ``BUCKETBOARD_AUTH_TOKEN``, else it is made here as soon as others can reach the address.
        insecure_no_auth: ask for no token although others can reach the address.
        allowed_hosts: further host names under which it is reached; ``*.example.org`` allows all below.
        cache_size: bytes that the indexes of what was looked at may take on this machine; 0: none are kept.
        publish_index: put the index into the bucket instead, so that everybody's first look is fast.
        tensorboard_args: further arguments of TensorBoard, such as ``--window_title=mine``.
        settings: how to reach the bucket, see :class:`bucketboard.store.settings.Settings`.

    Raises:
        InvalidError: the target, an argument, the bucket or a permission is not right, or the port is taken.
        UnavailableError: the bucket does not answer.
    """
    if not reload_interval >= 0:
        raise InvalidError(f"reload_interval={reload_interval!r} must be 0 or more")
    mounts = mounts_of(target, settings)
    exposed = bind_all or not is_loopback(host)
    token = choose_token(auth_token_file, exposed=exposed, insecure=insecure_no_auth)
    given, extra = _split_samples(tensorboard_args)
    samples = {plugin: most or None for plugin, most in {**given, **(samples_per_plugin or {})}.items()}
    avoid_tensorflow()
    # The listing is on its way while TensorBoard is imported, which takes longer, and so is what it leads to.
    pool = ThreadPoolExecutor(len(mounts), "bucketboard-list")
    listings = [pool.submit(mount.list) for mount in mounts]
    pool.shutdown(wait=False)
    from bucketboard.serve.catalog import Catalog
    from bucketboard.serve.indexing import Indexing, keep_for_index
    from bucketboard.serve.watch import Watch

    catalog = Catalog(mounts, runs=runs, samples=samples, cache_size=cache_size)
    kept = keep_for_index(mounts, cache_size) if publish_index or cache_size else {}
    watch = Watch(catalog, reload_interval, Indexing(kept, publish=publish_index, cache_size=cache_size))
    watch.start(listings)
    try:
        from bucketboard.serve.board import Access, Board

        for listing in listings:
            listing.result()
        board = Board(catalog, watch, samples)
        try:
            access = Access(None if bind_all else host, port, bind_all, token, allowed_hosts)
            board.start(access, reload_interval, extra)
        except BaseException:
            board.close()
            raise
    except BaseException:
        watch.close()
        raise
    if port is None and board.port != DEFAULT_PORT:
        _log.warning("port %d is taken, using %d", DEFAULT_PORT, board.port)
    if not catalog.has_event_files:
        _log.warning("no event files below %s yet: runs will show as they appear", catalog.location)
    return TensorBoardServer(catalog.location, board, watch, token)


def _split_samples(arguments: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """``--samples_per_plugin`` among TensorBoard's arguments, and the others."""
    samples: dict[str, int] = {}
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        name, separator, value = argument.partition("=")
        if name == _SAMPLES:
            samples |= parse_samples(value if separator else next(left, ""))
        else:
            rest.append(argument)
    return samples, rest


def parse_samples(text: str) -> dict[str, int]:
    """``scalars=500,images=0`` as TensorBoard reads it.

    Raises:
        InvalidError: it is not of that form.
    """
    samples = {}
    for part in filter(None, text.split(",")):
        plugin, _, number = part.strip().partition("=")
        if not plugin or not number.isdecimal():
            raise InvalidError(f"{_SAMPLES}: {part!r} is not of the form plugin=number")
        samples[plugin] = int(number)
    return samples
