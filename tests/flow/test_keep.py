"""A store that does not answer: who waits for how long, what is kept, and what lands when it is back."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.breaker import FAILURES, PAUSE_S
from gateway.core.kept import Due, Passed
from gateway.core.ledger import OpenCall, Settlement
from gateway.core.limits import parse_limit
from gateway.core.quota import FIRST_DOOR, Amounts, Claim, Claimant, Standing
from gateway.core.record import Outcome
from gateway.core.units import NanoUSD
from gateway.flow import keep
from gateway.flow.keep import Keeper
from gateway.ports import StoreFailed
from tests.support.clock import FakeClock
from tests.support.gateway import ListJournal
from tests.support.ledger import NOON, noted, record
from tests.support.outbox import ListOutbox, Moody
from tests.support.waiting import until

LIMITS = tuple(map(parse_limit, ("$1 per day", "10 requests per minute", "2 concurrent")))
CLAIMANTS = (Claimant("key:k", LIMITS), Claimant("org"))
ASKED = FIRST_DOOR + Amounts(images=1, cost_nusd=noted().cost_nusd)


class Desk:
    """A keeper between a real ledger that has its moods and an outbox."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.clock.seconds = NOON
        self.ledger = SqliteLedger.open(folder, self.clock.now)
        self.store: Any = Moody(self.ledger)
        self.outbox, self.journal = ListOutbox(), ListJournal()
        self.calendar = ZoneCalendar("UTC")
        self.keeper = Keeper(self.store, self.outbox, self.journal, self.clock, self.calendar)

    def claim(self, number: int) -> Claim:
        return Claim(
            id=record(number).id,
            claimants=CLAIMANTS,
            asked=ASKED,
            frames=self.calendar.frames(self.clock.now()),
        )

    async def reserve(self, number: int) -> None:
        await self.keeper.reserve(OpenCall(record=noted(number), dispatched=True), self.claim(number))

    async def let_pass(self, number: int) -> None:
        await self.keeper.let_pass(OpenCall(record=noted(number), dispatched=True), self.claim(number))

    async def counted(self) -> dict[str, tuple[int, int]]:
        """Used and held of each limit of the key."""
        at = self.clock.now()
        found = await self.ledger.limits(CLAIMANTS, self.calendar.frames(at), at)
        return {one.limit.text: (one.used, one.held) for one in found}


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(keep, "PROBE_S", 0.001)
    made = Desk(tmp_path)
    yield made
    await made.ledger.aclose()


async def refused(*attempts: Awaitable[object]) -> list[StoreFailed]:
    found = await asyncio.gather(*attempts, return_exceptions=True)
    assert all(isinstance(one, StoreFailed) for one in found), found
    return [one for one in found if isinstance(one, StoreFailed)]


class TestAsking:
    async def test_a_store_that_hangs_is_not_waited_for(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keep, "ANSWER_S", 0.01)
        desk.store.hangs.set()
        found = await refused(desk.reserve(1), desk.keeper.admit(desk.claim(2)))
        assert [(str(one).split(";")[0], one.unknown) for one in found] == [
            ("the store failed: no answer in 0.01 s", True)
        ] * 2

    async def test_a_loop_that_stood_still_is_not_the_stores_fault(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keep, "ANSWER_S", 0.05)
        loop = asyncio.get_running_loop()
        begun = asyncio.Event()

        async def slow(*_: object) -> Standing:
            begun.set()
            await asyncio.to_thread(lambda: None)
            return Standing(7)

        monkeypatch.setattr(desk.ledger, "admit", slow)
        asking = loop.create_task(desk.keeper.admit(desk.claim(1)))
        await begun.wait()
        before = loop.time()
        while loop.time() < before + 0.2:
            pass
        assert await asking == Standing(7)

    async def test_after_some_failures_it_is_not_even_asked(self, desk: Desk) -> None:
        desk.store.goes_away()
        for number in range(FAILURES):
            await refused(desk.reserve(number))
        desk.clock.seconds += 1
        asked = len(desk.store.asked)
        (failed,) = await refused(desk.reserve(9))
        assert len(desk.store.asked) == asked
        assert (failed.unknown, desk.keeper.pause_s) == (False, PAUSE_S - 1)

    async def test_then_one_call_sees_whether_it_is_back(self, desk: Desk) -> None:
        desk.store.goes_away()
        for number in range(FAILURES):
            await refused(desk.reserve(number))
        desk.clock.seconds += PAUSE_S
        desk.store.comes_back()
        await desk.reserve(7)
        await desk.reserve(8)
        assert len(await desk.ledger.open_calls()) == 2

    async def test_what_it_says_no_to_is_no_failure(self, desk: Desk) -> None:
        for number in range(2):
            await desk.reserve(number)
        for number in range(2, 2 + 2 * FAILURES):
            await desk.reserve(number)
        assert len(await desk.ledger.open_calls()) == 2
        assert desk.keeper.pause_s == keep.ANSWER_S


