"""Where windows begin and end, over a real store whose clock the test sets: each edge to the microsecond."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.ledger import OpenCall, micros
from gateway.core.limits import parse_limit
from gateway.core.quota import FIRST_DOOR, Amounts, Claim, Claimant, Exceeded, Reading, Standing
from gateway.ports import DEAD_AFTER_S, StoreFailed
from tests.conftest import EXAMPLES
from tests.support.clock import FakeClock
from tests.support.ledger import noted, record

ZONES = ("UTC", "Europe/Berlin", "America/Havana", "America/Santiago", "Asia/Kathmandu", "Pacific/Kiritimati")
HOUR_S = 3600.0


def at(text: str, zone: str) -> datetime:
    """The instant when clocks in the zone say so."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@dataclass
class Shop:
    """
    A store and a caller with limits.

    Args:
        store: the clock of the store.
        zone: of the organisation.
        off_s: how far the caller's clock is ahead.
    """

    ledger: SqliteLedger
    store: FakeClock
    zone: str
    claimant: Claimant
    off_s: float = 0.0
    numbers: Iterable[int] = field(default_factory=count)

    async def reserve(
        self, when: datetime, *, images: int = 1, number: int | None = None
    ) -> Standing | Exceeded:
        """Ask for so many pictures when the store's clock says so."""
        self.store.seconds = when.timestamp()
        one = next(iter(self.numbers)) if number is None else number
        claim = Claim(
            id=record(one).id,
            claimants=(self.claimant,),
            asked=FIRST_DOOR + Amounts(images=images),
            frames=ZoneCalendar(self.zone).frames(self.store.seconds + self.off_s),
        )
        return await self.ledger.reserve(OpenCall(record=noted(one), dispatched=True), claim)

    async def settle(self, number: int, when: datetime, images: int = 1) -> None:
        self.store.seconds = when.timestamp()
        await self.ledger.settle(record(number), images)

    async def readings(self, when: datetime) -> tuple[Reading, ...]:
        seconds = when.timestamp()
        frames = ZoneCalendar(self.zone).frames(seconds + self.off_s)
        return await self.ledger.limits([self.claimant], frames, seconds)

    async def counts(self, when: datetime) -> list[tuple[int, int]]:
        """Used and held, limit by limit."""
        return [(one.used, one.held) for one in await self.readings(when)]


@asynccontextmanager
async def open_shop(folder: Path, zone: str, *limits: str, off_s: float = 0) -> AsyncIterator[Shop]:
    clock = FakeClock()
    ledger = SqliteLedger.open(folder, clock.now)
    try:
        yield Shop(
            ledger, clock, zone, Claimant("key:k", tuple(map(parse_limit, limits))), off_s, iter(count())
        )
    finally:
        await ledger.aclose()


# limit, zone, the first instant of a window, the first of the next one
WINDOWS = (
    pytest.param("day", "UTC", "2026-11-23T00:00:00", "2026-11-24T00:00:00", id="a day"),
    pytest.param("day", "Europe/Berlin", "2026-10-25T00:00:00", "2026-10-26T00:00:00", id="25 hours"),
    pytest.param("day", "Europe/Berlin", "2027-03-28T00:00:00", "2027-03-29T00:00:00", id="23 hours"),
    pytest.param("day", "America/Santiago", "2026-09-06T01:00:00", "2026-09-07T00:00:00", id="no midnight"),
    pytest.param("day", "America/Havana", "2026-11-01T00:00:00", "2026-11-02T00:00:00", id="midnight twice"),
    pytest.param("day", "Asia/Kathmandu", "2026-11-23T00:00:00", "2026-11-24T00:00:00", id="a quarter"),
    pytest.param("week", "UTC", "2026-11-23T00:00:00", "2026-11-30T00:00:00", id="Monday to Sunday"),
    pytest.param("week", "Europe/Berlin", "2026-10-19T00:00:00", "2026-10-26T00:00:00", id="169 hours"),
    pytest.param("week", "Europe/Berlin", "2026-12-28T00:00:00", "2027-01-04T00:00:00", id="over New Year"),
    pytest.param("month", "UTC", "2027-02-01T00:00:00", "2027-03-01T00:00:00", id="28 days"),
    pytest.param("month", "UTC", "2028-02-01T00:00:00", "2028-03-01T00:00:00", id="29 days"),
    pytest.param("month", "Europe/Berlin", "2026-10-01T00:00:00", "2026-11-01T00:00:00", id="745 hours"),
    pytest.param("month", "Asia/Tokyo", "2026-12-01T00:00:00", "2027-01-01T00:00:00", id="December"),
)


@pytest.mark.parametrize(("window", "zone", "first", "after"), WINDOWS)
async def test_a_budget_comes_back_with_its_window_and_not_an_instant_earlier(
    tmp_path: Path, window: str, zone: str, first: str, after: str
) -> None:
    begins, ends = at(first, zone), at(after, zone)
    last = datetime.fromtimestamp(ends.timestamp() - 1e-6, ZoneInfo("UTC"))
    before = datetime.fromtimestamp(begins.timestamp() - 1e-6, ZoneInfo("UTC"))
    async with open_shop(tmp_path, zone, f"2 images per {window}") as shop:
        assert isinstance(await shop.reserve(before, images=2), Standing)
        assert isinstance(await shop.reserve(begins), Standing), "nothing of the window before"
        assert isinstance(await shop.reserve(last), Standing), "the last instant belongs to it"
        stopped = await shop.reserve(last)
        assert isinstance(stopped, Exceeded)
        assert stopped.clears_us == micros(ends.timestamp())
        assert await shop.counts(last) == [(0, 2)]
        assert await shop.counts(ends) == [(0, 0)]
        assert isinstance(await shop.reserve(ends, images=2), Standing)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("came_to", [0, 1, 7])
