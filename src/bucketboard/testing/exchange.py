"""One request and its reply on their way through the proxy, with the faults that befall them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from http.client import responses
from time import monotonic

import h11

from bucketboard.testing.counts import NO_REPLY, Meter, Recorded
from bucketboard.testing.faults import FaultKind, Headers, Injection, Reply
from bucketboard.testing.gateway import Gateway, Passage
from bucketboard.testing.operations import Request
from bucketboard.testing.stream import Disconnected, Link, Stream, damaged, end_to_end, pass_body, read_body

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
        self,
        request: Request,
        client: Stream,
        upstream: Upstream,
        link: Link,
        meter: Meter,
        gateway: Gateway | None = None,
    ) -> None:
        self.request = request
        self._client = client
        self._upstream = upstream
        self._link = link
        self._meter = meter
        self._passage = Passage(gateway, request) if gateway is not None else None
        self._status = NO_REPLY
        self._sent = self._received = 0
        self._length = int(request.headers.get("content-length", "0"))
        self._has_body = self._length != 0 or "transfer-encoding" in request.headers

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
        if decisive is None:
            return await self._forward(head, None)
        kind = decisive.fault.kind
        if kind is FaultKind.STATUS:
            return await self._reply(_error(decisive, self.request))
        if kind is FaultKind.STALE and self.request.target in decisive.replies:
            return await self._reply(decisive.replies[self.request.target])
        if kind is FaultKind.HANG:
            return await self._hang(decisive)
        if kind in (FaultKind.REFUSE, FaultKind.RESET):
            return Ending.CLOSE if kind is FaultKind.REFUSE else Ending.RESET
        return await self._forward(head, decisive)

    async def _forward(self, head: h11.Request, injection: Injection | None) -> Ending:
        kind = injection.fault.kind if injection else None
        server = await self._upstream.take()
        upload: asyncio.Task[None] | None = None
        try:
            headers, body = await self._outgoing(end_to_end(head.headers))
            server.queue(
                h11.Request(method=head.method, target=head.target, headers=headers, http_version=b"1.1")
            )
            damage = self._length // 2 if kind is FaultKind.CORRUPT_UPLOAD else None
            if body is not None:
                server.queue(h11.Data(data=body))
                server.queue(h11.EndOfMessage())
                await server.flush()
            elif self._has_body:
                upload = asyncio.create_task(self._upload(server, damage))
            else:
                await self._upload(server)
            response = await self._response(server)
            unwanted = self._client.http.they_are_waiting_for_100_continue
            changed = self._passage is not None and self._passage.changes_reply(response.status_code)
            if changed or kind in (FaultKind.MASK, FaultKind.STALE):
                await self._gathered(server, response, injection, close=unwanted)
            else:
                await self._streamed(server, response, kind, close=unwanted)
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

    async def _outgoing(self, headers: Headers) -> tuple[Headers, bytes | None]:
        """What is forwarded: the headers, and the body where a gateway changes it."""
        if self._passage is None:
            return headers, None
        body = None
        if self._passage.changes_body:
            await self._continue()
            body = await read_body(self._client, self._link, self._count_sent)
        return self._passage.outgoing(headers, body)

    def _incoming(self, response: h11.Response, body: bytes) -> Reply:
        """What is passed on; without *body*, its head."""
        reply = Reply(response.status_code, response.reason, end_to_end(response.headers), body)
        return reply if self._passage is None else self._passage.incoming(reply)

    async def _streamed(
        self, server: Stream, response: h11.Response, kind: FaultKind | None, *, close: bool
    ) -> None:
        reply = self._incoming(response, b"")
        if kind is FaultKind.LOST_REPLY:
            return await pass_body(server, None, self._link, lambda size: None)
        self._answer(reply, close=close)
        length = int(dict(response.headers).get(b"content-length", b"0"))
        await pass_body(
            server,
            self._client,
            self._link,
            self._count_received,
            limit=length // 2 if kind is FaultKind.TRUNCATE else None,
            damage=length // 2 if kind is FaultKind.CORRUPT else None,
        )

    async def _gathered(
        self, server: Stream, response: h11.Response, injection: Injection | None, *, close: bool
    ) -> None:
        """Pass on a reply that has to be known whole: it is changed, kept, or another one takes its place."""
        kind = injection.fault.kind if injection else None
        reply = self._incoming(response, await read_body(server, self._link, lambda size: None))
        if injection is not None and kind is FaultKind.STALE:
            injection.replies[self.request.target] = reply
        elif injection is not None and kind is FaultKind.MASK and reply.status < 300:
            reply = _error(injection, self.request)
        elif kind is FaultKind.CORRUPT:
            middle = len(reply.body) // 2
            reply = replace(reply, body=damaged(reply.body, middle))
        if kind is not FaultKind.LOST_REPLY:
            self._send(reply, close=close, cut=kind is FaultKind.TRUNCATE)

    async def _upload(self, server: Stream, damage: int | None = None) -> None:
        try:
            await pass_body(self._client, server, self._link, self._count_sent, damage=damage)
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

    def _answer(self, reply: Reply, *, close: bool) -> None:
        self._status = reply.status
        self._meter.reply(self.request.operation, reply.status)
        headers = [*reply.headers, (b"Connection", b"close")] if close else reply.headers
        self._client.queue(h11.Response(status_code=reply.status, headers=headers, reason=reply.reason))

    async def _reply(self, reply: Reply) -> Ending:
        unwanted = self._client.http.they_are_waiting_for_100_continue
        if not unwanted:
            await self._discard()
        self._send(reply, close=unwanted)
        return Ending.CLOSE if unwanted else Ending.KEEP

    def _send(self, reply: Reply, *, close: bool, cut: bool = False) -> None:
        self._answer(reply, close=close)
        body = reply.body[: len(reply.body) // 2] if cut else reply.body
        if body and self.request.method != "HEAD":
            self._count_received(len(body))
            self._client.queue(h11.Data(data=body))
        if not cut:
            self._client.queue(h11.EndOfMessage())

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


def _error(injection: Injection, request: Request) -> Reply:
    fault = injection.fault
    bodyless = request.method == "HEAD" or fault.status in (204, 304)
    document = b"" if bodyless else fault.document(request)
    headers = [(name.encode(), value.encode()) for name, value in fault.headers.items()]
    headers.append((b"Content-Type", b"application/xml"))
    if fault.status != 204:
        headers.append((b"Content-Length", str(len(document)).encode()))
    reason = responses.get(fault.status, "Injected")  # botocore takes no final status line without one
    return Reply(fault.status, reason.encode(), headers, document)
