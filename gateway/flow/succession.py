"""
One pipeline follows another, while requests are under way.

A request is answered to its end by the pipeline that it began with, whatever is configured meanwhile; the next one gets
the newest. What carries no configuration outlives them all, and is shared: the ledger, the cache, the flights.

Connections to an upstream that is configured no more are closed when the last call on them has ended.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from gateway.core.headers import Header
from gateway.flow.exchange import Arrival, Client
from gateway.flow.tasks import spawn
from gateway.ports import Upstream, UpstreamReply, UpstreamRequest

LOOK_S: Final = 1.0
"""Between two looks whether an upstream is still in use."""
QUIET_LOOKS: Final = 2
"""
In a row, until it is closed. A call may be on its way from the request that wanted it to the task that makes it: for a
step of the loop nobody uses the upstream then.
"""


class Tenure:
    """
    The `Upstream` port over one that can be retired: it is closed once nobody uses it any more.

    Args:
        upstream: it.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._users = 0
        self._retiring: asyncio.Task[object] | None = None

    async def open(self, request: UpstreamRequest) -> UpstreamReply:
        """As the port says."""
        self._users += 1
        try:
            reply = await self._upstream.open(request)
        except BaseException:
            self._users -= 1
            raise
        return _Reply(reply, self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While inside, it is in use."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    def leave(self) -> None:
        """One reply is read to its end."""
        self._users -= 1

    def retire(self, closed: Callable[[], None]) -> None:
        """
        No new requests come. To be said once.

        Args:
            closed: is told when it is closed.
        """
        self._retiring = spawn("retire an upstream", self._wind_up())
        self._retiring.add_done_callback(lambda _: closed())

    async def _wind_up(self) -> None:
        quiet = 0
        while quiet < QUIET_LOOKS:
            await asyncio.sleep(LOOK_S)
            quiet = 0 if self._users else quiet + 1
        await self._upstream.aclose()

    async def aclose(self) -> None:
        """Close every connection, in use or not."""
        if self._retiring is not None:
            self._retiring.cancel()
        await self._upstream.aclose()


class _Reply:
    """The `UpstreamReply` port over one of an upstream in its tenure."""

    def __init__(self, reply: UpstreamReply, tenure: Tenure) -> None:
        self._reply = reply
        self._tenure: Tenure | None = tenure

    @property
    def status(self) -> int:
        return self._reply.status

    @property
    def headers(self) -> Sequence[Header]:
        return self._reply.headers

    def chunks(self) -> AsyncIterator[bytes]:
        return self._reply.chunks()

    async def aclose(self) -> None:
        tenure, self._tenure = self._tenure, None
        try:
            await self._reply.aclose()
        finally:
            if tenure is not None:
                tenure.leave()


class Serving(Protocol):
    """Who answers requests."""

    async def serve(self, arrival: Arrival, client: Client) -> None:
        """Answer one, whatever happens."""
        ...


class Succession:
    """
    Who answers: the newest, what comes; an older one, what it has begun.

    Args:
        first: answers to begin with.
        upstream: its upstream.
    """

    def __init__(self, first: Serving, upstream: Tenure) -> None:
        self._newest = first
        self._upstream = upstream
        self._retired: set[Tenure] = set()

    async def serve(self, arrival: Arrival, client: Client) -> None:
        """Answer one request, whatever happens."""
        newest = self._newest
        with self._upstream.held():
            await newest.serve(arrival, client)

    def take_over(self, newest: Serving, upstream: Tenure) -> None:
        """
        From the next request on.

        Args:
            newest: answers.
            upstream: its upstream: the one there was, or another one.
        """
        if upstream is not self._upstream:
            old = self._upstream
            self._retired.add(old)
            old.retire(lambda: self._retired.discard(old))
        self._newest, self._upstream = newest, upstream

    async def aclose(self) -> None:
        """Close every connection to every upstream there was."""
        for upstream in (*tuple(self._retired), self._upstream):
            await upstream.aclose()
