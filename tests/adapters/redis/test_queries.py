"""Reads that take several answers of the server: nothing is missing, nothing comes twice, and one state is seen."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.redis import queries
from gateway.adapters.redis.ledger import RedisLedger
from gateway.core.ledger import LedgerFilter, place_after, summed
from gateway.core.limits import parse_limit
from gateway.core.quota import Claimant
from gateway.core.record import Outcome, Record
from gateway.core.units import NanoUSD
from tests.support.ledger import NOON, record
from tests.support.redis import TAGS, shared_ledger, shared_server

MANY = 120


def made(number: int) -> Record:
    team, key = ("a", "a b", "a\x1f", None)[number % 4], f"k{number % 7}"
    outcome = Outcome.COMPLETED if number % 5 else Outcome.FAILED
    return record(
        number, at=NOON + number // 3, team=team, key=key, outcome=outcome, response_id=f"resp_{number}"
    )


@pytest.fixture
async def ledger(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisLedger]:
    monkeypatch.setattr(queries, "AT_ONCE", 7)
    one = shared_ledger(shared_server("redis").address, f"queries-{next(TAGS)}", lambda: NOON)
    await asyncio.gather(*(one.settle(made(number)) for number in range(MANY)))
    yield one
    await one.aclose()


FILTERS = [
    LedgerFilter(),
    LedgerFilter(team="a"),
    LedgerFilter(team="a b"),
    LedgerFilter(team="a\x1f"),
    LedgerFilter(key="k3"),
    LedgerFilter(team="a", key="k3"),
    LedgerFilter(outcome=Outcome.FAILED),
    LedgerFilter(team="a", outcome=Outcome.FAILED, since=NOON + 3, until=NOON + 30),
    LedgerFilter(key="nobody"),
]


@pytest.mark.parametrize("asked", FILTERS, ids=str)
@pytest.mark.parametrize("limit", [1, 6, 7, 8, 500])
async def test_pages_of_any_size_are_the_filtered_whole(
    ledger: RedisLedger, asked: LedgerFilter, limit: int
) -> None:
    expected = [one for one in map(made, reversed(range(MANY))) if asked.takes(one)]
    found: list[Record] = []
    after = None
    while True:
        page = await ledger.page(asked, after, limit)
        found += page.records
        if page.next_cursor is None:
            break
        assert len(page.records) == limit
        after = place_after(page.next_cursor)
    assert found == expected
    assert [one async for one in ledger.export(asked)] == expected


async def test_sums_are_of_what_was_written_when_they_were_asked_for(
    ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = summed(map(made, range(MANY)), ("key",))
    read, begun = ledger._store.read, asyncio.Event()

    async def slowly(*arguments: Any) -> Any:
        found = await read(*arguments)
        if not begun.is_set():
            begun.set()
            for number in range(MANY, MANY + 20):
                await ledger.settle(record(number, at=NOON + 1, key="k1"))
        return found

    monkeypatch.setattr(ledger._store, "read", slowly)
    assert [row async for row in ledger.usage(("key",))] == expected


async def test_a_correction_that_comes_meanwhile_is_not_seen_in_half_of_the_sums(
    ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    guess = record(500, at=NOON - 9, outcome=Outcome.LOST, cost_nusd=NanoUSD(5), key="k1")
    await ledger.settle(guess)
    expected = summed([*map(made, range(MANY)), guess], ("key",))
    read, begun = ledger._store.read, asyncio.Event()

    async def slowly(*arguments: Any) -> Any:
        found = await read(*arguments)
        if not begun.is_set():
            begun.set()
            await ledger.settle(record(500, at=NOON - 9, cost_nusd=NanoUSD(9), key="k1"))
        return found

    monkeypatch.setattr(ledger._store, "read", slowly)
    assert [row async for row in ledger.usage(("key",))] == expected
    assert [row async for row in ledger.usage(("key",))] != expected


async def test_the_limits_of_many_scopes_are_read_in_pieces_and_in_their_order(
    ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "CLAIMANTS_AT_ONCE", 3)
    scopes = [f"key:k{number}" for number in range(10)]
    for number, scope in enumerate(scopes):
        if number % 2:
            await ledger.set_limits(
                scope, [parse_limit(f"{number + 1} images per day"), parse_limit("1 concurrent")]
            )
    claimants = [Claimant(scope, (parse_limit("5 images total"),)) for scope in scopes]
    found = await ledger.limits(claimants, ZoneCalendar("UTC").frames(NOON), NOON)
    told = [(one.scope, one.limit.text) for one in found]
    assert told == [
        (scope, text)
        for number, scope in enumerate(scopes)
        for text in ([f"{number + 1} images per day", "1 concurrent"] if number % 2 else ["5 images total"])
    ]
    assert await ledger.limits([], ZoneCalendar("UTC").frames(NOON), NOON) == ()
