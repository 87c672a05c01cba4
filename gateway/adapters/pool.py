"""
The connections to one origin: who gets which, and who waits.

A slot stands for a connection: it is free, or held by a call that has one or opens one, or by an idle connection.
`free + held + idle = size` at every moment, whoever is cancelled, and whatever a call costs does not depend on
how many others there are.

The newest idle connection goes first: the server is least likely to have closed it, and the rest can expire. Calls
that find no slot wait in line; what is given back goes to the first of them and never past it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from gateway.adapters.connection import Connection
from gateway.core.errors import Failure, UpstreamFailed

Watch = Callable[[Connection], None]


class Pool:
    """
    Connections, at most `size` at a time.

    Args:
        connect: opens one, which tells the two watchers that it has died, and that its socket is gone.
        size: slots.
        patience_s: how long a call waits for a slot.
        idle_s: how long an idle connection is kept.
    """

    def __init__(
        self,
        connect: Callable[[Watch, Watch], Awaitable[Connection]],
        *,
        size: int,
        patience_s: float,
        idle_s: float,
    ) -> None:
        self._connect = connect
        self._patience_s = patience_s
        self._idle_s = idle_s
        self._free = size
        self._idle: OrderedDict[Connection, float] = OrderedDict()
        """With the time since when; oldest first."""
        self._waiting: OrderedDict[asyncio.Future[Connection | None], None] = OrderedDict()
        """They are handed a slot, with an idle connection or without."""
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    async def take(self) -> Connection:
        """
        A connection, nothing under way on it. To be given back.

        Raises:
            UpstreamFailed: none was free in time, or none could be opened. Nothing was sent.
        """
        self._check_open()
        while self._idle:
            connection, _ = self._idle.popitem()
            if not connection.stirs():
                return connection
            connection.abort()
            self._free += 1
        if self._free:
            self._free -= 1
        elif (handed := await self._stand_in_line()) is not None:
            if not handed.dead and not handed.stirs():
                return handed
            handed.abort()
        try:
            connection = await self._connect(self._forget_idle, self._forget)
        except BaseException:
            self._hand_on(None)
            raise
        if not connection.gone:
            self._open.add(connection)
        if self._closed:
            self.give(connection)
        self._check_open()
        return connection

    def give(self, connection: Connection) -> None:
        """Take a connection back: kept if its exchange is over and it can carry another, closed if not."""
        if connection.finish() and not self._closed:
            self._hand_on(connection)
        else:
            connection.abort()
            self._hand_on(None)

    async def aclose(self) -> None:
        """Close every connection, idle or in use, and turn away whoever waits."""
        self._closed = True
        while self._waiting:
            turn, _ = self._waiting.popitem(last=False)
            if not turn.done():
                turn.set_exception(UpstreamFailed(Failure.UNREACHABLE, phase="pool", sent=False))
        for connection in list(self._open):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._open:
            self._emptied = self._emptied or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._emptied)

    def _check_open(self) -> None:
        if self._closed:
            raise UpstreamFailed(Failure.UNREACHABLE, phase="pool", sent=False)

    async def _stand_in_line(self) -> Connection | None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Connection | None] = loop.create_future()
        self._waiting[turn] = None
        patience = loop.call_later(self._patience_s, self._turn_away, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            self._waiting.pop(turn, None)
            # Cancelled after its turn had come: what it was handed goes to the next.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._hand_on(turn.result())
            raise
        finally:
            patience.cancel()

    def _turn_away(self, turn: asyncio.Future[Connection | None]) -> None:
        self._waiting.pop(turn, None)
        if not turn.done():
            turn.set_exception(UpstreamFailed(Failure.SATURATED, phase="pool", sent=False))

    def _hand_on(self, connection: Connection | None) -> None:
        """A slot becomes free, with an idle connection or without."""
        while self._waiting:
            turn, _ = self._waiting.popitem(last=False)
            if not turn.done():
                turn.set_result(connection)
                return
        if connection is None or connection.dead:
            self._free += 1
            return
        loop = asyncio.get_running_loop()
        self._idle[connection] = loop.time()
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._idle_s, self._sweep)

    def _sweep(self) -> None:
        """Close what has idled long enough; look again when the next one will have."""
        loop = asyncio.get_running_loop()
        self._sweeper = None
        while self._idle:
            connection, since = next(iter(self._idle.items()))
            rest_s = since + self._idle_s - loop.time()
            if rest_s > 0.001:  # noqa: PLR2004 - clocks of loops tick in milliseconds
                self._sweeper = loop.call_later(rest_s, self._sweep)
                return
            connection.abort()

    def _forget_idle(self, connection: Connection) -> None:
        """A connection has died. If it was idle, its slot is free; if it is in use, its call gives it back."""
        if self._idle.pop(connection, None) is not None:
            self._free += 1

    def _forget(self, connection: Connection) -> None:
        """A connection's socket is gone."""
        self._open.discard(connection)
        if not self._open and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)
