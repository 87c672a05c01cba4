"""
Whether this worker can answer requests: its parts are asked, in bounded time.

One look serves all who ask within a second: a load balancer that probes often costs nothing.

Decided in core/health.py: what counts. Not here: whether the process lives, which nobody has to ask anything for.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from gateway.core.health import Finding, Health, health_of
from gateway.flow.keep import Keeper
from gateway.flow.tasks import spawn
from gateway.ports import Clock, StoreFailed

ANSWER_S: Final = 1.0
"""How long a part has to answer."""
FRESH_S: Final = 1.0
"""For how long a look is good."""

_log = logging.getLogger("imagegate.readiness")

Ping = Callable[[], Awaitable[None]]


class Readiness:
    """
    Of one worker.

    Args:
        keeper: knows whether the ledger is away, and whether calls pass then.
        pings: of the parts besides the ledger, by name. They raise `StoreFailed` where the part does not answer.
        clock: for the age of a look.
        is_draining: whether the process is about to stop.
    """

    def __init__(
        self,
        keeper: Keeper,
        pings: Mapping[str, Ping],
        clock: Clock,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._keeper = keeper
        self._pings = pings
        self._clock = clock
        self._is_draining = is_draining
        self._looking: asyncio.Task[object] | None = None
        self._found: tuple[Finding, ...] = ()
        self._looked_at = float("-inf")

    async def look(self) -> Health:
        """How it is, at most a second ago. Never raises."""
        if self._is_draining():
            return health_of(self._found, draining=True)
        if self._clock.ticks() - self._looked_at >= FRESH_S:
            if self._looking is None or self._looking.done():
                self._looking = spawn("readiness", self._look())
            await asyncio.wait([self._looking])
        return health_of(self._found, draining=self._is_draining())

    async def _look(self) -> None:
        others = (self._found_of(name, ping) for name, ping in self._pings.items())
        self._found = tuple(await asyncio.gather(self._of_ledger(), *others))
        self._looked_at = self._clock.ticks()

    async def _of_ledger(self) -> Finding:
        keeper = self._keeper
        if keeper.is_away:
            # It was asked to write and did not; whether it is back is tried all the time.
            fault: str | None = "it cannot be written to"
        else:
            fault = await _fault(keeper.ledger.ping)
        if fault is not None:
            fault += "; calls pass uncounted" if keeper.is_open else "; calls are refused"
        return Finding("ledger", fault, is_needed=not keeper.is_open)

    async def _found_of(self, name: str, ping: Ping) -> Finding:
        return Finding(name, await _fault(ping))


async def _fault(ping: Ping) -> str | None:
    try:
        async with asyncio.timeout(ANSWER_S):
            await ping()
    except TimeoutError:
        return f"no answer in {ANSWER_S:g} s"
    except StoreFailed as failed:
        return str(failed)
    except Exception as error:  # noqa: BLE001 - whatever it is, it does not answer
        _log.exception("a part could not be asked whether it answers")
        return f"{type(error).__name__}"
    return None
