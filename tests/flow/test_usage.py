"""Sums with the days of a calendar, over a real ledger."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.ledger import UsageRow
from gateway.flow.usage import usage
from tests.support.ledger import NOON, record

HOUR = 3600


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    made = SqliteLedger.open(tmp_path, lambda: NOON)
    yield made
    await made.aclose()


async def requests(ledger: SqliteLedger, zone: str, **asked: float) -> list[tuple[str | None, int]]:
    rows = usage(ledger, ZoneCalendar(zone), ("day",), **asked)
    return [(row.group[0], row.requests) async for row in rows]


async def test_days_are_those_of_the_zone_and_only_those_with_records(ledger: SqliteLedger) -> None:
    for number, hours in enumerate((-60, 0, 11, 12)):
        await ledger.settle(record(number, at=NOON + hours * HOUR))
    assert await requests(ledger, "UTC") == [("2027-01-13", 1), ("2027-01-15", 2), ("2027-01-16", 1)]
    assert await requests(ledger, "Asia/Tokyo") == [("2027-01-13", 1), ("2027-01-15", 1), ("2027-01-16", 2)]
    assert await requests(ledger, "UTC", since=NOON, until=NOON + 12 * HOUR) == [("2027-01-15", 2)]


async def test_an_empty_ledger_has_no_days(ledger: SqliteLedger) -> None:
    assert await requests(ledger, "UTC") == []
    assert [row async for row in usage(ledger, ZoneCalendar("UTC"), ())] == [UsageRow()]
