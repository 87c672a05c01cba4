"""
A follower's end of a flight: it reads a stream from the first entry on, and waits in the server for what comes.

Rules of this file:
- Entries have numbers without gaps: where one is missing, or the stream is not there, the flight is `Lost`. So nobody is
  given an answer with a hole, whatever the server has given up.
- A server that does not answer is asked three times, each time within seconds.
- A landing that is told by the row and not by the stream is worth something to those only who have all of the body.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

from gateway.adapters.redis.flight_tower import Told, Tower
from gateway.core.flight import Landed, Landing, Lost
from gateway.core.tidings import head_loads, landing_loads
from gateway.flow.tasks import spawn
from gateway.ports import Began, StoreFailed

TRIES: Final = 3
"""In a row that may fail."""
PAUSE_S: Final = 0.3
"""Between two of them: a connection may have been cut, and the server be there."""


class RedisFollow:
    """
    The `FollowedFlight` port.

    Args:
        tower: where it is told.
        name: of the flight.
        token: of its leader.
        follower: this follower's name.
        left: told when it has left.
    """

    def __init__(
        self,
        tower: Tower,
        name: str,
        token: str,
        follower: str,
        *,
        left: "Callable[[RedisFollow], None]",
    ) -> None:
        self._tower = tower
        self._name = name
        self._token = token
        self._follower = follower
        self._left = left
        self._has_left = False
        self._reading: asyncio.Task[object] | None = None
        self._number = 0
        """Of the last entry that was read."""
        self._size = 0
        """Bytes of the body that were read."""
        self._some: tuple[Told, ...] = ()
        self._landing: Landing | None = None

    async def news(self) -> AsyncIterator[Began | bytes | Landing]:
        """What has come and what comes, until it has landed."""
        try:
            while not self._has_left and self._landing is None:
                # In a task of its own, so that leaving ends it.
                self._reading = spawn("follow", self._read())
                await asyncio.wait([self._reading])
                if self._reading.cancelled() or self._reading.exception() is not None:
                    break
                for one in self._some:
                    news = self._understood(one)
                    if not isinstance(news, Began | bytes):
                        self._landing = news
                        break
                    yield news
            yield Lost() if self._landing is None else self._landing
        finally:
            if self._reading is not None:
                self._reading.cancel()

    async def leave(self) -> None:
        """Follow no more."""
        if self._has_left:
            return
        self._has_left = True
        self._left(self)
        if self._reading is not None:
            self._reading.cancel()
        with suppress(StoreFailed):  # Its lease ends.
            await self._tower.leave(self._name, self._token, self._follower)

    async def renew(self) -> None:
        """This process lives. Never raises."""
        with suppress(StoreFailed):
            await self._tower.stay(self._name, self._token, self._follower)

    async def _read(self) -> None:
        """Find what was told next, or how it landed."""
        self._some = ()
        landing: Landing | None = None
        failures = 0
        while not self._some:
            try:
                # Its leader may have said its last just before it ended: read once more then.
                is_sure = landing is not None
                self._some = await self._tower.told(
                    self._name, self._token, self._number, waits=not is_sure and not failures
                )
                if not self._some and is_sure:
                    self._landing = landing
                    return
                if not self._some:
                    landing = await self._look()
                failures = 0
            except StoreFailed:
                failures += 1
                if failures == TRIES:
                    self._landing = Lost()
                    return
                await asyncio.sleep(PAUSE_S)

    async def _look(self) -> Landing | None:
        """How it ended, as far as the row says; None: it is aloft."""
        row = await self._tower.look(self._name)
        if row.token != self._token:
            return Lost()
        flight = row.flight
        if not isinstance(flight, Landed):
            return None
        return flight.landing if row.size is None or row.size == self._size else Lost()

    def _understood(self, one: Told) -> Began | bytes | Landing:
        number, kind, content = one
        if kind == "end":
            return landing_loads(content)
        if number != self._number + 1:
            return Lost()
        self._number = number
        if kind == "head":
            try:
                return Began(*head_loads(content))
            except ValueError:  # another version's
                return Lost()
        self._size += len(content)
        return content
