"""One HTTP/1.1 connection: h11's state machine over an asyncio stream."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

import h11

_CHUNK = 256 * 1024
_MAX_HEAD = 64 * 1024
_PER_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection"})

Body = Callable[[int], None]
"""Called with the number of body bytes that are about to be passed on."""


class Disconnected(Exception):
    """The other side went away in the middle of a message."""


class Stream:
    """Events in, events out. Output is queued until `flush`, so that a small message is one packet."""

    def __init__(
        self,
        role: type[h11.CLIENT] | type[h11.SERVER],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.http = h11.Connection(role, max_incomplete_event_size=_MAX_HEAD)
        self._reader = reader
        self._writer = writer
        self._queued: list[bytes] = []
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def _socket(self) -> Any:
        return self._writer.get_extra_info("socket")

    @property
    def usable(self) -> bool:
        """Whether the other side has not closed it."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    def ready(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event among what was received, without waiting."""
        try:
            return self.http.next_event()
        except h11.RemoteProtocolError as error:
            raise Disconnected(str(error)) from error

    async def fill(self) -> None:
        """Wait for more bytes, or the end."""
        try:
            self.http.receive_data(await self._reader.read(_CHUNK))
        except (OSError, RuntimeError) as error:  # h11 raises RuntimeError for a second end
            raise Disconnected(str(error)) from error

    async def receive(self) -> h11.Event | type[h11.PAUSED]:
        """The next event."""
        while (event := self.ready()) is h11.NEED_DATA:
            await self.fill()
        return event  # type: ignore[return-value]

    def queue(self, event: h11.Event) -> None:
        """Send at the next `flush`."""
        if data := self.http.send(event):
            self._queued.append(data)

    async def flush(self) -> None:
        """Send what is queued. That the other side is gone shows in reading, not here."""
        data, self._queued = b"".join(self._queued), []
        if data and not self._writer.is_closing():
            self._writer.write(data)
            with contextlib.suppress(OSError):
                await self._writer.drain()

    def close(self) -> None:
        """Close it in peace: what was flushed arrives."""
        self._writer.close()

    def reset(self) -> None:
        """Close it with RST; what was not yet delivered is lost."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class Link:
    """The line all bodies share; its attributes may be changed at any time."""

    def __init__(self, latency: float, bandwidth: float | None) -> None:
        self.latency = latency
        self.bandwidth = bandwidth
        self._free_at = 0.0

    async def travel(self) -> None:
        """Wait as long as a request is on its way."""
        if self.latency > 0:
            await asyncio.sleep(self.latency)

    async def carry(self, size: int) -> None:
        """Wait as long as *size* bytes keep the line busy, behind those that came earlier."""
        if self.bandwidth:
            now = asyncio.get_running_loop().time()
            self._free_at = max(now, self._free_at) + size / self.bandwidth
            await asyncio.sleep(self._free_at - now)


async def read_body(source: Stream, link: Link, count: Body) -> bytes:
    """A whole body."""
    pieces: list[bytes] = []
    while not isinstance(event := await source.receive(), h11.EndOfMessage):
        if not isinstance(event, h11.Data):
            raise Disconnected("the connection ended within a body")
        await link.carry(len(event.data))
        count(len(event.data))
        pieces.append(bytes(event.data))
    return b"".join(pieces)


async def pass_body(
    source: Stream,
    sink: Stream | None,
    link: Link,
    count: Body,
    limit: int | None = None,
    damage: int | None = None,
) -> None:
    """Pass a body on to *sink*, or drop it, at most *limit* bytes of it; the end is left unflushed.

    The byte at offset *damage* is passed on as another.
    """
    passed = 0
    while True:
        event = source.ready()
        if event is h11.NEED_DATA:
            if sink is not None:
                await sink.flush()
            await source.fill()
        elif isinstance(event, h11.Data):
            data = event.data if limit is None else event.data[: limit - passed]
            await link.carry(len(data))
            count(len(data))
            if damage is not None and passed <= damage < passed + len(data):
                data = damaged(data, damage - passed)
            if sink is not None:
                sink.queue(h11.Data(data=data))
            passed += len(data)
            if limit is not None and passed >= limit:
                return
        elif isinstance(event, h11.EndOfMessage):
            if sink is not None:
                sink.queue(event)
            return
        else:
            raise Disconnected("the connection ended within a body")


def damaged(data: bytes, at: int) -> bytes:
    """*data* with another byte at offset *at*, where it has one."""
    return bytes(data[:at]) + bytes(byte ^ 1 for byte in data[at : at + 1]) + bytes(data[at + 1 :])


def end_to_end(headers: h11._headers.Headers) -> list[tuple[bytes, bytes]]:
    """The headers, spelled as they came, without those that concern one connection only."""
    return [(name, value) for name, value in headers.raw_items() if name.lower() not in _PER_HOP]