class TestASettlement:
    async def test_that_does_not_land_is_kept_and_lands_later(self, desk: Desk) -> None:
        await desk.reserve(1)
        desk.store.goes_away(unknown=True)
        await desk.keeper.settle(record(1), 1)
        assert desk.outbox.entries == [Due(record(1), 1)]
        assert desk.keeper.waiting == 1
        desk.store.comes_back()
        await desk.keeper.catch_up()
        assert (desk.outbox.entries, desk.keeper.waiting) == ([], 0)
        assert await desk.ledger.record(record(1).id) == record(1)
        assert await desk.ledger.open_calls() == ()
        assert (await desk.counted())["$1 per day"] == (record().cost_nusd, 0)

    async def test_waits_for_nobody_once_the_store_is_known_to_be_away(self, desk: Desk) -> None:
        desk.store.goes_away()
        await desk.keeper.settle(record(1), 1)
        asked = len(desk.store.asked)
        await desk.keeper.settle(record(2), 1)
        assert len(desk.store.asked) == asked
        assert desk.outbox.entries == [Due(record(1), 1), Due(record(2), 1)]

    async def test_that_hangs_is_kept(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keep, "LANDING_S", 0.01)
        desk.store.hangs.set()
        await desk.keeper.settle(record(1), 1)
        assert desk.outbox.entries == [Due(record(1), 1)]

    async def test_that_landed_all_the_same_lands_once(self, desk: Desk) -> None:
        await desk.reserve(1)
        await desk.ledger.settle(record(1), 1)
        await desk.outbox.keep(Due(record(1), 1))
        await desk.keeper.catch_up()
        assert (await desk.counted())["$1 per day"] == (record().cost_nusd, 0)

    async def test_is_the_truth_of_a_call_that_was_taken_for_lost(self, desk: Desk) -> None:
        await desk.reserve(1)
        await desk.ledger.settle(noted(1, outcome=Outcome.LOST), 1)
        await desk.outbox.keep(Due(record(1), 1))
        await desk.keeper.catch_up()
        assert await desk.ledger.record(record(1).id) == record(1)
        assert (await desk.counted())["$1 per day"] == (record().cost_nusd, 0)

    async def test_of_a_refused_call_is_not_kept_unless_it_may_hold_something(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keep, "ANSWER_S", 0.01)
        desk.store.goes_away()
        no = {"outcome": Outcome.REFUSED, "cost_nusd": NanoUSD(0), "lines": ()}
        await refused(desk.reserve(1))
        await desk.keeper.settle(record(1, **no), 0)
        assert desk.outbox.entries == []
        desk.store.comes_back()
        desk.store.hangs.set()
        await refused(desk.reserve(2))
        await desk.keeper.settle(record(2, **no), 0)
        assert desk.outbox.entries == [Due(record(2, **no), 0)]

    async def test_frees_what_a_refused_call_took_behind_its_own_back(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was told 503; that its reservation had landed nobody knew."""
        real = desk.ledger.reserve

        async def lands_and_fails(*arguments: Any) -> None:
            await real(*arguments)
            raise StoreFailed("the answer was lost", unknown=True)

        monkeypatch.setattr(desk.ledger, "reserve", lands_and_fails)
        await refused(desk.reserve(1))
        counted = await desk.counted()
        assert counted["$1 per day"] == (0, noted().cost_nusd)
        await desk.keeper.settle(
            record(1, outcome=Outcome.REFUSED, cost_nusd=NanoUSD(0), lines=(), output_image_tokens=0), 0
        )
        assert await desk.counted() == counted, "the store is away: it is kept"
        assert len(desk.outbox.entries) == 1
        await desk.keeper.catch_up()
        assert set((await desk.counted()).values()) == {(0, 0)}
        assert await desk.ledger.open_calls() == ()

    async def test_that_the_outbox_cannot_take_is_held_in_memory_and_both_are_tried_again(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        desk.store.goes_away()
        desk.outbox.broken = True
        for number in range(3):
            await desk.keeper.settle(record(number), 1)
        assert caplog.text.count("in memory only") == 1
        await desk.keeper.catch_up()
        desk.outbox.broken = False
        await desk.keeper.catch_up()
        assert desk.outbox.entries == [Due(record(number), 1) for number in range(3)]
        desk.store.comes_back()
        await desk.keeper.catch_up()
        assert await desk.ledger.record(record(2).id) == record(2)

    async def test_that_only_memory_holds_lands_all_the_same(self, desk: Desk) -> None:
        desk.store.goes_away()
        desk.outbox.broken = True
        for number in range(3):
            await desk.keeper.settle(record(number), 1)
        desk.store.comes_back()
        await desk.keeper.catch_up()
        assert [await desk.ledger.record(record(number).id) for number in range(3)] == [
            record(number) for number in range(3)
        ]
        await desk.keeper.settle(record(3), 1)
        assert await desk.ledger.record(record(3).id) == record(3)

    async def test_that_cannot_be_kept_anywhere_is_in_the_log_at_the_end(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        desk.store.goes_away()
        desk.outbox.broken = True
        await desk.keeper.settle(record(1), 1)
        await desk.keeper.aclose()
        assert "lost with this process" in caplog.text
        assert record(1).id in caplog.text

    async def test_that_breaks_its_landing_stands_in_nobodys_way(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        real = desk.ledger.settle

        async def stumbles(one: Any, images: int) -> Settlement:
            if one.id == record(1).id:
                raise ArithmeticError("a bug")
            return await real(one, images)

        monkeypatch.setattr(desk.ledger, "settle", stumbles)
        for number in range(3):
            await desk.outbox.keep(Due(record(number), 1))
        await desk.keeper.catch_up()
        assert len(desk.outbox.entries) == 2, "it is tried again"
        for _ in range(keep.STUMBLES):
            await desk.keeper.catch_up()
        assert desk.outbox.entries == []
        assert await desk.ledger.record(record(2).id) == record(2)
        (left_out,) = [one for one in caplog.records if "left out" in one.getMessage()]
        assert record(1).id in left_out.getMessage()

    async def test_lands_in_the_order_of_keeping_and_what_has_landed_is_not_kept_again(
        self, desk: Desk
    ) -> None:
        for number in range(4):
            await desk.outbox.keep(Due(record(number), 1))
        settled = 0

        def some(verb: str) -> StoreFailed | None:
            nonlocal settled
            settled += verb == "settle"
            return StoreFailed("gone", unknown=False) if settled == 3 else None

        desk.store.fails = some
        await desk.keeper.catch_up()
        assert desk.outbox.entries == [Due(record(2), 1), Due(record(3), 1)]
        assert await desk.ledger.record(record(1).id) is not None


class TestTheRound:
    async def test_a_store_that_is_back_learns_everything_and_the_log_tells_both_once(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        running = asyncio.get_running_loop().create_task(desk.keeper.run())
        await desk.reserve(1)
        desk.store.goes_away()
        for number in range(1, 9):
            await desk.keeper.settle(record(number), 1)
            await refused(desk.reserve(10 + number))
        probes = len(desk.store.asked)
        await until(lambda: len(desk.store.asked) > probes + 2)
        desk.store.comes_back()
        await until(lambda: not desk.outbox.entries and len(caplog.records) > 1)
        gone, back = [one.getMessage() for one in caplog.records]
        assert "calls are refused" in gone
        assert back == "the store answers again; 8 settlements that were kept have landed"
        await desk.reserve(20)
        running.cancel()
        await asyncio.wait([running])

    async def test_a_store_that_can_be_read_but_not_written_to_is_not_back(self, desk: Desk) -> None:
        desk.store.goes_away()
        await refused(desk.reserve(1))
        desk.store.fails = lambda verb: StoreFailed("full", unknown=False) if verb == "beat" else None
        await desk.keeper.catch_up()
        asked = len(desk.store.asked)
        await desk.keeper.settle(record(1), 1)
        assert len(desk.store.asked) == asked

    async def test_places_are_given_back_later(self, desk: Desk) -> None:
        await desk.keeper.admit(desk.claim(1))
        assert (await desk.counted())["2 concurrent"] == (1, 0)
        desk.store.goes_away()
        await desk.keeper.leave(record(1).id)
        await desk.keeper.leave(record(1).id)
        desk.store.comes_back()
        await desk.keeper.catch_up()
        assert (await desk.counted())["2 concurrent"] == (0, 0)

    async def test_a_bug_does_not_end_it(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        running = asyncio.get_running_loop().create_task(desk.keeper.run())
        desk.store.goes_away()
        await refused(desk.reserve(1))
        desk.store.fails = lambda _: ArithmeticError("a bug")
        await until(lambda: "could not be landed" in caplog.text)
        desk.store.comes_back()
        await until(lambda: "answers again" in caplog.text)
        running.cancel()
        await asyncio.wait([running])


class TestPassingUncounted:
    async def test_the_ledger_catches_up_with_call_and_settlement(self, desk: Desk) -> None:
        desk.store.goes_away()
        await desk.let_pass(1)
        await desk.keeper.settle(desk.keeper.told(record(1)), 1)
        assert [type(one) for one in desk.outbox.entries] == [Passed, Due]
        desk.store.comes_back()
        desk.clock.seconds += 3 * 86_400
        await desk.keeper.catch_up()
        assert await desk.ledger.record(record(1).id) == record(1, code="store_unavailable")
        assert await desk.counted() == {
            "$1 per day": (record().cost_nusd, 0),
            "10 requests per minute": (1, 0),
            "2 concurrent": (0, 0),
        }

    async def test_it_catches_up_with_one_under_way_and_counts_beyond_every_limit(self, desk: Desk) -> None:
        desk.store.goes_away()
        for number in range(60):
            await desk.let_pass(number)
        desk.store.comes_back()
        await desk.keeper.catch_up()
        assert (await desk.counted())["$1 per day"] == (0, 60 * noted().cost_nusd)
        assert len(await desk.ledger.open_calls()) == 60
        for number in range(60):
            await desk.keeper.settle(record(number), 1)
        assert desk.outbox.entries == [], "it is back, and knows them"
        assert (await desk.counted())["$1 per day"] == (60 * record().cost_nusd, 0)

    async def test_a_settlement_never_overtakes_its_call(self, desk: Desk) -> None:
        """It would be counted nowhere."""
        desk.store.goes_away()
        await desk.let_pass(1)
        desk.store.comes_back()
        await desk.keeper.settle(record(1), 1)
        assert [type(one) for one in desk.outbox.entries] == [Passed, Due]
        await desk.keeper.catch_up()
        assert (await desk.counted())["$1 per day"] == (record().cost_nusd, 0)

    async def test_what_cannot_be_written_down_does_not_pass(self, desk: Desk) -> None:
        desk.outbox.broken = True
        await refused(desk.let_pass(1))
        assert desk.keeper.told(record(1)) == record(1)

    async def test_a_record_with_a_code_of_its_own_keeps_it(self, desk: Desk) -> None:
        await desk.let_pass(1)
        assert desk.keeper.told(record(1, code="rate_limited")).code == "rate_limited"
        assert desk.keeper.told(record(2)).code is None, "that one was counted"

    async def test_one_whose_worker_died_is_charged_as_lost(self, desk: Desk) -> None:
        await desk.let_pass(1)
        await desk.let_pass(2)
        left = [*desk.outbox.entries, Due(record(2, code="store_unavailable"), 1)]
        after = Desk(desk.ledger._file.parent)
        after.outbox.left = {"dead": left}
        await after.keeper.catch_up()
        assert after.outbox.left == {}
        lost = await after.ledger.record(record(1).id)
        assert lost is not None
        assert (lost.outcome, lost.code) == (Outcome.LOST, "store_unavailable")
        assert lost.cost_nusd == noted(1).cost_nusd
        assert after.journal.records == [lost]
        told = await after.ledger.record(record(2).id)
        assert told is not None
        assert told.outcome is Outcome.COMPLETED
        assert (await after.counted())["$1 per day"] == (lost.cost_nusd + told.cost_nusd, 0)
        assert await after.ledger.open_calls() == ()
        await after.ledger.aclose()
