import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest

from gateway.adapters.metered import CountingJournal, metered, metered_ledger
from gateway.adapters.tallies import Tallies
from gateway.catalog import load
from gateway.core import metrics as m
from gateway.core.ledger import Settlement, Verdict
from gateway.core.record import CacheUse, Outcome, Record, TokensFrom
from gateway.core.tallying import names_of
from gateway.core.units import NanoUSD
from gateway.flow.tasks import spawn
from gateway.ports import Cache, Ledger, StoreFailed
from gateway.ports.metrics import Series
from tests.support.clock import FakeClock
from tests.support.gateway import ListJournal
from tests.support.waiting import until

NAMES = names_of(load())
PAID = Record(
    id="igr_1",
    at=0.0,
    method="POST",
    outcome=Outcome.COMPLETED,
    team="design",
    route="images.generations",
    model="gpt-image-1",
    cache=CacheUse.MISS,
    tokens_from=TokensFrom.REPORTED,
    cost_nusd=NanoUSD(7),
    duration_ms=1.0,
)
COST: Series = (m.COST.name, ("design", "gpt-image-1"), "")


class Store:
    """A ledger and a cache, in the test's hands."""

    worker = "one"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.answers: list[Settlement | StoreFailed] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.reaped: tuple[Record, ...] = ()

    async def ping(self) -> None:
        self.clock.seconds += 0.002
        await self.go_on.wait()

    async def settle(self, record: Record, images: int = 0) -> Settlement:
        await self.go_on.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, StoreFailed):
            raise answer
        return answer

    async def reap(self) -> tuple[Record, ...]:
        return self.reaped

    async def export(self) -> AsyncIterator[int]:
        yield 1


class House:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store, self.tallies = Store(self.clock), Tallies()
        self.ledger = metered_ledger(cast("Ledger", self.store), self.tallies, self.clock, lambda: NAMES)

    def number(self, metric: m.Metric, label: str, part: str = "") -> int:
        return self.tallies.totals().get((metric.name, (label,), part), 0)


async def test_an_act_is_timed_and_named_by_its_store() -> None:
    house = House()
    cache = metered(cast("Cache", house.store), "cache", house.tallies, house.clock)
    for _ in range(3):
        await cast("Ledger", cache).ping()
    assert house.number(m.STORE_DURATION, "cache.ping", "sum") == pytest.approx(6000, abs=2)
    assert house.number(m.STORE_ERRORS, "cache.ping") == 0


async def test_what_is_no_act_is_passed_on() -> None:
    house = House()
    assert house.ledger.worker == "one"
    assert [one async for one in cast("Store", house.ledger).export()] == [1]
    assert house.tallies.totals() == {}


async def test_a_failure_is_counted_and_goes_on() -> None:
    house = House()
    house.store.answers = [StoreFailed("full", unknown=False)]
    with pytest.raises(StoreFailed, match="full"):
        await house.ledger.settle(PAID)
    assert house.number(m.STORE_ERRORS, "ledger.settle") == 1
    assert COST not in house.tallies.totals()


@pytest.mark.parametrize(("waited_s", "failures"), [(0.1, 0), (1.0, 1)])
async def test_whoever_gives_up_after_a_second_gave_the_store_up(waited_s: float, failures: int) -> None:
    """One that leaves earlier is a client that left."""
    house = House()
    house.store.go_on.clear()
    asking = spawn("ask", house.ledger.ping())
    await asyncio.sleep(0)
    house.clock.seconds += waited_s
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert house.number(m.STORE_ERRORS, "ledger.ping") == failures


async def test_what_stands_in_the_ledger_is_counted_once() -> None:
    house = House()
    house.store.answers = [Settlement(Verdict.WRITTEN, PAID), Settlement(Verdict.REPEATED, PAID, PAID)]
    await house.ledger.settle(PAID, 1)
    await house.ledger.settle(PAID, 1)
    assert house.tallies.totals()[COST] == 7


async def test_what_is_written_though_nobody_waits_any_more_is_counted() -> None:
    house = House()
    house.store.answers = [Settlement(Verdict.WRITTEN, PAID)]
    house.store.go_on.clear()
    settling = spawn("settle", house.ledger.settle(PAID, 1))
    await asyncio.sleep(0)
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    house.store.go_on.set()
    await until(lambda: COST in house.tallies.totals())


async def test_what_dead_workers_left_is_counted_by_whoever_settles_it() -> None:
    house = House()
    house.store.reaped = (PAID, replace(PAID, id="igr_2"))
    assert await house.ledger.reap() == house.store.reaped
    assert house.tallies.totals()[COST] == 14


def test_a_request_is_counted_when_it_is_known_to_be_news() -> None:
    tallies, told = Tallies(), ListJournal()
    journal = CountingJournal(told, tallies, lambda: NAMES)
    journal.write(PAID)
    journal.write(PAID, counts=False)
    journal.count(PAID)
    labels = ("images.generations", "gpt-image-1", "completed", "miss")
    assert tallies.totals()[m.REQUESTS.name, labels, ""] == 2
    assert (len(told.records), len(told.counted)) == (2, 2)


async def test_what_stands_there_after_all_is_counted_when_that_is_found_out() -> None:
    """Nobody heard whether it was written; it was, and is landed again: that changes nothing, and is counted."""
    house = House()
    unknown = StoreFailed("no answer", unknown=True)
    stands = replace(PAID, at=5.0)
    house.store.answers = [unknown, unknown, *[Settlement(Verdict.REPEATED, stands, stands)] * 2]
    for _ in range(2):
        with pytest.raises(StoreFailed):
            await house.ledger.settle(PAID, 1)
    assert COST not in house.tallies.totals()
    for _ in range(2):
        assert (await house.ledger.settle(PAID, 1)).verdict is Verdict.REPEATED
        assert house.tallies.totals()[COST] == 7


async def test_what_somebody_else_has_settled_is_theirs_to_count() -> None:
    house = House()
    theirs = replace(PAID, cost_nusd=NanoUSD(9))
    house.store.answers = [
        StoreFailed("no answer", unknown=True),
        Settlement(Verdict.REPEATED, theirs, theirs),
    ]
    with pytest.raises(StoreFailed):
        await house.ledger.settle(PAID, 1)
    await house.ledger.settle(PAID, 1)
    house.store.answers = [StoreFailed("full", unknown=False), Settlement(Verdict.REPEATED, PAID, PAID)]
    with pytest.raises(StoreFailed):
        await house.ledger.settle(PAID, 1)
    await house.ledger.settle(PAID, 1)
    assert COST not in house.tallies.totals()
