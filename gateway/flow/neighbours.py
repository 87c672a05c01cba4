"""
The other processes, as far as flights go: who leads, what a leader tells, what a follower is told.

A port that fails, or takes too long, is as if there were no other processes: calls are shared less, and none fails.

Not here: the flights of this process (flights.py).
"""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from gateway.core.breaker import Breaker
from gateway.core.flight import Entrance, Landing, Lost
from gateway.flow.tape import BLOCK_BYTES, Head, Tape
from gateway.ports import Began, Clock, Flights, FollowedFlight, Follows, LeadingFlight, Leads, StoreFailed

BOARD_S: Final = 1.0
"""What the port has to say who leads. A call takes seconds, so that is worth waiting for, and more is not."""

Boarded: TypeAlias = Leads | Follows | Literal[Entrance.LOOK_AGAIN, Entrance.ALONE]

_log = logging.getLogger("imagegate.flights")


@dataclass(slots=True)
class Neighbours:
    """
    The processes beside this one.

    Args:
        flights: theirs; None: there are none.
        clock: for the breaker.
        hit_for_miss_s: see `core.flight.enter`.
    """

    flights: Flights | None
    clock: Clock
    hit_for_miss_s: float
    _breaker: Breaker = field(default_factory=Breaker)

    async def board(self, name: str, looked_at: float) -> Boarded | None:
        """As `ports.Flights.board`; None: this process is for itself."""
        if self.flights is None or not self._breaker.lets_pass(self.clock.ticks()):
            return None
        self._breaker = self._breaker.asked(self.clock.ticks())
        try:
            async with asyncio.timeout(BOARD_S):
                found = await self.flights.board(
                    name, looked_at=looked_at, hit_for_miss_s=self.hit_for_miss_s
                )
        except TimeoutError:
            self._failed(f"no answer in {BOARD_S:g} s")
            return None
        except StoreFailed as failed:
            self._failed(str(failed))
            return None
        self._breaker = self._breaker.succeeded()
        return found

    async def beat(self) -> None:
        """This process lives."""
        if self.flights is not None:
            await self.flights.beat()

    async def aclose(self) -> None:
        """Nothing is led here any more."""
        if self.flights is not None:
            await self.flights.aclose()

    def _failed(self, reason: str) -> None:
        if not self._breaker.failures:
            _log.warning("calls are not shared with other processes: %s", reason)
        self._breaker = self._breaker.failed(self.clock.ticks())


async def publish(tape: Tape, leading: LeadingFlight) -> bool:
    """
    Tell what comes until it has ended, at a pace that holds up nobody who is aboard here.

    Returns:
        False: it could not be told; the flight is to be released.
    """
    cursor = tape.cursor(is_passenger=False)
    try:
        while tape.head is None and not tape.has_ended:
            await tape.news()
        if tape.head is not None:
            await leading.began(tape.head.status, tape.head.headers)
        while True:
            pieces, size = [], 0
            while size < BLOCK_BYTES and (piece := await cursor.take()) is not None:
                pieces.append(piece)
                size += len(piece)
            if pieces:
                await leading.write(b"".join(pieces))
            elif tape.has_ended:
                return True
            else:
                await tape.news()
    except Exception as error:  # noqa: BLE001 - whatever it is, those who are aboard here must not notice
        _log.warning("a flight is not shared any more: %s: %s", type(error).__name__, error)
        return False
    finally:
        cursor.leave()


async def announce(leading: LeadingFlight, landing: Landing) -> None:
    """Tell how it landed."""
    try:
        if not await leading.land(landing):
            _log.warning(
                "a flight was not its leader's any more when it landed: its lease was over, or what was known of it is gone"
            )
    except StoreFailed as failed:
        _log.warning("a landing was not told to other processes: %s", failed)
        await leading.release()


async def is_followed(leading: LeadingFlight | None) -> bool:
    """Whether another process follows, as far as can be known."""
    try:
        return leading is not None and await leading.followed()
    except StoreFailed:
        return False


async def still_leads(leading: LeadingFlight | None) -> bool:
    """Whether no other process leads instead, as far as can be known."""
    try:
        return leading is None or await leading.leads()
    except StoreFailed:
        return True


async def tail(tape: Tape, following: FollowedFlight, clock: Clock) -> Landing:
    """Put on a tape what another process tells, as fast as the fastest passenger takes it; how it landed."""
    since = clock.ticks()
    async for one in following.news():
        match one:
            case Began(status, headers):
                tape.begin(Head(status, headers, clock.ticks() - since))
            case bytes():
                tape.append(one)
                await tape.room()
            case _:
                return one
    return Lost()