async def test_a_call_that_crosses_midnight_counts_in_the_day_in_which_it_was_let_through(
    tmp_path: Path, zone: str, came_to: int
) -> None:
    """2027-02-28 is a Sunday: the next day begins a week and a month too."""
    evening, morning = at("2027-02-28T23:59:59.900000", zone), at("2027-03-01T00:00:01", zone)
    limits = ("2 images per day", "2 images per week", "2 images per month", "20 images total")
    async with open_shop(tmp_path, zone, *limits) as shop:
        assert isinstance(await shop.reserve(evening, number=1), Standing)
        assert await shop.counts(evening) == [(0, 1)] * 4
        assert await shop.counts(morning) == [(0, 0)] * 3 + [(0, 1)]
        await shop.settle(1, morning, came_to)
        assert await shop.counts(morning) == [(0, 0)] * 3 + [(came_to, 0)]
        assert isinstance(await shop.reserve(morning, images=2, number=2), Standing)
        assert isinstance(await shop.reserve(morning, number=3), Exceeded)


async def test_a_call_whose_worker_dies_overnight_is_charged_to_the_day_before(tmp_path: Path) -> None:
    evening = at("2027-02-28T23:59:59", "Europe/Berlin")
    async with open_shop(
        tmp_path, "Europe/Berlin", "1 image per day", "9 images total", "1 concurrent"
    ) as shop:
        await shop.reserve(evening, number=1)
        morning = evening + timedelta(seconds=DEAD_AFTER_S + 1)
        shop.store.seconds = morning.timestamp()
        other = SqliteLedger(tmp_path, shop.store.now)
        (lost,) = await other.reap()
        assert await shop.counts(morning) == [(0, 0), (1, 0), (0, 0)]
        await other.settle(record(1), 3)
        assert await shop.counts(morning) == [(0, 0), (3, 0), (0, 0)], (
            "nor does the truth count in the new one"
        )
        assert lost.id == record(1).id
        await other.aclose()


# Clocks that differ


EDGES = (
    at("2026-11-30T00:00:00", "UTC"),
    at("2026-10-25T00:00:00", "Europe/Berlin"),
    at("2026-10-26T00:00:00", "Europe/Berlin"),
    at("2027-03-28T00:00:00", "Europe/Berlin"),
    at("2027-03-29T00:00:00", "Europe/Berlin"),
    at("2026-09-06T01:00:00", "America/Santiago"),
    at("2026-11-01T00:00:00", "America/Havana"),
    at("2027-01-01T00:00:00", "Pacific/Kiritimati"),
)
OFF_S = (HOUR_S, -HOUR_S, 23 * HOUR_S, -23 * HOUR_S)
LIMITS = (
    "3 images per minute",
    "4 images per hour",
    "5 images per day",
    "7 images per week",
    "9 images per month",
)
"""Any of which may be the one that stops a call."""


def moments() -> st.SearchStrategy[list[tuple[float, int]]]:
    """Seconds since the call before, and pictures asked for."""
    pauses = st.sampled_from([0.0, 1e-6, 0.3, 1.0, 59.0, 61.0, 3599.0, 3700.0, 40_000.0])
    return st.lists(st.tuples(pauses, st.integers(1, 3)), min_size=3, max_size=12)


@given(edge=st.sampled_from(EDGES), lead=st.integers(0, 7200), zone=st.sampled_from(ZONES), asked=moments())
@settings(max_examples=EXAMPLES // 5)
def test_a_gateway_whose_clock_is_wrong_by_up_to_a_day_counts_and_refuses_like_any_other(
    edge: datetime, lead: int, zone: str, asked: list[tuple[float, int]]
) -> None:
    async def played(off_s: float) -> list[object]:
        told: list[object] = []
        when = edge - timedelta(seconds=lead)
        with tempfile.TemporaryDirectory() as folder:
            async with open_shop(Path(folder), zone, *LIMITS, off_s=off_s) as shop:
                for pause_s, images in asked:
                    when = datetime.fromtimestamp(when.timestamp() + pause_s, ZoneInfo("UTC"))
                    told += [await shop.reserve(when, images=images), await shop.readings(when)]
        return told

    right = asyncio.run(played(0))
    for off_s in OFF_S:
        assert asyncio.run(played(off_s)) == right, f"{off_s / HOUR_S:+.0f} h"


@pytest.mark.parametrize("off_s", [50 * HOUR_S, -50 * HOUR_S])
async def test_a_clock_that_is_wrong_by_days_is_told_and_nothing_is_taken(
    tmp_path: Path, off_s: float
) -> None:
    now = at("2026-11-23T12:00:00", "UTC")
    async with open_shop(tmp_path, "UTC", "1 image per day", off_s=off_s) as shop:
        with pytest.raises(StoreFailed, match="clocks") as failed:
            await shop.reserve(now)
        assert not failed.value.unknown
        assert await shop.ledger.open_calls() == ()
        shop.off_s = 0
        assert await shop.counts(now) == [(0, 0)]
