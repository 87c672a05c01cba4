"""
Asking a Redis for what a call can do without: within bounds, and not at all while it does not answer.

Decided here: how long an answer may take, how many ask at once, and when nobody asks. A server that refuses has answered.

Not here: what a failure means for whoever asked.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from redis.asyncio import RedisCluster
from redis.exceptions import ResponseError

from gateway.adapters.redis.connection import CONNECT_S, CONNECTIONS, RedisAddress, close, connect, told
from gateway.adapters.redis.scripts import Reply, Script, Value
from gateway.core.breaker import Breaker
from gateway.ports import StoreFailed

SMALL_S: Final = 0.5
"""What an answer of a few kilobytes may take. On one machine it takes a fifth of a millisecond."""
LARGE_S: Final = 2.0
"""Where a megabyte goes over the wire."""
QUEUE_S: Final = 2.0
"""What may be waited for a connection besides, where many ask at once."""


class Store:
    """
    One store, for one process.

    Args:
        address: of it.
        ticks: monotonic seconds, for the breaker. None: everybody asks, always.
        connections: that are open at once, to each server.
        patience: times as long may everything take.
    """

    def __init__(
        self,
        address: RedisAddress,
        ticks: Callable[[], float] | None = None,
        *,
        connections: int = CONNECTIONS,
        patience: float = 1.0,
    ) -> None:
        self.address = address
        self.client = connect(
            address,
            timeout_s=LARGE_S * patience,
            connect_timeout_s=CONNECT_S * patience,
            connections=connections,
        )
        self._patience = patience
        self._ticks = ticks
        self._breaker = Breaker()
        self._slots = asyncio.Semaphore(connections)
        self._introducing = asyncio.Lock()
        self._is_introduced = False

    @property
    def is_asked(self) -> bool:
        """False: it has not answered lately, and nobody asks who does not insist."""
        return self._ticks is None or self._breaker.lets_pass(self._ticks())

    async def run(
        self,
        script: Script,
        keys: tuple[str, ...],
        *arguments: Value,
        within_s: float = SMALL_S,
        insists: bool = False,
    ) -> Reply:
        """
        What a script answers, as `Script.run` has it.

        Args:
            script: of one act.
            keys: all in one slot.
            arguments: as the script's head says.
            within_s: seconds.
            insists: ask even if it did not answer lately.

        Raises:
            StoreFailed: it did not answer in time, or refused.
        """
        return await self._asked(lambda: script.run(self.client, keys, *arguments), within_s, insists=insists)

    async def ask(self, *command: Value, within_s: float = SMALL_S, insists: bool = False) -> Reply:
        """What a command answers. As `run`."""
        return await self._asked(lambda: self.client.execute_command(*command), within_s, insists=insists)

    async def scan(self, pattern: str, count: int) -> AsyncIterator[bytes]:
        """All keys of all servers that fit a pattern, about so many looked at in one act; some may come twice."""
        with told(self.address):
            async for key in self.client.scan_iter(match=pattern, count=count):
                yield key

    async def aclose(self) -> None:
        """Close every connection; who asks later opens new ones."""
        self._is_introduced = False
        await close(self.client)

    async def _asked(self, act: Callable[[], Awaitable[Reply]], within_s: float, *, insists: bool) -> Reply:
        # Who waits for a connection does not count against the server, and looks again when it has one: those before it
        # may have found that nobody answers.
        self._see_that_it_answers(insists=insists)
        with told(self.address):
            async with asyncio.timeout((within_s + QUEUE_S) * self._patience), self._slots:
                self._see_that_it_answers(insists=insists)
                return await self._answer(act, within_s)

    async def _answer(self, act: Callable[[], Awaitable[Reply]], within_s: float) -> Reply:
        now = 0.0 if self._ticks is None else self._ticks()
        self._breaker = self._breaker.asked(now)
        try:
            with told(self.address):
                await self._introduce()
                async with asyncio.timeout(within_s * self._patience):
                    answer = await act()
        except StoreFailed as failed:
            is_alive = isinstance(failed.__cause__, ResponseError)
            self._breaker = self._breaker.succeeded() if is_alive else self._breaker.failed(now)
            raise
        self._breaker = self._breaker.succeeded()
        return answer

    def _see_that_it_answers(self, *, insists: bool) -> None:
        if not insists and not self.is_asked:
            raise StoreFailed("it is not asked: it has not answered lately", unknown=False)

    async def _introduce(self) -> None:
        # Of the first commands of a cluster's client that come at once some are cut: it closes connections that others
        # have just taken, when it has learnt which servers there are (redis-py 8.1). So it learns that first.
        if self._is_introduced or not isinstance(self.client, RedisCluster):
            return
        async with asyncio.timeout(LARGE_S * self._patience), self._introducing:
            await self.client.initialize()
            self._is_introduced = True
