"""
How answers leave: what uvicorn's request cycle writes to in place of the transport.

uvicorn closes a connection with its last write, answers HTTP/1.0 in chunks, and fails on a status that no RFC knows
with nothing sent. Not here: when a connection ends (guard.py).
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

# What the upstream says passes; a client takes an unknown class for a server's error (RFC 9110 §15).
STATUS_LINE.update({status: b"HTTP/1.1 %d \r\n" % status for status in range(600, 1000)})


class Outlet(asyncio.Transport):
    """
    The transport as uvicorn's cycle sees it: it counts, and its close is an orderly end.

    Args:
        transport: the real one.
        end: ends the connection.
    """

    def __init__(self, transport: asyncio.Transport, end: Callable[[], None]) -> None:
        super().__init__()
        self._transport = transport
        self._end = end
        self._written = 0
        self.shut = False
        """What is written now is dropped."""

    @property
    def taken(self) -> int:
        """Bytes that have left for the client's side."""
        return self._written - self._transport.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, unless it is shut."""
        if not self.shut:
            self._written += len(data)
            self._transport.write(data)

    def close(self) -> None:
        """End the connection in good order."""
        self._end()

    def is_closing(self) -> bool:
        """Whether nothing more will be written."""
        return self.shut or self._transport.is_closing()


def is_old(cycle: RequestResponseCycle) -> bool:
    """Whether the request is HTTP/1.0: its answer knows no chunks."""
    return cycle.scope["http_version"] == "1.0"


def until_close(cycle: RequestResponseCycle, app: "ASGI3Application") -> "ASGI3Application":
    """HTTP/1.0 knows no chunks: an answer without a length lasts until the connection ends (RFC 9112 §6.1)."""

    async def run(scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        async def send_plain(message: "ASGISendEvent") -> None:
            if message["type"] == "http.response.start":
                if all(name.lower() != b"content-length" for name, _ in message.get("headers", ())):
                    cycle.chunked_encoding = False
                    await send(message)
                    cycle.expected_content_length = -1
                    return
            elif message["type"] == "http.response.body" and cycle.expected_content_length < 0:
                cycle.expected_content_length = len(message.get("body", b""))
                await send(message)
                if not cycle.response_complete:
                    cycle.expected_content_length = -1
                return
            await send(message)

        await app(scope, receive, send_plain)

    return run
