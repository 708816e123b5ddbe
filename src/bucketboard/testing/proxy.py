"""A fault-injecting, counting reverse proxy for S3."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from threading import Lock, Thread
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import h11

from bucketboard.testing.counts import Counts, Meter, Recorded
from bucketboard.testing.exchange import Ending, Exchange, Upstream
from bucketboard.testing.faults import Fault, FaultKind, Injection
from bucketboard.testing.gateway import Gateway
from bucketboard.testing.operations import Request, classify
from bucketboard.testing.stream import Disconnected, Link, Stream

_T = TypeVar("_T")
_BACKLOG = 1024
_CUMULATIVE = (FaultKind.SLOW, FaultKind.HOLD)


class FaultProxy:
    """Stands before an S3 server on a port of 127.0.0.1, counts what passes, and fails as told.

    Requests pass unchanged, Host included, so the server verifies the signature the client made for
    `url`. *latency* is added to each request, *bandwidth* (bytes per second) is shared by all bodies in
    both directions; *record* keeps every request in `requests`. Everything random comes from *seed*.
    With a *gateway* signatures and ETags change on their way; see `Gateway`.
    """

    def __init__(
        self,
        upstream: str,
        *,
        seed: int = 0,
        latency: float = 0.0,
        bandwidth: float | None = None,
        record: bool = False,
        gateway: Gateway | None = None,
    ) -> None:
        address = urlsplit(upstream)
        if address.scheme != "http" or address.hostname is None:
            raise ValueError(f"upstream must be an http:// URL: {upstream!r}")
        self._upstream = Upstream(address.hostname, address.port or 80)
        self._seed = seed
        self._link = Link(latency, bandwidth)
        self._meter = Meter(record)
        self._gateway = gateway
        self._faults_lock = Lock()
        self._injections: list[Injection] = []
        self._injected = 0
        self._socket: socket.socket | None = None
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[Any]] = set()
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        """The endpoint for clients; it stays the same through `down` and `up`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def counts(self) -> Counts:
        """What has passed so far. Whatever a client has seen is in it."""
        return self._meter.counts

    @property
    def requests(self) -> tuple[Recorded, ...]:
        """The finished requests, when asked to record them."""
        return self._meter.recorded

    @property
    def latency(self) -> float:
        """Seconds added to each request."""
        return self._link.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._link.latency = seconds

    @property
    def bandwidth(self) -> float | None:
        """Bytes per second of all bodies together; None is unlimited."""
        return self._link.bandwidth

    @bandwidth.setter
    def bandwidth(self, bytes_per_second: float | None) -> None:
        self._link.bandwidth = bytes_per_second

    def start(self) -> FaultProxy:
        """Listen."""
        self._reserve()
        self._thread.start()
        self._run(self._listen())
        return self

    def close(self) -> None:
        """Reset every connection and stop; hanging requests end."""
        if not self._thread.is_alive():
            return
        self._run(self._silence())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._socket is not None:
            self._socket.close()

    def __enter__(self) -> FaultProxy:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def down(self) -> None:
        """Refuse connections and reset the live ones, as a server that is gone."""
        if self._listener is not None:
            self._run(self._silence())
            self._reserve()

    def up(self) -> None:
        """Listen again, on the same port."""
        if self._listener is None:
            self._run(self._listen())

    def inject(self, fault: Fault) -> Injection:
        """Commit *fault* from now on. Waits add up; of the other faults the one injected first wins."""
        with self._faults_lock:
            self._injected += 1
            injection = Injection(fault, f"{self._seed}/{self._injected}", self._remove)
            self._injections.append(injection)
        return injection

    def clear(self) -> None:
        """Remove every fault."""
        with self._faults_lock:
            injections = list(self._injections)
        for injection in injections:
            injection.remove()

    def _remove(self, injection: Injection) -> None:
        with self._faults_lock:
            self._injections = [other for other in self._injections if other is not injection]
        with contextlib.suppress(RuntimeError):  # closed meanwhile: then nothing waits any more
            self._loop.call_soon_threadsafe(injection.released.set)

    def _fired(self, request: Request) -> list[Injection]:
        with self._faults_lock:
            injections = list(self._injections)
        fired: list[Injection] = []
        decided = False
        for injection in injections:
            cumulative = injection.fault.kind in _CUMULATIVE
            if (cumulative or not decided) and injection.fires(request):
                fired.append(injection)
                decided = decided or not cumulative
        return fired

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _reserve(self) -> None:
        # Bound but not listening: connections are refused, and no one else is given the port.
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", self._port))
        self._port = self._socket.getsockname()[1]

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, sock=self._socket, backlog=_BACKLOG)
        self._socket = None

    async def _silence(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        self._upstream.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        client = Stream(h11.SERVER, reader, writer)
        if self._listener is None:  # accepted just before `down`
            return client.reset()
        self._connections.add(task)
        ending = Ending.RESET
        try:
            while (ending := await self._exchange(client)) is Ending.KEEP:
                client.http.start_next_cycle()
        except Disconnected:
            ending = Ending.CLOSE
        except asyncio.CancelledError:
            ending = Ending.RESET
        finally:
            self._connections.discard(task)
            client.reset() if ending is Ending.RESET else client.close()

    async def _exchange(self, client: Stream) -> Ending:
        head = await client.receive()
        if not isinstance(head, h11.Request):
            return Ending.CLOSE
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        request = classify(head.method.decode("ascii"), head.target.decode("ascii"), headers)
        exchange = Exchange(request, client, self._upstream, self._link, self._meter, self._gateway)
        ending = await exchange.run(head, self._fired(request))
        if ending is not Ending.RESET:
            await client.flush()
        reusable = client.http.our_state is h11.DONE and client.http.their_state is h11.DONE
        return Ending.CLOSE if ending is Ending.KEEP and not reusable else ending
