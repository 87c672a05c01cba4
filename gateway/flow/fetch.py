"""
The task that owns one upstream read.

The read does not run in the client's task: a client that leaves must not decide how an upstream connection ends. What
it reads goes on a tape (tape.py), from which its passengers take it. `Fetch` is a read with one passenger, of which
nothing is kept; reads that several look at, or whose answers are kept, are flights (flights.py).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from gateway.core.errors import UpstreamFailed
from gateway.flow.tape import HIGH_WATER_BYTES, Head, Tape
from gateway.flow.tasks import spawn
from gateway.ports import Clock, UpstreamReply

__all__ = ["HIGH_WATER_BYTES", "Fetch", "Head", "read"]

OpenReply = Callable[[], Awaitable[UpstreamReply]]


class Fetch:
    """
    One upstream read with one passenger.

    Args:
        open_reply: makes the call; runs in the fetch's own task.
        clock: for the duration.
        high_water_bytes: how far to read ahead.
    """

    def __init__(
        self, open_reply: OpenReply, clock: Clock, *, high_water_bytes: int = HIGH_WATER_BYTES
    ) -> None:
        tape = Tape(keep=False, high_water_bytes=high_water_bytes)
        self._cursor = tape.cursor()
        self._task = spawn("fetch", read(open_reply, clock, tape))

    async def head(self) -> Head:
        """
        The answer's head, as soon as it is there.

        Raises:
            UpstreamFailed: there was no answer.
        """
        return await self._cursor.head()

    def chunks(self) -> AsyncIterator[bytes]:
        """
        The body, chunk by chunk as the upstream sent it.

        Raises:
            UpstreamFailed: it broke off.
        """
        return self._cursor.chunks()

    def leave(self) -> None:
        """The passenger needs nothing more: a read still under way is cancelled, its connection freed."""
        self._task.cancel()


async def read(
    open_reply: OpenReply,
    clock: Clock,
    tape: Tape,
    *,
    came: Callable[[Head], None] = lambda _: None,
    saw: Callable[[bytes], None] | None = None,
) -> None:
    """
    Read one upstream answer onto a tape. To be run in a task of its own; cancelled, it frees the connection.

    The tape ends in any case: cleanly, or with what was raised.

    Args:
        open_reply: makes the call.
        clock: for the duration.
        tape: takes the answer.
        came: told of the head, before any passenger.
        saw: told of every chunk, once, in order, after the passengers that waited for it, and before the end.

    Raises:
        Exception: what is neither the upstream's doing nor a cancellation; the passengers are told, too.
    """
    started = clock.ticks()
    try:
        reply = await open_reply()
    except UpstreamFailed as error:
        tape.fail(error)
        return
    except BaseException as error:
        tape.fail(error)
        raise
    try:
        head = Head(reply.status, reply.headers, clock.ticks() - started)
        came(head)
        tape.begin(head)
        async for chunk in reply.chunks():
            tape.append(chunk)
            if saw is None:
                await tape.room()
            else:
                await _look(chunk, saw, tape)
    except UpstreamFailed as error:
        tape.fail(error)
    except BaseException as error:
        tape.fail(error)
        raise
    else:
        tape.end()
    finally:
        await reply.aclose()


async def _look(chunk: bytes, saw: Callable[[bytes], None], tape: Tape) -> None:
    try:
        # Bytes first: whoever waits for them runs now.
        await asyncio.sleep(0)
    finally:
        # Looked at even if the read is cut just now: it has come, and may tell what the call cost.
        saw(chunk)
    await tape.room()
