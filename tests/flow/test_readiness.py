"""Whether a worker can answer: over a real ledger that has its moods."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.flow import readiness
from gateway.flow.keep import Keeper
from gateway.flow.readiness import Readiness
from gateway.ports import StoreFailed
from tests.support.clock import FakeClock
from tests.support.gateway import ListJournal
from tests.support.outbox import ListOutbox, Moody


class World:
    """A ledger, a cache, and how they are."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.ledger = SqliteLedger.open(folder, self.clock.now)
        self.store: Any = Moody(self.ledger)
        self.keeper = Keeper(self.store, ListOutbox(), ListJournal(), self.clock, ZoneCalendar("UTC"))
        self.looks = 0
        self.cache_fails = False
        self.is_draining = False
        self.readiness = Readiness(self.keeper, {"cache": self.ping}, self.clock, lambda: self.is_draining)

    async def ping(self) -> None:
        self.looks += 1
        if self.cache_fails:
            raise StoreFailed("it has gone", unknown=False)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.ledger.aclose()


async def test_a_worker_whose_parts_answer_is_ready(world: World) -> None:
    found = await world.readiness.look()
    assert (found.status, found.parts) == ("ready", {"ledger": "ok", "cache": "ok"})


async def test_one_look_serves_all_who_ask_within_a_second(world: World) -> None:
    await asyncio.gather(*(world.readiness.look() for _ in range(50)))
    world.clock.seconds += 0.9
    await world.readiness.look()
    assert world.looks == 1
    world.clock.seconds += 0.2
    await world.readiness.look()
    assert world.looks == 2


async def test_without_its_ledger_it_is_not_ready(world: World) -> None:
    world.store.goes_away()
    found = await world.readiness.look()
    assert found.status == "unavailable"
    assert found.parts["ledger"].endswith("; calls are refused")


async def test_a_ledger_that_did_not_take_a_write_is_away_until_it_takes_one(world: World) -> None:
    world.keeper.failed(StoreFailed("disk full", unknown=False))
    assert (await world.readiness.look()).parts["ledger"] == "it cannot be written to; calls are refused"
    world.clock.seconds += 2
    await world.keeper.catch_up()
    assert (await world.readiness.look()).is_ready


async def test_a_ledger_that_says_nothing_is_waited_for_in_bounded_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(readiness, "ANSWER_S", 0.01)
    monkeypatch.setattr(world.keeper, "ledger", type("Silent", (), {"ping": staticmethod(hang)})())
    assert (await world.readiness.look()).parts["ledger"] == "no answer in 0.01 s; calls are refused"


async def test_where_calls_pass_uncounted_it_is_ready_and_says_so(world: World) -> None:
    world.keeper.is_open = True
    world.store.goes_away()
    found = await world.readiness.look()
    assert (found.status, found.is_ready) == ("degraded", True)
    assert found.parts["ledger"].endswith("; calls pass uncounted")


async def test_without_its_cache_it_is_ready_and_says_so(world: World) -> None:
    world.cache_fails = True
    found = await world.readiness.look()
    assert (found.status, found.is_ready) == ("degraded", True)
    assert "it has gone" in found.parts["cache"]


async def test_while_it_drains_it_is_not_ready(world: World) -> None:
    await world.readiness.look()
    world.is_draining = True
    assert (await world.readiness.look()).status == "draining"


async def test_a_part_that_breaks_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> None:
        raise RuntimeError("nobody has thought of that")

    monkeypatch.setattr(world.ledger, "ping", broken)
    found = await world.readiness.look()
    assert found.status != "ready"
    assert found.parts["ledger"].startswith("RuntimeError")
