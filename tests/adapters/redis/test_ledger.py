"""What only this adapter can get wrong: many machines at once, their clocks, and numbers that Lua has no integers for."""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from gateway.adapters.redis.ledger import RedisLedger
from gateway.core.ledger import LedgerFilter, OpenCall, Verdict, lost
from gateway.core.limits import Unit, parse_limit
from gateway.core.quota import NOTHING, Amounts, Exceeded, Standing
from gateway.core.record import TokensFrom
from gateway.core.units import NanoUSD
from gateway.ports import LargeLimitError, StoreFailed
from tests.conftest import FULL, SEED
from tests.support.ledger import record
from tests.support.redis import TAGS, shared_cluster, shared_server
from tests.support.redis_ledger import ONE, claim, ledger_at, now, opened, used

CALLERS = 100
GATEWAYS = 3
ROUNDS = 20 if FULL else 2
HOUR_S = 3600.0
ADDRESSES = {
    "redis": lambda: shared_server("redis").address,
    "valkey": lambda: shared_server("valkey").address,
    "cluster": lambda: shared_cluster().address,
}
LIMITS: dict[Unit, Callable[[int], str]] = {
    Unit.REQUESTS: lambda k: f"{k} requests per hour",
    Unit.IMAGES: lambda k: f"{k} images total",
    Unit.IMAGE_TOKENS: lambda k: f"{k * ONE.image_tokens + ONE.image_tokens - 1} image_tokens per day",
    Unit.TOKENS: lambda k: f"{k * ONE.tokens + ONE.tokens // 2} tokens per week",
    Unit.USD: lambda k: f"${k * 0.02:.2f} per month",
    Unit.CONCURRENT: lambda k: f"{k} concurrent",
}


def tag() -> str:
    return f"ledger-{next(TAGS)}"


def patient(**options: object) -> dict[str, object]:
    return {"attempt_s": 5, "patience_s": 10, **options}


