"""
What a request costs while other streams are open, on either transport: `python -m loadtest.pools`.

The server is a process of its own; the figure is the CPU time of this one, per request of 4 KB over 32 connections
at once. A transport fit for streams shows the same figure in each column.
"""

import asyncio
import multiprocessing
import multiprocessing.connection
import resource
import sys
import time
from typing import cast

import uvloop
from rich.console import Console
from rich.table import Table

from gateway.adapters.transport import FastUpstream
from gateway.adapters.upstream import Httpx2Upstream
from gateway.core.credentials import Account
from gateway.ports import Timeouts, Upstream, UpstreamRequest

STREAMS = (0, 500, 2000)
AT_ONCE = 32
SECONDS = 2.0
ROUNDS = 3
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n"
)
_SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n" + b"x" * 4096


class Server(asyncio.Protocol):
    """`/v1/models` is small, anything else a stream that says nothing more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer; requests have no body, and come whole."""
        self.transport.write(_SMALL if b"/models" in data else _STREAM)


def serve(told: multiprocessing.connection.Connection) -> None:
    """Listen on a free port and tell it."""

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


def _asking(path: str) -> UpstreamRequest:
    return UpstreamRequest("GET", path, b"", ((b"accept", b"*/*"),), None, "default")


async def cost_us(upstream: Upstream, streams: int) -> float:
    """CPU microseconds of a request with so many streams open: the least of some rounds."""
    replies = [await upstream.open(_asking("/events")) for _ in range(streams)]
    for reply in replies:
        await anext(reply.chunks())
    costs = []
    for _ in range(ROUNDS):
        until, done, before = time.monotonic() + SECONDS, 0, time.process_time()

        async def work(until: float = until) -> int:
            count = 0
            while time.monotonic() < until:
                reply = await upstream.open(_asking("/models"))
                async for _ in reply.chunks():
                    pass
                await reply.aclose()
                count += 1
            return count

        done = sum(await asyncio.gather(*(work() for _ in range(AT_ONCE))))
        costs.append((time.process_time() - before) / done * 1e6)
    for reply in replies:
        await reply.aclose()
    await upstream.aclose()
    return min(costs)


def main() -> int:
    """Measure both transports and print the table."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    ours, theirs = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    table = Table("CPU µs a request", *(f"{streams} streams open" for streams in STREAMS))
    for name, transport in (("fast", FastUpstream), ("httpx2", Httpx2Upstream)):
        row = []
        for streams in STREAMS:
            upstream = transport(
                url,
                {"default": Account("sk-up")},
                timeouts=Timeouts(connect_s=20, read_s=300, pool_s=60),
                max_connections=4000,
            )
            row.append(f"{uvloop.run(cost_us(upstream, streams)):.0f}")
        table.add_row(name, *row)
    Console().print(table)
    server.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
