"""
The task that owns one upstream read.

The read does not run in the client's task: a client that leaves must not decide how an upstream connection ends.
The task reads ahead of its passenger by `high_water_bytes` at most, so that back-pressure reaches the upstream.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.core.errors import UpstreamFailed
from gateway.core.headers import Header
from gateway.flow.tasks import spawn
from gateway.ports import Clock, UpstreamReply

HIGH_WATER_BYTES = 128 * 1024
"""Read ahead of the passenger at most: two socket reads. More costs memory for each slow client, less costs
wake-ups for each fast one."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of the upstream's answer."""

    status: int
    headers: Sequence[Header]
    waited_s: float
    """From the start of the fetch until the head was there."""


class Fetch:
    """
    One upstream read with one passenger.

    Args:
        open_reply: makes the call; runs in the fetch's own task.
        clock: for the duration.
        high_water_bytes: how far to read ahead.
    """

    def __init__(
        self,
        open_reply: Callable[[], Awaitable[UpstreamReply]],
        clock: Clock,
        *,
        high_water_bytes: int = HIGH_WATER_BYTES,
    ) -> None:
        self._open_reply = open_reply
        self._clock = clock
        self._high_water_bytes = high_water_bytes
        self._head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._ended = False
        self._failure: BaseException | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._task = spawn("fetch", self._run())

    async def head(self) -> Head:
        """
        The answer's head, as soon as it is there.

        Raises:
            UpstreamFailed: there was no answer.
        """
        return await asyncio.shield(self._head)

    async def chunks(self) -> AsyncIterator[bytes]:
        """
        The body, chunk by chunk as the upstream sent it.

        Raises:
            UpstreamFailed: it broke off.
        """
        while True:
            while self._held:
                chunk = self._held.popleft()
                self._held_bytes -= len(chunk)
                if self._held_bytes < self._high_water_bytes:
                    self._room.set()
                yield chunk
            if self._ended:
                break
            self._news.clear()
            await self._news.wait()
        if self._failure is not None:
            raise self._failure

    def leave(self) -> None:
        """The passenger needs nothing more: a read still under way is cancelled, its connection freed."""
        self._task.cancel()

    async def _run(self) -> None:
        started = self._clock.ticks()
        try:
            reply = await self._open_reply()
        except BaseException as error:
            self._fail_head(error)
            if isinstance(error, UpstreamFailed):
                return
            raise
        try:
            self._head.set_result(Head(reply.status, reply.headers, self._clock.ticks() - started))
            async for chunk in reply.chunks():
                self._held.append(chunk)
                self._held_bytes += len(chunk)
                self._news.set()
                while self._held_bytes >= self._high_water_bytes:
                    self._room.clear()
                    await self._room.wait()
        except UpstreamFailed as error:
            self._failure = error
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._ended = True
            self._news.set()
            await reply.aclose()

    def _fail_head(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            self._head.cancel()
        else:
            self._head.set_exception(error)
            self._head.exception()  # Seen: a passenger that has left will not come to fetch it.
