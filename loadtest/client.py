"""A client for measuring, on bare sockets."""

import asyncio
import time
from dataclasses import dataclass

from loadtest.upstream import EVENTS, STAMP

_GET = "GET /v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-bench\r\n\r\n"
_BODY = b'{"model":"gpt-image-2","prompt":"x","stream":true}'
_POST = (
    "POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-bench\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n\r\n"
).encode() + _BODY


@dataclass
class Connection:
    """A keep-alive connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to a server on loopback."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=8 << 20))

    async def get(self, path: str) -> None:
        """One plain request, read to its end."""
        self.writer.write(_GET.format(path=path).encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode("latin-1"))
        lowered = head.lower()
        length = int(lowered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await self.reader.readexactly(length)

    async def stream(self) -> list[float]:
        """One stream; the lag of each event in seconds: from the upstream's sending to our last byte of it."""
        self.writer.write(_POST)
        await self.reader.readuntil(b"\r\n\r\n")
        lags = []
        held = bytearray()
        for size in EVENTS:
            while len(held) < size:
                length = int(await self.reader.readline(), 16)
                held += (await self.reader.readexactly(length + 2))[:-2]
            lags.append(time.monotonic() - STAMP.unpack_from(held)[0])
            del held[:size]
        while await self.reader.readline() != b"0\r\n":
            pass
        await self.reader.readline()
        return lags


async def latencies(port: int, path: str, count: int) -> list[float]:
    """Seconds of each of `count` requests, one after the other."""
    connection = await Connection.open(port)
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        await connection.get(path)
        taken.append(time.perf_counter() - start)
    connection.writer.close()
    return taken


async def throughput(port: int, path: str, connections: int, seconds: float) -> tuple[int, float]:
    """Requests done and seconds taken over some connections at once."""
    start = time.perf_counter()
    done = 0

    async def work() -> None:
        nonlocal done
        connection = await Connection.open(port)
        while time.perf_counter() - start < seconds:
            await connection.get(path)
            done += 1
        connection.writer.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return done, time.perf_counter() - start


async def lags(port: int, streams: int, rounds: int) -> list[float]:
    """The lags of all events of some streams at once."""

    async def work() -> list[float]:
        connection = await Connection.open(port)
        seen = [lag for _ in range(rounds) for lag in await connection.stream()]
        connection.writer.close()
        return seen

    return [lag for seen in await asyncio.gather(*(work() for _ in range(streams))) for lag in seen]
