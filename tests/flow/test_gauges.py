import asyncio
from collections.abc import Sequence
from itertools import count
from typing import cast

import pytest

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.tallies import Tallies
from gateway.core import metrics as m
from gateway.core.entry import CacheStats
from gateway.core.limits import parse_limit
from gateway.core.quota import Claimant, Reading
from gateway.core.windows import Frames
from gateway.flow import gauges
from gateway.flow.gauges import Presence, StoreGauges
from gateway.flow.tasks import spawn
from gateway.ports import Cache, LedgerReader, StoreFailed
from tests.support.clock import FakeClock
from tests.support.waiting import until

LIMIT = parse_limit("$4 per day")


class Store:
    """A ledger and a cache, in the test's hands."""

    def __init__(self) -> None:
        self.broken = False
        self.silent = False
        self.asked = 0

    async def limits(self, claimants: Sequence[Claimant], frames: Frames, at: float) -> tuple[Reading, ...]:
        del frames, at
        await self._answer()
        return tuple(Reading(one.scope, LIMIT, used=1_000_000_000, held=2) for one in claimants)

    async def open_count(self) -> int:
        await self._answer()
        return 3

    async def stats(self, *, by_team: bool = True) -> CacheStats:
        assert not by_team, "a scrape looks at no entry"
        return CacheStats(entries=5, bytes=600)

    async def _answer(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.broken:
            raise StoreFailed("gone", unknown=False)
        if self.silent:
            await asyncio.Event().wait()


def store_gauges(store: Store, *, cached: bool = True) -> StoreGauges:
    return StoreGauges(
        cast("LedgerReader", store),
        cast("Cache", store) if cached else None,
        [Claimant("org"), Claimant("team:design")],
        ZoneCalendar("UTC"),
        FakeClock(),
    )


async def read(found: StoreGauges) -> dict[tuple[str, ...], float]:
    return {(one.metric.name.removeprefix(m.PREFIX), *one.labels): one.value for one in await found.read()}


async def test_what_the_store_knows_is_read() -> None:
    assert await read(store_gauges(Store())) == {
        ("limit_used_ratio", "org", "$4 per day"): 0.25,
        ("limit_used_ratio", "team:design", "$4 per day"): 0.25,
        ("reservations_open",): 3,
        ("cache_entries",): 5,
        ("cache_bytes",): 600,
    }


async def test_without_a_cache_nothing_is_said_of_it() -> None:
    assert ("cache_entries",) not in await read(store_gauges(Store(), cached=False))


async def test_what_a_broken_store_does_not_say_is_left_out() -> None:
    store = Store()
    store.broken = True
    assert await read(store_gauges(store)) == {("cache_entries",): 5, ("cache_bytes",): 600}


async def test_a_silent_store_holds_nobody_up_and_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "ANSWER_S", 0.0)
    store = Store()
    store.silent = True
    asked = store_gauges(store)
    for _ in range(4):
        await read(asked)
        await asyncio.sleep(0)
    assert store.asked == 2, "once for the limits, once for the open calls"


async def test_a_worker_says_how_it_is_now_and_again_later() -> None:
    tallies, requests = Tallies(), [1]
    presence = Presence(tallies, lambda: {"requests": requests[0], "orphans": 0}, lambda: 7)
    presence.publish()
    requests[0] = 4
    presence.publish()
    assert tallies.totals() == {
        (m.IN_FLIGHT.name, ("requests",), "now"): 4,
        (m.IN_FLIGHT.name, ("orphans",), "now"): 0,
        (m.WAITING.name, (), "now"): 7,
    }


async def test_it_goes_on_saying_so_until_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "ROUND_S", 0.0)
    rounds = count()
    presence = Presence(Tallies(), dict, lambda: next(rounds))
    running = spawn("presence", presence.run())
    await until(lambda: next(rounds) > 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
