"""
The `Flights` port over Redis or Valkey: for gateways on any number of machines.

Who leads is a hash, what a leader receives a stream (lua/flight.lua); both are this flight's alone and lie in one slot.
What follows from what is found is said by `core.flight.enter`; the scripts only see to it that what was found still holds.

Rules of this file:
- A token is the name of this process and a number: nobody had it before, whatever the server has forgotten meanwhile. Each
  word of a leader goes with it: who was taken for dead is told so, and tells nobody anything.
- Instants are the server's. What a caller says by its own clock is taken as so long ago.
- Whoever follows waits in the server, for a second at a time, on a connection of its own.

Not here: what a leader and a follower do (flight_lead.py, flight_follow.py).
"""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Final, Literal

from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.flight_follow import RedisFollow
from gateway.adapters.redis.flight_lead import RedisLead
from gateway.adapters.redis.flight_tower import Row, Tower
from gateway.core.flight import Entrance, enter
from gateway.flow.tasks import spawn
from gateway.ports import Clock, Follows, Leads, StoreFailed

PREFIX: Final = "imagegate:"
_TRIES: Final = 5
"""To come in, while others come and go; each costs a round trip or two."""


class RedisFlights:
    """
    The flights of all gateways that share a Redis.

    Args:
        address: of it.
        clock: of this machine.
        told_time: tests tell the time, epoch seconds; None: the server's own.
        most_bytes: of one flight that are told; of a larger one newcomers find no beginning.
        prefix: of all keys.
        patience: times as long as `store` says may everything take: for tests on busy machines.
    """

    def __init__(
        self,
        address: RedisAddress,
        clock: Clock,
        *,
        told_time: Callable[[], float] | None = None,
        most_bytes: int = 64 << 20,
        prefix: str = PREFIX,
        patience: float = 1.0,
    ) -> None:
        self._clock = clock
        self._tower = Tower(
            address, told_time=told_time, most_bytes=most_bytes, prefix=prefix, patience=patience
        )
        self._worker = uuid.uuid4().hex
        self._numbers = count()
        self._led: dict[str, RedisLead] = {}
        self._followed: set[RedisFollow] = set()
        self._doubtful: dict[str, str] = {}
        """Token -> name, of flights that may be led here though nobody here leads them: the server did not say."""

    async def board(
        self, name: str, *, looked_at: float, hit_for_miss_s: float
    ) -> Leads | Follows | Literal[Entrance.LOOK_AGAIN, Entrance.ALONE]:
        """Lead, follow, look again, or go alone."""
        boarding = _Boarding(name, f"{self._worker}-{next(self._numbers)}", hit_for_miss_s)
        coming = spawn("board", self._come(boarding, looked_at))
        try:
            await asyncio.wait([coming])
        except asyncio.CancelledError:
            spawn("board no more", self._disembark(boarding, coming))
            raise
        return boarding.joined()

    async def beat(self) -> None:
        """Renew the leases of all that is led and followed here. What is over goes by itself."""
        flights: tuple[RedisLead | RedisFollow, ...] = (*self._led.values(), *self._followed)
        await asyncio.gather(*(one.renew() for one in flights), self._clear_up())

    async def ping(self) -> None:
        """Returns if a server answers."""
        await self._tower.ping()

    async def aclose(self) -> None:
        """Release what is led."""
        await asyncio.gather(*(lead.release() for lead in tuple(self._led.values())))
        await self._tower.aclose()

    async def _come(self, boarding: "_Boarding", looked_at: float) -> None:
        try:
            await self._try(boarding, looked_at)
        except StoreFailed as failed:
            boarding.failed = failed
            if failed.unknown:
                self._doubtful[boarding.token] = boarding.name

    async def _try(self, boarding: "_Boarding", looked_at: float) -> None:
        name, token = boarding.name, boarding.token
        seen = ""
        for _ in range(_TRIES):
            row = await self._tower.lead(name, token, self._worker, seen)
            if row.token == token:
                boarding.lead = RedisLead(
                    self._tower,
                    name,
                    token,
                    self._worker,
                    boarding.hit_for_miss_s,
                    over=self._is_over,
                    doubt=self._doubtful.__setitem__,
                )
                self._led[token] = boarding.lead
                return
            # By the server's clock it had looked somewhat later than this: to look again for nothing costs little.
            looked = row.now - (self._clock.now() - looked_at)
            how = enter(row.flight, now=row.now, looked_at=looked, hit_for_miss_s=boarding.hit_for_miss_s)
            if how is Entrance.LEAD:
                seen = row.seen
            elif how is not Entrance.FOLLOW:
                boarding.entrance = how
                return
            elif await self._follow(boarding, row):
                return
            else:
                seen = ""

    async def _follow(self, boarding: "_Boarding", row: Row) -> bool:
        """Whether it is known now how it comes in."""
        found = await self._tower.follow(boarding.name, row.token, boarding.token)
        if found > 0:
            boarding.follow = RedisFollow(
                self._tower, boarding.name, row.token, boarding.token, left=self._followed.discard
            )
            self._followed.add(boarding.follow)
        return found != 0

    def _is_over(self, token: str) -> None:
        self._led.pop(token, None)

    async def _clear_up(self) -> None:
        """Others would wait for them until their lease is over."""
        with suppress(StoreFailed):
            for token, name in tuple(self._doubtful.items()):
                await self._tower.release(name, token)
                self._doubtful.pop(token, None)

    async def _disembark(self, boarding: "_Boarding", coming: asyncio.Task[object]) -> None:
        await asyncio.wait([coming])
        if boarding.lead is not None:
            await boarding.lead.release()
        if boarding.follow is not None:
            await boarding.follow.leave()


@dataclass(slots=True)
class _Boarding:
    """Somebody who comes in, and what it gets; by default the advice to go alone."""

    name: str
    token: str
    """If it leads; by this name it follows, too."""
    hit_for_miss_s: float
    failed: StoreFailed | None = None
    lead: RedisLead | None = None
    follow: RedisFollow | None = None
    entrance: Literal[Entrance.LOOK_AGAIN, Entrance.ALONE] = Entrance.ALONE

    def joined(self) -> Leads | Follows | Literal[Entrance.LOOK_AGAIN, Entrance.ALONE]:
        if self.failed is not None:
            raise self.failed
        if self.lead is not None:
            return Leads(self.lead)
        return self.entrance if self.follow is None else Follows(self.follow)
