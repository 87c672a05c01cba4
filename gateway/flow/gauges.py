"""
What is the case now: read where it is known, when somebody asks, or published by each worker for whoever is asked.

A store that does not answer in time holds nobody up: what it knows is left out. It is not asked twice at once, so that
asking again and again does no harm.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.core import metrics as m
from gateway.core.metrics import Count, Sample
from gateway.core.quota import Claimant
from gateway.flow.tasks import spawn
from gateway.ports import Cache, Calendar, Clock, LedgerReader, StoreFailed
from gateway.ports.metrics import Counters

ANSWER_S: Final = 1.0
"""For so long all of the store's answers are waited for."""
ROUND_S: Final = 1.0
"""So old is what another worker has published, at most."""

Samples = Sequence[Sample]


@dataclass(slots=True)
class StoreGauges:
    """
    What the store knows.

    Args:
        ledger: its limits and open calls.
        cache: how full it is; None: there is none.
        claimants: whose limits are shown.
        calendar: for their windows.
        clock: likewise.
    """

    ledger: LedgerReader
    cache: Cache | None
    claimants: Sequence[Claimant]
    calendar: Calendar
    clock: Clock
    _asking: dict[str, asyncio.Task[object]] = field(default_factory=dict)

    async def read(self) -> tuple[Sample, ...]:
        """All that is answered in a second."""
        asked = [self._ask(one) for one in (self._limits, self._reservations, self._cache)]
        done, _ = await asyncio.wait(asked, timeout=ANSWER_S)
        return tuple(sample for task in asked if task in done for sample in _result(task))

    def _ask(self, read: Callable[[], Awaitable[Samples]]) -> asyncio.Task[object]:
        name = getattr(read, "__name__", "")
        asking = self._asking.get(name)
        if asking is None or asking.done():
            asking = self._asking[name] = spawn(f"gauge {name}", _or_nothing(read))
        return asking

    async def _limits(self) -> Samples:
        now = self.clock.now()
        readings = await self.ledger.limits(self.claimants, self.calendar.frames(now), now)
        used = {(one.scope, one.limit.text): one.used / one.limit.amount for one in readings}
        return [Sample(m.LIMIT_USED, labels, ratio) for labels, ratio in used.items()]

    async def _reservations(self) -> Samples:
        return [Sample(m.RESERVATIONS, (), await self.ledger.open_count())]

    async def _cache(self) -> Samples:
        if self.cache is None:
            return ()
        stats = await self.cache.stats(by_team=False)
        return [Sample(m.CACHE_ENTRIES, (), stats.entries), Sample(m.CACHE_BYTES, (), stats.bytes)]


async def _or_nothing(read: Callable[[], Awaitable[Samples]]) -> Samples:
    try:
        return await read()
    except StoreFailed:
        return ()


def _result(task: asyncio.Task[object]) -> Samples:
    found = None if task.cancelled() or task.exception() is not None else task.result()
    return found if isinstance(found, Sequence) else ()


@dataclass(frozen=True, slots=True)
class Presence:
    """
    What is under way in this worker, told to whichever worker is asked.

    Args:
        counters: take it.
        in_flight: how many there are of each kind.
        waiting: settlements that wait for the store.
    """

    counters: Counters
    in_flight: Callable[[], Mapping[str, int]]
    waiting: Callable[[], int]

    async def run(self) -> None:
        """Publish, again and again, until cancelled."""
        while True:
            self.publish()
            await asyncio.sleep(ROUND_S)

    def publish(self) -> None:
        """Say how it is now."""
        self.counters.take(Count(m.IN_FLIGHT, (kind,), number) for kind, number in self.in_flight().items())
        self.counters.take([Count(m.WAITING, (), self.waiting())])
