"""One request and its reply on their way through the proxy, with the faults that befall them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from enum import Enum, auto
from http.client import responses
from time import monotonic

import h11

from bucketboard.testing.counts import NO_REPLY, Meter, Recorded
from bucketboard.testing.faults import FaultKind, Injection
from bucketboard.testing.operations import Request
from bucketboard.testing.stream import Disconnected, Link, Stream, end_to_end, pass_body

_IDLE_SECONDS = 2.0  # well below any server's keep-alive, so that a pooled connection is never stale


class Ending(Enum):
    """What becomes of the client's connection."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()


class Upstream:
    """Connections to the server, kept for the next request."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._idle: list[tuple[float, Stream]] = []

    async def take(self) -> Stream:
        """An open connection, used before or new."""
        while self._idle:
            since, stream = self._idle.pop()
            if stream.usable and monotonic() - since < _IDLE_SECONDS:
                return stream
            stream.close()
        try:
            reader, writer = await asyncio.open_connection(*self._address)
        except OSError as error:
            raise Disconnected(str(error)) from error
        return Stream(h11.CLIENT, reader, writer)

    def give_back(self, stream: Stream) -> None:
        """Keep the connection when its exchange is complete, else drop it."""
        if stream.http.our_state is h11.DONE and stream.http.their_state is h11.DONE:
            stream.http.start_next_cycle()
            self._idle.append((monotonic(), stream))
        else:
            stream.reset()

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop()[1].close()


class Exchange:
    """A request, from its head to the end of its reply."""

    def __init__(
        self, request: Request, client: Stream, upstream: Upstream, link: Link, meter: Meter
    ) -> None:
        self.request = request
        self._client = client
        self._upstream = upstream
        self._link = link
        self._meter = meter
        self._status = NO_REPLY
        self._sent = self._received = 0
        self._has_body = (
            request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
        )

    async def run(self, head: h11.Request, injections: Sequence[Injection]) -> Ending:
        """Carry it through; the end of the reply is still to be flushed."""
        self._meter.add(self.request.operation, requests=1)
        try:
            return await self._befallen(head, injections)
        except Disconnected:
            return Ending.RESET
        finally:
            if self._status == NO_REPLY:
                self._meter.reply(self.request.operation, NO_REPLY)
            self._meter.record(Recorded(self.request, self._status, self._sent, self._received))

    async def _befallen(self, head: h11.Request, injections: Sequence[Injection]) -> Ending:
        decisive = None
        for injection in injections:
            if injection.fault.kind is FaultKind.SLOW:
                await asyncio.sleep(injection.fault.delay)
            elif injection.fault.kind is FaultKind.HOLD:
                await injection.released.wait()
            else:
                decisive = injection
        await self._link.travel()
        kind = decisive.fault.kind if decisive else None
        if decisive is None or kind is FaultKind.LOST_REPLY or kind is FaultKind.TRUNCATE:
            return await self._forward(head, kind)
        if kind is FaultKind.STATUS:
            return await self._reply(decisive)
        if kind is FaultKind.HANG:
            return await self._hang(decisive)
        return Ending.CLOSE if kind is FaultKind.REFUSE else Ending.RESET

    async def _forward(self, head: h11.Request, kind: FaultKind | None) -> Ending:
        server = await self._upstream.take()
        upload: asyncio.Task[None] | None = None
        try:
            server.queue(
                h11.Request(
                    method=head.method,
                    target=head.target,
                    headers=end_to_end(head.headers),
                    http_version=b"1.1",
                )
            )
            if self._has_body:
                upload = asyncio.create_task(self._upload(server))
            else:
                await self._upload(server)
            response = await self._response(server)
            unwanted = self._client.http.they_are_waiting_for_100_continue
            if kind is FaultKind.LOST_REPLY:
                await pass_body(server, None, self._link, lambda size: None)
            else:
                self._answer(response, close=unwanted)
                length = int(dict(response.headers).get(b"content-length", b"0"))
                limit = length // 2 if kind is FaultKind.TRUNCATE else None
                await pass_body(server, self._client, self._link, self._count_received, limit)
            if upload is not None and not unwanted:
                await upload
            if kind is FaultKind.LOST_REPLY:
                return Ending.RESET
            return Ending.CLOSE if kind is FaultKind.TRUNCATE or unwanted else Ending.KEEP
        finally:
            if upload is not None:
                upload.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await upload
            self._upstream.give_back(server)

    async def _upload(self, server: Stream) -> None:
        try:
            await pass_body(self._client, server, self._link, self._count_sent)
            await server.flush()
        except Disconnected:
            server.reset()  # the client went away: so shall we, and the reader of the reply notices

    async def _response(self, server: Stream) -> h11.Response:
        while True:
            event = await server.receive()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise Disconnected("the server closed the connection without a reply")
            await self._continue()

    async def _continue(self) -> None:
        if self._client.http.they_are_waiting_for_100_continue:
            self._client.queue(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
            await self._client.flush()

    def _answer(self, response: h11.Response, close: bool) -> None:
        headers = end_to_end(response.headers)
        if close:
            headers.append((b"Connection", b"close"))
        self._status = response.status_code
        self._meter.reply(self.request.operation, self._status)
        self._client.queue(
            h11.Response(status_code=response.status_code, headers=headers, reason=response.reason)
        )

    async def _reply(self, injection: Injection) -> Ending:
        unwanted = self._client.http.they_are_waiting_for_100_continue
        if not unwanted:
            await self._discard()
        fault = injection.fault
        bodyless = self.request.method == "HEAD" or fault.status in (204, 304)
        document = b"" if bodyless else fault.document(self.request)
        headers = [*fault.headers.items(), ("Content-Type", "application/xml")]
        if fault.status != 204:
            headers.append(("Content-Length", str(len(document))))
        reason = responses.get(fault.status, "Injected")  # botocore takes no final status line without one
        response = h11.Response(status_code=fault.status, headers=headers, reason=reason.encode())
        self._answer(response, close=unwanted)
        if document:
            self._count_received(len(document))
            self._client.queue(h11.Data(data=document))
        self._client.queue(h11.EndOfMessage())
        return Ending.CLOSE if unwanted else Ending.KEEP

    async def _hang(self, injection: Injection) -> Ending:
        await self._continue()
        await self._discard()
        released = asyncio.ensure_future(injection.released.wait())
        gone = asyncio.ensure_future(self._client.fill())
        try:
            await asyncio.wait({released, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            released.cancel()
            gone.cancel()
            await asyncio.gather(released, gone, return_exceptions=True)
        return Ending.RESET

    async def _discard(self) -> None:
        await pass_body(self._client, None, self._link, self._count_sent)

    def _count_sent(self, size: int) -> None:
        self._sent += size
        self._meter.add(self.request.operation, sent=size)

    def _count_received(self, size: int) -> None:
        self._received += size
        self._meter.add(self.request.operation, received=size)
