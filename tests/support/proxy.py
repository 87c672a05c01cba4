"""A wire to a server that loses answers, or is cut, when a test says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gateway.adapters.redis.connection import RedisAddress


class Proxy:
    """Passes on what clients send, and what the server answers unless it is to be lost."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._left = 0
        self._word = b""
        self._passes = asyncio.Event()
        self._passes.set()
        self.lost = 0
        """Answers that were."""
        self.port = 0

    @property
    def address(self) -> RedisAddress:
        return RedisAddress("server", (("127.0.0.1", self.port),))

    def lose(self, count: int, word: bytes = b"EVAL") -> None:
        """The answers to the next so many requests with this word are lost, and their connections with them."""
        self._left, self._word = count, word

    def part(self) -> None:
        """From now on nothing gets through, either way; connections stay, and new ones are taken."""
        self._passes.clear()

    def join(self) -> None:
        """What was held up, and what comes, gets through."""
        self._passes.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        is_doomed = asyncio.Event()

        async def asked() -> None:
            while data := await reader.read(1 << 16):
                if self._left and self._word in data:
                    self._left -= 1
                    is_doomed.set()
                await self._passes.wait()
                back.write(data)
                await back.drain()

        async def answered() -> None:
            while data := await there.read(1 << 16):
                if is_doomed.is_set() and not data.startswith(b"-NOSCRIPT"):
                    self.lost += 1
                    return
                await self._passes.wait()
                writer.write(data)
                await writer.drain()

        with suppress(OSError):
            ends = [asyncio.ensure_future(asked()), asyncio.ensure_future(answered())]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for one in ends:
                one.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        for end in (writer, back):
            end.close()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """A proxy before the server on this port, in the loop of the test."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.05)
