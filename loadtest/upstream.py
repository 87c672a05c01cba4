"""An upstream for measuring: answers at once, with little work of its own. Run as `python -m loadtest.upstream`."""

import asyncio
import struct
import sys
import time
from typing import cast

import uvloop

SMALL = b"x" * 4096
LARGE = b"x" * (2 << 20)
EVENTS = (1 << 20, 1 << 20, 1 << 20, 2 << 20)
"""Sizes of a stream's events: three partials and a picture."""
PAUSE_S = 0.25
STAMP = struct.Struct("<d")
"""Each event begins with the time it was sent: a float64 of the machine's monotonic clock."""


class Upstream(asyncio.Protocol):
    """One connection. `/v1/models` is small, `/v1/files` large, anything else a stream of events."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.received = b""

    def data_received(self, data: bytes) -> None:
        """Answer each request; its body is short and comes with its head, or right behind it."""
        self.received += data
        head, found, rest = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(rest) < length:
            return
        self.received = rest[length:]
        if b"/models" in head:
            self._whole(SMALL)
        elif b"/files" in head:
            self._whole(LARGE)
        else:
            self.streaming = asyncio.get_running_loop().create_task(self._stream())

    def _whole(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)

    async def _stream(self) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for size in EVENTS:
            await asyncio.sleep(PAUSE_S)
            event = STAMP.pack(time.monotonic()) + bytes(size - STAMP.size)
            self.transport.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        self.transport.write(b"0\r\n\r\n")


async def main() -> None:
    """Listen on a free port and tell it."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
