"""HTTP by hand, on both ends: a scripted upstream and a client that sees every byte."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

PATIENCE_S = 20.0
"""How long a test waits for what must come. Never a measurement: what comes, comes at once."""


@dataclass
class Request:
    """A request as it lay on the wire."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    raw_head: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known.lower() == name), None)


@dataclass
class Wire:
    """One connection, read and written by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int = 0

    async def read_request(self) -> Request:
        """The next request, its body by Content-Length or chunked."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        line, *fields = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = line.split(" ")
        headers = [(name, value.strip()) for name, _, value in (one.partition(":") for one in fields)]
        request = Request(method, target, headers, b"", head)
        request.body = await self._read_body(request)
        return request

    async def _read_body(self, request: Request) -> bytes:
        length = request.header("content-length")
        if length is not None:
            return await asyncio.wait_for(self.reader.readexactly(int(length)), PATIENCE_S)
        if request.header("transfer-encoding") is None:
            return b""
        body = b""
        while True:
            size = int((await asyncio.wait_for(self.reader.readline(), PATIENCE_S)).strip(), 16)
            body += (await asyncio.wait_for(self.reader.readexactly(size + 2), PATIENCE_S))[:-2]
            if size == 0:
                return body

    async def write(self, *pieces: bytes) -> None:
        self.writer.write(b"".join(pieces))
        await self.writer.drain()

    async def write_until_blocked(self, limit: int) -> int:
        """Bytes written before the other side stopped taking them; `limit` if it never did."""
        written = 0
        with contextlib.suppress(TimeoutError):
            while written < limit:
                self.writer.write(b"x" * (1 << 20))
                await asyncio.wait_for(self.writer.drain(), 0.5)
                written += 1 << 20
        return written

    async def read(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), PATIENCE_S)

    async def read_until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), PATIENCE_S)

    async def read_all(self) -> bytes:
        """Everything until the other side ends or cuts the connection."""
        received = b""
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.wait_for(self.reader.read(65_536), PATIENCE_S):
                received += piece
        return received

    async def wait_closed_by_peer(self) -> None:
        """Returns once the other side has closed; what it still sent is dropped."""
        await self.read_all()

    def pause(self) -> None:
        """Take nothing more off the socket."""
        # uvloop's transports are none of asyncio's classes.
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    def resume(self) -> None:
        """Take what comes again."""
        cast("asyncio.Transport", self.writer.transport).resume_reading()

    def end(self) -> None:
        """Send nothing more, from now on: no turn of the event loop lies between this and what follows."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as sock:
            sock.shutdown(socket.SHUT_WR)

    async def close(self) -> None:
        """An orderly end."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """A cut: RST, nothing flushed."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.writer.transport.abort()


@dataclass
class RawUpstream:
    """A server that does what the test says, connection by connection."""

    port: int
    scheme: str = "http"
    arrivals: asyncio.Queue[Wire] = field(default_factory=asyncio.Queue)
    connections: int = 0
    open: set[int] = field(default_factory=set)

    @property
    def base_url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/v1"

    async def accept(self) -> Wire:
        """The next connection, in the order they came."""
        return await asyncio.wait_for(self.arrivals.get(), PATIENCE_S)

    async def request(self) -> tuple[Wire, Request]:
        """The next connection and the request on it."""
        wire = await self.accept()
        return wire, await wire.read_request()


@asynccontextmanager
async def raw_upstream(tls: ssl.SSLContext | None = None) -> AsyncIterator[RawUpstream]:
    """A scripted server on a free loopback port."""
    wires: list[Wire] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.connections += 1
        wire = Wire(reader, writer, upstream.connections)
        wires.append(wire)
        await upstream.arrivals.put(wire)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls, limit=64 << 20)
    upstream = RawUpstream(server.sockets[0].getsockname()[1], "https" if tls else "http")
    try:
        yield upstream
    finally:
        server.close()
        for wire in wires:
            wire.writer.transport.abort()
        # One turn of the loop: aborted transports tell their protocols.
        await asyncio.sleep(0)


@asynccontextmanager
async def raw_client(port: int, host: str = "127.0.0.1") -> AsyncIterator[Wire]:
    """A connection to a server under test."""
    reader, writer = await asyncio.open_connection(host, port, limit=64 << 20)
    wire = Wire(reader, writer)
    try:
        yield wire
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


def request_bytes(
    method: str, target: str, body: bytes = b"", *, key: str | None = "sk-test", headers: tuple[str, ...] = ()
) -> bytes:
    """A request as a client writes it; JSON unless the headers say otherwise."""
    lines = [f"{method} {target} HTTP/1.1", "Host: gateway"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body and not any(line.lower().startswith("content-type") for line in headers):
        lines.append("Content-Type: application/json")
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body
