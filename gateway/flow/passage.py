"""
What the passengers of a flight get.

Rules of this file:
- The leader's own client gets what the upstream sends, and breaks where that does.
- A follower gets the same; how it ends is told by `core.flight.duty` once the flight has landed, and not before.

Not here: who comes aboard, and what a flight does with nobody aboard (flights.py).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Literal, assert_never

from gateway.core.errors import Failure, UpstreamFailed
from gateway.core.flight import Aloft, Cut, Duty, Failed, Flight, Follower, Landed, duty, failure_of
from gateway.flow.tape import Head, Tape
from gateway.ports import Clock


class Stranded(Exception):  # noqa: N818 - it is what happened, not a failure
    """
    A follower to whom nothing was sent gets nothing here.

    Args:
        duty: `ELECT`: look for an entry once more, then join again; `ALONE`: go up alone.
    """

    def __init__(self, duty: Literal[Duty.ELECT, Duty.ALONE]) -> None:
        super().__init__(duty.value)
        self.duty = duty


@dataclass(eq=False, slots=True)
class Cabin:
    """
    Where the passengers of one flight are.

    Args:
        tape: of its answer.
        filled: told when somebody comes aboard.
        emptied: told when the last one has left.
    """

    tape: Tape
    filled: Callable[[], None]
    emptied: Callable[[], None]
    state: Flight = field(default_factory=lambda: Aloft(inf))
    """Its lease is the port's affair: a leader that is taken for dead there has landed `Lost` here."""
    aboard: set["Passage"] = field(default_factory=set)


class Passage:
    """
    What one passenger gets. It leaves in the end, whatever happened.

    Args:
        cabin: of its flight.

    Raises:
        LeftBehind: the beginning is not there any more.
    """

    def __init__(self, cabin: Cabin) -> None:
        self._cabin = cabin
        self._cursor = cabin.tape.cursor()
        cabin.aboard.add(self)
        cabin.filled()

    async def head(self) -> Head:
        """
        The answer's head, as soon as it is there.

        Raises:
            UpstreamFailed: there was no answer.
        """
        return await self._cursor.head()

    def chunks(self) -> AsyncIterator[bytes]:
        """
        The body, from the first byte.

        Raises:
            UpstreamFailed: it broke off.
        """
        return self._cursor.chunks()

    @property
    def is_aboard(self) -> bool:
        """Whether it has not left yet."""
        return self in self._cabin.aboard

    def leave(self) -> None:
        """The passenger needs nothing more; more than once."""
        if self in self._cabin.aboard:
            self._cabin.aboard.discard(self)
            self._cursor.leave()
            if not self._cabin.aboard:
                self._cabin.emptied()


class Follow(Passage):
    """
    What a follower gets.

    Args:
        cabin: of its flight.
        clock: for its wait.
        has_sent: whether anything of an answer was sent to its client, be it the head.
        max_wait_s: seconds that it waits for its first byte.
    """

    def __init__(
        self, cabin: Cabin, clock: Clock, *, has_sent: Callable[[], bool], max_wait_s: float
    ) -> None:
        super().__init__(cabin)
        self._clock = clock
        self._has_sent = has_sent
        self._max_wait_s = max_wait_s
        self._since = clock.now()

    async def head(self) -> Head:
        """
        The answer's head, as soon as it is there.

        Raises:
            UpstreamFailed: the leader had no answer.
            Stranded: nothing comes from here.
        """
        tape = self._cabin.tape
        while self._goes_on() and tape.head is None:
            await self._news()
        assert tape.head is not None, "what can be finished has begun"  # noqa: S101 - for the type checker
        return tape.head

    async def chunks(self) -> AsyncIterator[bytes]:
        """
        The body, from the first byte. It ends when the flight has landed: only then it is known what was made of it.

        Raises:
            UpstreamFailed: it broke off for the leader.
            Stranded: nothing comes from here any more, and nothing was sent.
        """
        while True:
            piece = await self._cursor.take()
            if piece is not None:
                yield piece
            elif self._goes_on():
                await self._news()
            else:
                return

    def _goes_on(self) -> bool:
        """Whether there may be more. Raises what its duty is, if that is neither to go on nor to finish."""
        state = self._cabin.state
        follower = Follower(sent=self._has_sent(), since=self._since)
        found = duty(state, follower, now=self._clock.now(), max_wait_s=self._max_wait_s)
        match found:
            case Duty.GO_ON:
                return True
            case Duty.FINISH:
                return False
            case Duty.FAIL | Duty.CUT:
                raise _failure(state)
            case Duty.ELECT | Duty.ALONE:
                raise Stranded(found)
            case _:
                assert_never(found)

    async def _news(self) -> None:
        """Returns when something has come, or when it has waited for its first byte for too long."""
        news = self._cabin.tape.news()
        if self._has_sent():
            await news
            return
        left_s = self._since + self._max_wait_s - self._clock.now()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, left_s)):
                await news


def _failure(state: Flight) -> UpstreamFailed:
    if isinstance(state, Landed) and isinstance(state.landing, Failed | Cut):
        return failure_of(state.landing)
    # The leader is gone: what has gone up cannot be called back.
    return UpstreamFailed(Failure.BROKEN_OFF, phase="read", sent=True)
