"""
The clock of a cache's server, as a process knows it: gateways whose clocks are an hour apart see one age of an entry.

It was asked once, and whenever it has said its time anyway; in between the process counts on by its monotonic clock.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from gateway.ports import Clock

_US: Final = 1_000_000


class ServerClock:
    """
    The server's clock.

    Args:
        clock: of this machine.
        ask: the server, for its time: epoch microseconds.
        now: epoch seconds, instead; for tests that move the time.
    """

    def __init__(
        self, clock: Clock, ask: Callable[[], Awaitable[int]], now: Callable[[], float] | None = None
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._given = now
        self._ahead_us: int | None = None
        """The server's clock less the monotonic one; None: not known yet."""

    async def known(self) -> None:
        """
        Returns when its time is known.

        Raises:
            StoreFailed: it does not say so.
        """
        if self._given is None and self._ahead_us is None:
            self.learn(await self._ask())

    def learn(self, server_us: int) -> None:
        """What it said a moment ago: epoch microseconds."""
        self._ahead_us = server_us - round(self._clock.ticks() * _US)

    def now_us(self) -> int:
        """What it says now, epoch microseconds; what this machine's says, as long as it is not known."""
        if self._given is not None:
            return round(self._given() * _US)
        if self._ahead_us is None:
            return round(self._clock.now() * _US)
        return round(self._clock.ticks() * _US) + self._ahead_us

    def began_us(self) -> int | None:
        """When what begins now begins, as `Index.keep` has it; None: that cannot be told."""
        return None if self._given is not None or self._ahead_us is None else self.now_us()

    def there(self, at: float) -> float:
        """An instant of this machine's clock as the server's has it, epoch seconds."""
        return at + self._ahead_s()

    def here(self, at: float) -> float:
        """An instant of the server's clock as this machine's has it, epoch seconds."""
        return at - self._ahead_s()

    def _ahead_s(self) -> float:
        if self._given is not None or self._ahead_us is None:
            return 0.0
        return self.now_us() / _US - self._clock.now()