@pytest.mark.parametrize("where", list(ADDRESSES))
@pytest.mark.parametrize("unit", list(LIMITS))
async def test_of_a_hundred_at_once_from_three_gateways_exactly_as_many_pass_as_fit(
    where: str, unit: Unit, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(f"{SEED}{where}{unit}")
    for _ in range(ROUNDS):
        fits, name = chance.randint(1, 40), tag()
        limits = [LIMITS[unit](fits)]
        async with AsyncExitStack() as stack:
            gateways = [
                await stack.enter_async_context(ledger_at(ADDRESSES[where](), **patient(tag=name)))
                for _ in range(GATEWAYS)
            ]
            found = await asyncio.gather(
                *(
                    gateways[n % GATEWAYS].reserve(opened(f"igr_{n}"), claim(f"igr_{n}", limits))
                    for n in range(CALLERS)
                )
            )
            assert sum(isinstance(one, Standing) for one in found) == fits, f"seed {SEED}"
            assert len(await gateways[0].open_calls()) == fits
            assert (await used(gateways[1]))[Unit.IMAGES] == (0, fits)
            assert await gateways[2].verify() == ()
    figure(
        "calls on a limit that fits k of a hundred at once, from three gateways on Redis", ROUNDS * CALLERS
    )


async def test_clocks_of_gateways_an_hour_apart_change_nothing() -> None:
    """Windows and workers go by the server's clock."""
    name = tag()
    address = shared_server("redis").address
    async with (
        ledger_at(address, **patient(tag=name)) as early,
        ledger_at(address, **patient(tag=name)) as late,
    ):
        limits = ["2 requests per minute", "3 requests per day"]
        for number, (ledger, off_s) in enumerate([(early, -HOUR_S), (late, HOUR_S)]):
            asked = claim(f"igr_{number}", limits, clock=lambda off_s=off_s: now() + off_s)  # type: ignore[misc]  # bound at once
            found = await ledger.admit(asked)
            assert isinstance(found, Standing)
            assert abs(found.at_us / 1e6 - now()) < 60
        third = await early.admit(claim("igr_3", limits, clock=lambda: now() - HOUR_S))
        assert isinstance(third, Exceeded)
        assert third.reading.limit == parse_limit("2 requests per minute")
        await late.reserve(OpenCall(record=record(1, at=now() + HOUR_S)))
        assert await early.reap() == ()


@pytest.mark.parametrize("unit", list(LIMITS))
async def test_of_a_hundred_at_once_as_many_pass_as_fit_though_clocks_are_an_hour_apart(unit: Unit) -> None:
    fits, name = random.Random(f"{SEED}{unit}").randint(1, 40), tag()
    address, off_s = shared_server("redis").address, (-HOUR_S, 0.0, HOUR_S)
    async with AsyncExitStack() as stack:
        gateways = [
            await stack.enter_async_context(ledger_at(address, **patient(tag=name))) for _ in range(GATEWAYS)
        ]

        async def ask(number: int) -> Standing | Exceeded:
            here = now() + off_s[number % GATEWAYS]
            asked = claim(f"igr_{number}", [LIMITS[unit](fits)], clock=lambda: here)
            return await gateways[number % GATEWAYS].reserve(opened(f"igr_{number}", at=here), asked)

        found = await asyncio.gather(*(ask(number) for number in range(CALLERS)))
        assert sum(isinstance(one, Standing) for one in found) == fits, f"seed {SEED}"
        for ledger in gateways:  # nobody takes anybody for dead, nor a call for over
            await ledger.beat()
            assert await ledger.reap() == ()
        assert await gateways[0].verify() == ()


async def test_clocks_more_than_a_day_apart_are_told_and_nothing_is_taken() -> None:
    async with ledger_at(shared_server("redis").address, **patient(tag=tag())) as ledger:
        with pytest.raises(StoreFailed, match="more than a day apart") as caught:
            await ledger.admit(claim("igr_1", clock=lambda: now() + 72 * HOUR_S))
        assert not caught.value.unknown
        assert (await used(ledger))[Unit.REQUESTS] == (0, 0)


@pytest.mark.parametrize("where", list(ADDRESSES))
async def test_sums_stay_exact_to_the_nano_dollar_beyond_what_a_double_holds(where: str) -> None:
    """2^53 nano-dollars are nine million dollars: the total of a large house gets there."""
    async with ledger_at(ADDRESSES[where](), **patient(tag=tag())) as ledger:
        total = 0
        for number, cost in enumerate([2**53 - 1, 1, 1, 3, 2**60 + 1, 10**15 + 7, 999_999_999, 1]):
            id_ = f"igr_{number}"
            held = replace(ONE, cost_nusd=NanoUSD(5), places=0)
            assert isinstance(await ledger.reserve(opened(id_), claim(id_, asked=held)), Standing)
            await ledger.settle(record(number, id=id_, at=now(), cost_nusd=NanoUSD(cost)), images=1)
            total += cost
            assert (await spent(ledger))["org"] == total
        assert await ledger.verify() == ()


async def spent(ledger: RedisLedger) -> dict[str, int]:
    """What each scope has spent today, as it is kept."""
    kept = await ledger._store.look("HGETALL", "tally")
    return {name.decode().split("\x1f")[0]: int(value.split()[4]) for name, value in kept.items()}


async def test_a_limit_that_a_double_cannot_hold_is_refused_with_words() -> None:
    async with ledger_at(shared_server("redis").address, **patient(tag=tag())) as ledger:
        large = parse_limit("$9000001 per month")
        with pytest.raises(LargeLimitError, match=r"\$9000001 per month.*\$9,000,000") as caught:
            await ledger.set_limits("org", [parse_limit("$1 per day"), large])
        assert caught.value.limit == large
        assert await ledger.changed_limits() == {}
        await ledger.set_limits("org", [parse_limit("$9000000 per month")])


async def test_numbers_of_an_upstream_that_lies_do_not_keep_a_record_from_being_written() -> None:
    async with ledger_at(shared_server("redis").address, **patient(tag=tag())) as ledger:
        await ledger.reserve(opened("igr_1"), claim("igr_1"))
        huge = record(1, id="igr_1", at=now(), output_image_tokens=2**80, input_text_tokens=2**62)
        assert (await ledger.settle(huge)).verdict is Verdict.WRITTEN
        assert (await used(ledger))[Unit.USD] == (record().cost_nusd, 0)
        assert [one.id async for one in ledger.export(LedgerFilter())] == ["igr_1"]


async def test_a_guess_that_is_corrected_twice_is_counted_as_what_it_is_at_last() -> None:
    async with ledger_at(shared_server("redis").address, **patient(tag=tag())) as ledger:
        call = OpenCall(record=record(1, at=now(), response_id="resp_1"), dispatched=True)
        await ledger.reserve(call, claim(call.record.id))
        await ledger.settle(lost(call, now()), 1)
        guess = replace(call.record, tokens_from=TokensFrom.ESTIMATED, cost_nusd=NanoUSD(7))
        assert (await ledger.settle(guess, 1)).verdict is Verdict.CORRECTED
        assert (
            await ledger.settle(replace(call.record, cost_nusd=NanoUSD(9)), 1)
        ).verdict is Verdict.CORRECTED
        assert (await used(ledger))[Unit.USD] == (9, 0)
        assert await ledger.verify() == ()


async def test_a_place_that_was_taken_at_no_door_is_given_back_to_nobody() -> None:
    async with ledger_at(shared_server("redis").address, **patient(tag=tag())) as ledger:
        await ledger.leave("igr_unknown")
        assert isinstance(await ledger.reserve(opened("igr_1"), claim("igr_1", asked=NOTHING)), Standing)
        assert isinstance(
            await ledger.reserve(opened("igr_2"), claim("igr_2", asked=Amounts(images=1))), Standing
        )
        assert (await used(ledger))[Unit.CONCURRENT] == (0, 0)
        assert await ledger.verify() == ()
