"""What the `Ledger` port promises, whatever it lies in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.call import Call
from gateway.core.ledger import (
    LedgerFilter,
    OpenCall,
    Verdict,
    lost,
    micros,
    place_after,
    place_of,
    summed,
)
from gateway.core.limits import parse_limit
from gateway.core.quota import FIRST_DOOR, Claim, Claimant, Exceeded, Standing
from gateway.core.record import CacheUse, Outcome, Record, TokensFrom
from gateway.core.units import NanoUSD
from gateway.ports import DEAD_AFTER_S, Ledger
from tests.conftest import EXAMPLES
from tests.support.clock import FakeClock
from tests.support.ledger import NOON, noted, record, records
from tests.support.redis import shared_cluster, shared_ledger, shared_server
from tests.support.replies import drawing


def sqlite(folder: Path, clock: FakeClock) -> Ledger:
    return SqliteLedger.open(folder, clock.now)


def redis(folder: Path, clock: FakeClock) -> Ledger:
    return shared_ledger(shared_server("redis").address, str(folder), clock.now)


def valkey(folder: Path, clock: FakeClock) -> Ledger:
    return shared_ledger(shared_server("valkey").address, str(folder), clock.now)


def cluster(folder: Path, clock: FakeClock) -> Ledger:
    return shared_ledger(shared_cluster().address, str(folder), clock.now)


MAKERS: dict[str, Callable[[Path, FakeClock], Ledger]] = {
    "sqlite": sqlite,
    "redis": redis,
    "valkey": valkey,
    "cluster": cluster,
}
"""Each gives one more worker on the store that is named by the folder."""


class World:
    """A store, and workers on it."""

    def __init__(
        self, make: Callable[[Path, FakeClock], Ledger], folder: Path, stack: AsyncExitStack
    ) -> None:
        self.clock = FakeClock()
        self._make = make
        self._folder = folder
        self._stack = stack

    def worker(self) -> Ledger:
        ledger = self._make(self._folder, self.clock)
        self._stack.push_async_callback(ledger.aclose)
        return ledger


@asynccontextmanager
async def world_in(make: Callable[[Path, FakeClock], Ledger], folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(make, folder, stack)


@pytest.fixture(params=list(MAKERS.values()), ids=list(MAKERS))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with world_in(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def ledger(world: World) -> Ledger:
    return world.worker()


async def exported(ledger: Ledger, asked: LedgerFilter | None = None) -> list[Record]:
    return [one async for one in ledger.export(asked or LedgerFilter())]


async def ids(ledger: Ledger) -> list[str]:
    return [one.id for one in await exported(ledger)]


ASKED = drawing(2, background=True, service_tier="priority", max_tool_calls=3)


def background(number: int, **changes: Any) -> Record:
    return record(number, route="responses.create", **changes)


# One record a call


async def test_a_record_comes_back_as_it_was(ledger: Ledger) -> None:
    given_ = record(
        1, at=NOON + 0.123456, stream=True, response_id="resp_1", code="x", partial_images_requested=2
    )
    assert (await ledger.settle(given_)).verdict is Verdict.WRITTEN
    assert await ledger.record(given_.id) == given_
    assert await ledger.record("igr_none") is None


async def test_half_a_surrogate_pair_does_not_keep_a_record_from_being_written(ledger: Ledger) -> None:
    await ledger.settle(record(1, model="m\ud800", tags=(("a", "\udfff"),)))
    found = await ledger.record(record(1).id)
    assert found is not None
    assert (found.model, found.tags) == ("m?", (("a", "?"),))


async def test_settling_closes_the_call(ledger: Ledger) -> None:
    await ledger.reserve(OpenCall(record=record(1), dispatched=True))
    assert [call.record for call in await ledger.open_calls()] == [record(1)]
    assert await ledger.open_count() == 1
    await ledger.settle(record(1))
    assert await ledger.open_calls() == ()
    assert await ledger.open_count() == 0


async def test_the_first_record_of_a_call_stands(ledger: Ledger) -> None:
    await ledger.settle(record(1))
    second = await ledger.settle(record(1, cost_nusd=NanoUSD(5)))
    assert (second.verdict, second.record) == (Verdict.REPEATED, record(1))
    assert await exported(ledger) == [record(1)]


async def test_late_truth_replaces_a_lost_record_and_keeps_its_id_and_time(ledger: Ledger) -> None:
    guess = lost(OpenCall(record=record(1), dispatched=True), NOON + 60)
    await ledger.settle(guess)
    late = await ledger.settle(record(1, at=NOON + 99))
    assert (late.verdict, late.before, late.record) == (Verdict.CORRECTED, guess, record(1))
    again = await ledger.settle(record(1, cost_nusd=NanoUSD(1)))
    assert again.verdict is Verdict.REPEATED
    assert await exported(ledger) == [record(1)]


async def test_a_second_guess_does_not_replace_the_first(ledger: Ledger) -> None:
    call = OpenCall(record=record(1), dispatched=True)
    await ledger.settle(lost(call, NOON + 60))
    assert (await ledger.settle(lost(call, NOON + 90))).verdict is Verdict.REPEATED


async def test_a_response_is_paid_once_whoever_sees_it(ledger: Ledger) -> None:
    await ledger.settle(background(1, response_id="resp_1"))
    other = await ledger.settle(background(2, response_id="resp_1"))
    assert (other.verdict, other.record.id) == (Verdict.REPEATED, record(1).id)
    assert await ids(ledger) == [record(1).id]
    assert await ledger.response("resp_1") == background(1, response_id="resp_1")


async def test_a_call_that_was_noted_is_charged_though_its_response_is_paid_by_another(
    ledger: Ledger,
) -> None:
    await ledger.settle(background(1, response_id="resp_1"))
    await ledger.reserve(OpenCall(record=background(2), dispatched=True))
    for verdict in (Verdict.WRITTEN, Verdict.REPEATED):
        other = await ledger.settle(background(2, response_id="resp_1"))
        assert (other.verdict, other.record) == (verdict, background(2))
    assert await ledger.response("resp_1") == background(1, response_id="resp_1")
    assert (await ids(ledger), await ledger.open_calls()) == ([record(2).id, record(1).id], ())


async def test_of_two_open_calls_with_one_response_each_has_its_record(ledger: Ledger) -> None:
    for number in (1, 2):
        await ledger.reserve(OpenCall(record=background(number)))
        await ledger.entrust(record(number).id, "resp_1", NOON + 9999, ASKED)
    for number in (2, 1):
        found = await ledger.settle(background(number, response_id="resp_1"))
        assert (found.verdict, found.record.id) == (Verdict.WRITTEN, record(number).id)
    assert await ledger.response("resp_1") == background(1, response_id="resp_1")


async def test_what_was_estimated_gives_way_once_to_what_its_response_reports(ledger: Ledger) -> None:
    guess = background(1, response_id="resp_1", tokens_from=TokensFrom.ESTIMATED)
    await ledger.settle(guess)
    assert (await ledger.settle(replace(guess, cost_nusd=NanoUSD(9)))).verdict is Verdict.REPEATED
    truth = background(1, response_id="resp_1", cost_nusd=NanoUSD(7))
    late = await ledger.settle(truth)
    assert (late.verdict, late.before, late.record) == (Verdict.CORRECTED, guess, truth)
    assert (await ledger.settle(replace(truth, cost_nusd=NanoUSD(8)))).verdict is Verdict.REPEATED
    assert await exported(ledger) == [truth]


async def test_a_call_in_the_background_can_keep_its_place(ledger: Ledger) -> None:
    claim = Claim(
        id=record(1).id,
        claimants=(Claimant("org", (parse_limit("1 concurrent"),)),),
        asked=FIRST_DOOR,
        frames=ZoneCalendar("UTC").frames(FakeClock().now()),
    )
    await ledger.reserve(OpenCall(record=background(1)), claim)
    assert await ledger.entrust(record(1).id, "resp_1", NOON + 9999, ASKED, leaves=False)
    assert isinstance(await ledger.admit(replace(claim, id="igr_other")), Exceeded)
    assert await ledger.entrust(record(1).id, "resp_1", NOON + 9999, ASKED)
    assert isinstance(await ledger.admit(replace(claim, id="igr_other")), Standing)


async def test_whoever_sees_the_end_of_a_background_call_settles_that_call(ledger: Ledger) -> None:
    await ledger.reserve(OpenCall(record=background(1)))
    await ledger.entrust(record(1).id, "resp_1", NOON + 9999, ASKED)
    seen = await ledger.settle(background(7, response_id="resp_1"))
    assert seen.record == background(1, response_id="resp_1")
    assert (await ids(ledger), await ledger.open_calls()) == ([record(1).id], ())


async def test_late_truth_under_another_id_corrects_the_record_of_the_response(ledger: Ledger) -> None:
    await ledger.settle(lost(OpenCall(record=background(1, response_id="resp_1"), dispatched=True), NOON + 9))
    late = await ledger.settle(background(2, response_id="resp_1"))
    assert late.verdict is Verdict.CORRECTED
    assert await exported(ledger) == [background(1, response_id="resp_1")]


@pytest.mark.parametrize("cache", [CacheUse.HIT, CacheUse.COLLAPSED])
async def test_hits_and_joined_calls_show_a_response_without_paying_for_it(
    ledger: Ledger, cache: CacheUse
) -> None:
    free = [background(n, response_id="resp_1", cache=cache, cost_nusd=NanoUSD(0)) for n in (1, 3)]
    paid = background(2, response_id="resp_1")
    for one in (free[0], paid, free[1]):
        assert (await ledger.settle(one)).verdict is Verdict.WRITTEN
    assert await ledger.response("resp_1") == paid
    assert len(await ids(ledger)) == 3


async def test_many_at_once_settle_one_call_once(world: World) -> None:
    workers = [world.worker() for _ in range(2)]
    found = await asyncio.gather(*(workers[n % 2].settle(record(1, cost_nusd=NanoUSD(n))) for n in range(50)))
    assert [one.verdict for one in found].count(Verdict.WRITTEN) == 1
    assert len({one.record.cost_nusd for one in found}) == 1
    assert len(await exported(workers[0])) == 1


async def test_a_settlement_lands_though_its_caller_is_cancelled(ledger: Ledger) -> None:
    task = asyncio.get_running_loop().create_task(ledger.settle(record(1)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await ledger.ping()
    assert await ids(ledger) == [record(1).id]


async def test_a_settlement_lands_though_the_ledger_was_closed(ledger: Ledger) -> None:
    await ledger.aclose()
    await ledger.settle(record(1))
    await ledger.aclose()
    await ledger.aclose()
    assert await ids(ledger) == [record(1).id]


# Calls without a record yet


async def test_a_call_is_begun_once_and_not_after_its_end(ledger: Ledger) -> None:
    await ledger.reserve(OpenCall(record=record(1), dispatched=True, deadline=NOON + 5))
    await ledger.reserve(OpenCall(record=record(1, team="other")))
    (call,) = await ledger.open_calls(ledger.worker)
    assert call == OpenCall(record=record(1), dispatched=True, deadline=NOON + 5, worker=ledger.worker)
    await ledger.settle(record(1))
    await ledger.reserve(OpenCall(record=record(1)))
    assert await ledger.open_calls() == ()


async def test_open_calls_are_told_by_worker(world: World) -> None:
    one, other = world.worker(), world.worker()
    await one.reserve(OpenCall(record=record(2)))
    await other.reserve(OpenCall(record=record(1)))
    assert [call.record.id for call in await one.open_calls()] == [record(1).id, record(2).id]
    assert [call.record.id for call in await one.open_calls(one.worker)] == [record(2).id]


async def test_what_is_not_open_can_be_neither_dispatched_nor_entrusted(ledger: Ledger) -> None:
    await ledger.reserve(OpenCall(record=record(1)))
    assert await ledger.dispatch(record(1).id)
    assert [call.dispatched for call in await ledger.open_calls()] == [True]
    await ledger.settle(record(1))
    assert not await ledger.dispatch(record(1).id)
    assert not await ledger.entrust(record(1).id, "resp_1", NOON, ASKED)


@pytest.mark.parametrize("asked", [ASKED, None], ids=["asked", "not known"])
async def test_an_open_call_is_known_by_its_response_and_by_what_was_asked(
    ledger: Ledger, asked: Call | None
) -> None:
    assert await ledger.response("resp_1") is None
    await ledger.reserve(OpenCall(record=background(1)))
    assert await ledger.entrust(record(1).id, "resp_1", NOON + 9999, asked)
    found = await ledger.response("resp_1")
    assert found == OpenCall(
        record=background(1, response_id="resp_1"),
        dispatched=True,
        deadline=NOON + 9999,
        worker=ledger.worker,
        call=asked,
    )
    assert await ledger.open_calls() == (found,)


# Workers that die


async def test_what_a_dead_worker_sent_is_lost_and_charged_as_it_was_noted_once(world: World) -> None:
    dead, alive, other = world.worker(), world.worker(), world.worker()
    await dead.reserve(OpenCall(record=noted(1)))
    await dead.dispatch(record(1).id)
    world.clock.seconds += DEAD_AFTER_S + 1
    alive_at = world.clock.now()
    found = [*await alive.reap(), *await other.reap()]
    assert [(one.id, one.outcome, one.tokens_from, one.cost_nusd) for one in found] == [
        (record(1).id, Outcome.LOST, TokensFrom.ESTIMATED, record(1).reserved_nusd)
    ]
    assert found == await exported(alive) == [lost(OpenCall(record=noted(1), dispatched=True), alive_at)]
    assert (found[0].lines, found[0].output_image_tokens) == (noted(1).lines, 660)
    assert await alive.open_calls() == ()


async def test_what_a_dead_worker_never_sent_costs_nothing(world: World) -> None:
    dead, alive = world.worker(), world.worker()
    await dead.reserve(OpenCall(record=noted(1)))
    world.clock.seconds += DEAD_AFTER_S + 1
    (found,) = await alive.reap()
    assert (found.outcome, found.cost_nusd, found.tokens_from) == (Outcome.LOST, 0, TokensFrom.NONE)
    assert (found.lines, found.output_image_tokens) == ((), 0)
    assert not await dead.dispatch(record(1).id)


async def test_a_worker_that_beats_keeps_its_calls_and_one_never_reaps_itself(world: World) -> None:
    one, other = world.worker(), world.worker()
    await one.reserve(OpenCall(record=record(1), dispatched=True))
    for _ in range(3):
        world.clock.seconds += DEAD_AFTER_S - 1
        await one.beat()
        assert await other.reap() == ()
    world.clock.seconds += DEAD_AFTER_S + 1
    assert await one.reap() == ()
    assert len(await one.open_calls()) == 1


async def test_a_worker_that_was_taken_for_dead_tells_the_truth_later(world: World) -> None:
    paused, alive = world.worker(), world.worker()
    await paused.reserve(OpenCall(record=record(1), dispatched=True))
    world.clock.seconds += DEAD_AFTER_S + 1
    await alive.reap()
    assert (await paused.settle(record(1))).verdict is Verdict.CORRECTED
    await paused.reserve(OpenCall(record=record(2), dispatched=True))
    assert await alive.reap() == ()
    assert await exported(alive) == [record(1)]


async def test_hundreds_of_calls_of_a_dead_worker_are_all_reaped(world: World) -> None:
    dead, alive = world.worker(), world.worker()
    await asyncio.gather(*(dead.reserve(OpenCall(record=record(n), dispatched=True)) for n in range(450)))
    world.clock.seconds += DEAD_AFTER_S + 1
    assert len(await alive.reap()) == 450
    assert len(await ids(alive)) == 450


async def test_a_background_call_outlives_its_worker_and_goes_to_one_other(world: World) -> None:
    dead, first, second = world.worker(), world.worker(), world.worker()
    await dead.reserve(OpenCall(record=background(1)))
    await dead.entrust(record(1).id, "resp_1", world.clock.now() + 3600, ASKED)
    assert await first.adopt() == ()
    world.clock.seconds += DEAD_AFTER_S + 1
    assert await first.reap() == ()
    (call,) = await first.adopt()
    assert (call.record.response_id, call.worker, call.call) == ("resp_1", first.worker, ASKED)
    assert await second.adopt() == ()
    assert await first.adopt({call.record.id}) == ()
    assert await first.adopt() == (call,), "what it has and does not hold is told again"


async def test_a_background_call_past_its_deadline_is_lost_whoever_looks_after_it(world: World) -> None:
    one, other = world.worker(), world.worker()
    await one.reserve(OpenCall(record=background(1)))
    await one.entrust(record(1).id, "resp_1", world.clock.now() + 3600, ASKED)
    world.clock.seconds += 3600
    await one.beat()
    assert [found.response_id for found in await other.reap()] == ["resp_1"]
    assert (await other.adopt(), await one.adopt()) == ((), ())
    assert (await one.settle(background(1, response_id="resp_1"))).verdict is Verdict.CORRECTED


# Reading


async def test_pages_follow_each_other_to_the_end(ledger: Ledger) -> None:
    for n in range(5):
        await ledger.settle(record(n, at=NOON))
    first = await ledger.page(LedgerFilter(), limit=2)
    assert first.next_cursor is not None
    await ledger.settle(record(9, at=NOON + 9))
    second = await ledger.page(LedgerFilter(), place_after(first.next_cursor), 2)
    assert second.next_cursor is not None
    third = await ledger.page(LedgerFilter(), place_after(second.next_cursor), 2)
    assert third.next_cursor is None
    assert [one.id for page in (first, second, third) for one in page.records] == [
        record(n).id for n in (4, 3, 2, 1, 0)
    ]


async def test_a_full_last_page_says_that_it_is_the_last(ledger: Ledger) -> None:
    await ledger.settle(record(1))
    assert (await ledger.page(LedgerFilter(), limit=1)).next_cursor is None
    assert (await ledger.page(LedgerFilter(team="nobody"))).records == ()


async def test_an_empty_ledger_sums_to_nothing(ledger: Ledger) -> None:
    assert await ledger.span() is None
    assert [row async for row in ledger.usage(())] == summed([], ())
    assert [row async for row in ledger.usage(("team",))] == []
    assert [row async for row in ledger.usage(("day",))] == []


async def test_the_span_is_that_of_the_time_asked_for(ledger: Ledger) -> None:
    for n in range(5):
        await ledger.settle(record(n))
    assert await ledger.span() == (NOON, NOON + 4)
    assert await ledger.span(NOON + 1, NOON + 3) == (NOON + 1, NOON + 2)
    assert await ledger.span(NOON + 5) is None


async def test_sums_can_be_left_half_way(ledger: Ledger) -> None:
    for n in range(3):
        await ledger.settle(record(n, key=f"k{n}"))
    rows = ledger.usage(("key",))
    assert (await anext(rows)).group == ("k0",)
    await rows.aclose()  # type: ignore[attr-defined]  # every adapter's is a generator
    await ledger.settle(record(9))
    assert len(await ids(ledger)) == 4


async def test_sums_can_be_cancelled_at_any_moment(ledger: Ledger) -> None:
    await asyncio.gather(*(ledger.settle(record(n, key=f"k{n}")) for n in range(300)))

    async def add_up() -> int:
        return sum([row.requests async for row in ledger.usage(("key",))])

    for steps in range(12):
        task = asyncio.get_running_loop().create_task(add_up())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError)
    assert await add_up() == 300


async def test_old_records_are_forgotten_and_only_those(ledger: Ledger) -> None:
    for n in range(10):
        await ledger.settle(record(n))
    assert await ledger.prune(NOON + 7) == 7
    assert await ids(ledger) == [record(n).id for n in (9, 8, 7)]
    assert await ledger.prune(NOON + 7) == 0


INSTANTS = st.none() | st.integers(-4 * 86_400, 4 * 86_400).map(lambda s: NOON + s)
FILTERS = st.builds(
    LedgerFilter,
    team=st.sampled_from([None, "design", "växt"]),
    key=st.sampled_from([None, "k1", "k2"]),
    model=st.sampled_from([None, "gpt-image-2"]),
    outcome=st.sampled_from([None, Outcome.COMPLETED, Outcome.FAILED]),
    since=INSTANTS,
    until=INSTANTS,
)
GROUPINGS = st.lists(
    st.sampled_from(["team", "key", "model", "day", "tag:a", "tag:b", 'tag:q"uote', "tag:none"]),
    unique=True,
    max_size=4,
)
BERLIN = ZoneCalendar("Europe/Berlin")


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
@settings(max_examples=EXAMPLES // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kept=records())
async def test_pages_exports_and_sums_agree_with_a_list(
    make: Callable[[Path, FakeClock], Ledger],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    kept: list[Record],
) -> None:
    async with world_in(make, tmp_path_factory.mktemp("ledger")) as world:
        ledger = world.worker()
        await asyncio.gather(*(ledger.settle(one) for one in kept))
        newest_first = sorted(kept, key=place_of, reverse=True)
        for _ in range(3):
            asked = data.draw(FILTERS)
            expected = [one for one in newest_first if asked.takes(one)]
            assert await exported(ledger, asked) == expected
            limit, after = data.draw(st.integers(1, 8)), None
            found: list[Record] = []
            while True:
                page = await ledger.page(asked, after, limit)
                found += page.records
                if page.next_cursor is None:
                    break
                assert len(page.records) == limit
                after = place_after(page.next_cursor)
            assert found == expected

            by, since, until = tuple(data.draw(GROUPINGS)), data.draw(INSTANTS), data.draw(INSTANTS)
            span = await ledger.span(since, until)
            days = BERLIN.days(*span) if span else ()
            in_time = [one for one in kept if LedgerFilter(since=since, until=until).takes(one)]
            assert [row async for row in ledger.usage(by, since, until, days)] == summed(in_time, by, days)


async def test_instants_are_kept_to_the_microsecond(ledger: Ledger) -> None:
    at = NOON + 0.123_456_4
    await ledger.settle(record(1, at=at))
    (kept,) = await exported(ledger, LedgerFilter(since=NOON + 0.123_456, until=NOON + 0.123_457))
    assert micros(kept.at) == micros(at)
    assert kept == replace(record(1), at=kept.at)
