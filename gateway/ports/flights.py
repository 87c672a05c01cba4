"""Identical calls in the air, among several processes."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.core.flight import Entrance, Landing
from gateway.core.headers import Header


@dataclass(frozen=True, slots=True)
class Began:
    """The head of an answer that somebody else receives."""

    status: int
    headers: tuple[Header, ...]


class LeadingFlight(Protocol):
    """
    A flight that this process leads, as others are told of it.

    One call at a time, but for `leads` and `followed`. It ends by `land` or `release`, after which neither does anything.

    Raises (all but `release`):
        StoreFailed: nobody else is told any more. To be released then.
    """

    async def began(self, status: int, headers: Sequence[Header]) -> None:
        """The head has come. Once, first."""
        ...

    async def write(self, piece: bytes) -> None:
        """The next bytes have come."""
        ...

    async def leads(self) -> bool:
        """Whether it is still this process that leads: it has not been taken for dead."""
        ...

    async def followed(self) -> bool:
        """Whether another process follows that lives."""
        ...

    async def land(self, landing: Landing) -> bool:
        """
        It has ended so, and what is kept of it was committed. Repeatable.

        Returns:
            False: nobody is told. This process was taken for dead, and somebody else may lead.
        """
        ...

    async def release(self) -> None:
        """It is led no more: whoever follows finds it `Lost`. At any time, more than once; never raises."""
        ...


class FollowedFlight(Protocol):
    """A flight that another process leads."""

    def news(self) -> AsyncIterator[Began | bytes | Landing]:
        """
        What has come, from the first byte, and what comes; at last how it landed. To be iterated once.

        The head is first, if there is one; then the body, in pieces that may be cut elsewhere than it came. A leader that
        dies, or that cannot tell us any more, is `Lost`. Never raises.
        """
        ...

    async def leave(self) -> None:
        """Follow no more; at any time, more than once; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Leads:
    """The caller leads."""

    flight: LeadingFlight


@dataclass(frozen=True, slots=True)
class Follows:
    """The caller follows."""

    flight: FollowedFlight


class Flights(Protocol):
    """
    Identical calls in the air, among several processes: one of them leads a name, the others follow.

    A leader holds a lease, and a token that nobody had before it: a leader that was taken for dead, and is not, lands
    nowhere. Nothing here outlives what it is of use for: a store of its own, which may be lost at any time.
    """

    async def board(
        self, name: str, *, looked_at: float, hit_for_miss_s: float
    ) -> Leads | Follows | Literal[Entrance.LOOK_AGAIN, Entrance.ALONE]:
        """
        Come in, as `core.flight.enter` says; of those who come at once one leads. Cancelled, it leaves nothing behind.

        Args:
            name: of the flight.
            looked_at: when the caller looked for an entry, epoch seconds.
            hit_for_miss_s: see `core.flight.enter`.

        Returns:
            `ALONE` also where there is a leader, but nothing to be had of what it receives.

        Raises:
            StoreFailed: whether somebody leads is not known.
        """
        ...

    async def beat(self) -> None:
        """
        This process lives, and so do its flights; and clear away what is over, and what dead processes left.

        To be said every `BEAT_S`; never raises.
        """
        ...

    async def ping(self) -> None:
        """
        Returns if it can be asked who leads.

        Raises:
            StoreFailed: it cannot.
        """
        ...

    async def aclose(self) -> None:
        """Release what is led and free what is held; more than once."""
        ...


LEASE_S = 15.0
"""Seconds without a beat after which a leader is dead. On its own machine a process that has ended is dead at once."""
BEAT_S = 3.0
"""A lease outlives four beats that were missed."""
