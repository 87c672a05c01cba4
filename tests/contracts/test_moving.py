"""
A ledger that was moved is the same ledger, whichever kind of store it came from and went to.

Seeded traffic of every sort over a hundred days, moved, and both asked everything that can be asked; then a new worker
takes over in both, and they are asked once more.
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.clock import SystemClock
from gateway.adapters.redis.idempotency import RedisIdempotencyKeys
from gateway.adapters.redis.ledger_store import Store
from gateway.adapters.redis.moving import RedisSource, RedisTarget
from gateway.adapters.sqlite.idempotency import SqliteIdempotencyKeys
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.adapters.sqlite.moving import SqliteSource, SqliteTarget
from gateway.core.idempotency import KeyName, Once, State
from gateway.core.ledger import LedgerFilter, OpenCall
from gateway.core.limits import Limit, Unit, Window, parse_limit
from gateway.core.moving import AT_ONCE, Settled
from gateway.core.quota import Amounts, Claim, Claimant, Standing
from gateway.core.record import CacheUse, Outcome, TokensFrom
from gateway.core.units import NanoUSD
from gateway.ports import IdempotencyKeys, Ledger, LedgerSource, LedgerTarget, StoreFailed, UnfitError
from tests.conftest import FULL, SEED
from tests.support.clock import FakeClock
from tests.support.ledger import noted, record
from tests.support.redis import TAGS, shared_cluster, shared_ledger, shared_server

pytestmark = pytest.mark.timeout(300)

CALLS = 1500 if FULL else 300
DAY_S = 86_400.0
KEYS_OF = {"k1": "a", "k2": "a", "k3": "växt"}
UTC = ZoneCalendar("UTC")
PROBES = tuple(
    Limit(10**12, unit, window)
    for unit in Unit
    for window in ([None] if unit is Unit.CONCURRENT else list(Window))
)


@dataclass(frozen=True)
class Place:
    """Where a ledger can lie."""

    ledger: Callable[[FakeClock], tuple[Ledger, IdempotencyKeys]]
    """One more worker on it."""
    source: Callable[[], LedgerSource]
    target: Callable[[], LedgerTarget]


def sqlite(folder: Path) -> Place:
    def opened(clock: FakeClock) -> tuple[Ledger, IdempotencyKeys]:
        ledger = SqliteLedger.open(folder, clock.now)
        return ledger, SqliteIdempotencyKeys(ledger)

    return Place(opened, lambda: SqliteSource.open(folder), lambda: SqliteTarget.open(folder))


def redis(kind: str) -> Place:
    address = shared_cluster().address if kind == "cluster" else shared_server("redis").address
    tag = f"moving-{next(TAGS)}"

    def opened(clock: FakeClock) -> tuple[Ledger, IdempotencyKeys]:
        ledger = shared_ledger(address, tag, clock.now)
        return ledger, RedisIdempotencyKeys(ledger)

    def source() -> RedisSource:
        RedisSource.open(address, tag=tag)
        return RedisSource(Store(address, tag, attempt_s=10))

    return Place(opened, source, lambda: RedisTarget.open(address, tag=tag))


def place(kind: str, folder: Path) -> Place:
    return sqlite(folder / f"{kind}-{next(TAGS)}") if kind == "sqlite" else redis(kind)


def claimants(key: str) -> tuple[Claimant, ...]:
    limits = tuple(map(parse_limit, ("1000000 requests per minute", "1000000 images per hour")))
    return Claimant(f"key:{key}", limits), Claimant(f"team:{KEYS_OF[key]}"), Claimant("org", limits[:1])


class Traffic:
    """Calls of every sort, by chance, each with its id."""

    def __init__(self, ledger: Ledger, keys: IdempotencyKeys, clock: FakeClock) -> None:
        self.ledger = ledger
        self.keys = keys
        self.clock = clock
        self.chance = random.Random(SEED)
        self.names: list[Once] = []

    async def run(self) -> None:
        for number in range(CALLS):
            self.clock.seconds += self.chance.choice((0.0, 1.0, 40.0, 3000.0, 2 * 100 * DAY_S / CALLS))
            await self.ledger.beat()
            await self.call(number)
        await self.ledger.set_limits(
            "key:k1", [parse_limit("5 images per day"), parse_limit("2 concurrent soft")]
        )
        await self.ledger.set_limits("team:växt", [])
        await self.ledger.prune(self.clock.now() - 90 * DAY_S)

    async def call(self, number: int) -> None:
        chance, id_, key = self.chance, f"igr_{number:06d}", self.chance.choice(list(KEYS_OF))
        about: dict[str, Any] = {"id": id_, "at": self.clock.now(), "team": KEYS_OF[key], "key": key}
        asked = Amounts(
            requests=1,
            images=chance.randint(0, 3),
            image_tokens=chance.randint(0, 999),
            tokens=chance.randint(0, 2000),
            cost_nusd=NanoUSD(chance.randint(0, 10**13)),
            places=1,
        )
        claim = Claim(id=id_, claimants=claimants(key), asked=asked, frames=UTC.frames(self.clock.now()))
        if chance.random() < 0.2:
            once = Once(KeyName(f"i1-{number:064x}"), f"print-{number}")
            await self.keys.begin(once, id_)
            await self.keys.conclude(
                once, id_, chance.choice((State.KEPT, State.CUT, State.NOTED, State.OPEN, None))
            )
            self.names.append(once)
        call = OpenCall(record=noted(**about), dispatched=chance.random() < 0.9)
        assert isinstance(await self.ledger.reserve(call, claim), Standing)
        end = chance.random()
        if end < 0.1:
            return  # it stays open
        if end < 0.2:
            await self.ledger.entrust(
                id_, f"resp_{number}", self.clock.now() + chance.choice((60, 9e6)), None
            )
            if chance.random() < 0.5:
                return
            about["response_id"] = f"resp_{number}"
        over = record(
            **about,
            outcome=chance.choice((Outcome.COMPLETED, Outcome.COMPLETED, Outcome.LOST, Outcome.REFUSED)),
            tokens_from=chance.choice((TokensFrom.REPORTED, TokensFrom.ESTIMATED)),
            cache=chance.choice((CacheUse.MISS, CacheUse.HIT)),
            cost_nusd=NanoUSD(chance.randint(0, 10**13)),
            tags=(("a", 'q"uote'), ("b", "ü\n")),
        )
        await self.ledger.settle(over, images=chance.randint(0, 4))
        if chance.random() < 0.2:  # the truth comes late
            true = replace(
                over, outcome=Outcome.COMPLETED, tokens_from=TokensFrom.REPORTED, cost_nusd=NanoUSD(7)
            )
            await self.ledger.settle(true, images=1)
        if chance.random() < 0.9:
            await self.ledger.leave(id_)


async def all_of(ledger: Ledger, clock: FakeClock) -> Mapping[str, object]:
    """Everything that it says, but for what keys stand for."""
    scopes = ["org", *(f"key:{key}" for key in KEYS_OF), *(f"team:{team}" for team in set(KEYS_OF.values()))]
    at = clock.now()
    readings = await ledger.limits([Claimant(one, PROBES) for one in sorted(scopes)], UTC.frames(at), at)
    calls = {call.record.id: call for call in await ledger.open_calls()}
    return {
        "records": [one async for one in ledger.export(LedgerFilter())],
        "of a key": [one async for one in ledger.export(LedgerFilter(key="k2"))],
        "usage": [row async for row in ledger.usage(("team", "key", "model"))],
        "open": calls,
        "limits": readings,
        "changed": dict(await ledger.changed_limits()),
        "responses": [await ledger.response(f"resp_{number}") for number in range(CALLS)],
        "verify": await ledger.verify(),
    }


async def copy(here: Place, there: Place, *, anew: bool = False) -> list[int]:
    """How many pieces came at once."""
    source, target = here.source(), there.target()
    sizes = []
    try:
        assert await source.living() == 0
        await target.begin([], anew=anew)
        async for pieces in source.pieces():
            sizes.append(len(pieces))
            await target.take(pieces)
        assert await target.verify() == ()
        await target.finish()
    finally:
        await source.aclose()
        await target.aclose()
    return sizes


@asynccontextmanager
async def workers(
    places: Sequence[Place], clock: FakeClock
) -> AsyncIterator[list[tuple[Ledger, IdempotencyKeys]]]:
    async with AsyncExitStack() as stack:
        found = [one.ledger(clock) for one in places]
        for ledger, _ in found:
            stack.push_async_callback(ledger.aclose)
        yield found


async def filled(here: Place, clock: FakeClock) -> Traffic:
    async with workers([here], clock) as [(ledger, keys)]:
        traffic = Traffic(ledger, keys, clock)
        await traffic.run()
    return traffic


def long_ago() -> FakeClock:
    clock = FakeClock()
    clock.seconds = SystemClock().now() // 1 - 500 * DAY_S
    return clock


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("sqlite", "redis"),
        ("redis", "sqlite"),
        ("sqlite", "cluster"),
        ("sqlite", "sqlite"),
        ("redis", "redis"),
    ],
)
async def test_a_ledger_that_was_moved_says_what_it_said(
    tmp_path: Path, first: str, then: str, figure: Callable[[str, int], None]
) -> None:
    clock, here, there = long_ago(), place(first, tmp_path), place(then, tmp_path)
    traffic = await filled(here, clock)
    sizes = await copy(here, there)
    assert max(sizes) <= AT_ONCE
    clock.seconds += 3600.0
    async with workers([here, there], clock) as [(old, old_keys), (new, new_keys)]:
        before, after = await all_of(old, clock), await all_of(new, clock)
        for what, said in before.items():
            assert after[what] == said, f"{what}, seed {SEED}"
        assert before["verify"] == ()
        for once in traffic.names:
            asked = replace(once, fingerprint="another")
            assert await new_keys.begin(asked, "igr_x") == await old_keys.begin(asked, "igr_x"), (
                f"seed {SEED}"
            )
        # A new worker settles what the dead ones left, in either alike.
        adopted = [{one.record.id for one in await ledger.adopt()} for ledger in (old, new)]
        lost = [{one.id for one in await ledger.reap()} for ledger in (old, new)]
        assert adopted[0] == adopted[1]
        assert lost[0] == lost[1] != set()
        before, after = await all_of(old, clock), await all_of(new, clock)
        for what in ("usage", "limits", "verify"):
            assert after[what] == before[what], f"{what}, seed {SEED}"
    figure("calls of a ledger that was moved to another store, and compared", CALLS)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_what_holds_anything_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    clock, there = long_ago(), place(kind, tmp_path)
    async with workers([there], clock) as [(ledger, _)]:
        await ledger.settle(record(1))
    target = there.target()
    for anew in (False, True):
        with pytest.raises(UnfitError, match="is not empty, and is not overwritten"):
            await target.begin([], anew=anew)
    await target.aclose()
    async with workers([there], clock) as [(ledger, _)]:
        assert await ledger.record(record(1).id) == record(1)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_a_place_on_which_a_gateway_has_just_started_is_not_taken(tmp_path: Path, kind: str) -> None:
    clock, there = FakeClock(), place(kind, tmp_path)
    clock.seconds = SystemClock().now()
    async with workers([there], clock) as [(ledger, _)]:
        await ledger.beat()
        target, source = there.target(), there.source()
        assert await source.living() == 1
        with pytest.raises(UnfitError, match="A gateway runs on"):
            await target.begin([], anew=False)
        await target.aclose()
        await source.aclose()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_what_was_left_half_filled_is_of_no_use_to_anybody_until_it_is_begun_again(
    tmp_path: Path, kind: str
) -> None:
    clock, here, there = long_ago(), place("sqlite", tmp_path), place(kind, tmp_path)
    await filled(here, clock)
    source, target = here.source(), there.target()
    await target.begin([], anew=False)
    async for pieces in source.pieces():
        await target.take(pieces)
        break
    for one in (source, target):
        await one.aclose()
    for use in (lambda: there.ledger(clock), there.source):
        with pytest.raises(UnfitError, match="incomplete: a migration to it was not finished"):
            use()
    with pytest.raises(UnfitError, match="--resume"):
        await copy(here, there)
    await copy(here, there, anew=True)
    async with workers([here, there], clock) as [(old, _), (new, _)]:
        assert await all_of(new, clock) == await all_of(old, clock)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_of_two_that_fill_it_at_once_the_one_that_began_last_does(tmp_path: Path, kind: str) -> None:
    there = place(kind, tmp_path)
    one, other = there.target(), there.target()
    await one.begin([], anew=False)
    await one.take([Settled(record(1), None, 0)])
    await other.begin([], anew=True)
    for act in (one.take([Settled(record(2), None, 0)]), one.finish()):
        with pytest.raises(StoreFailed, match="another migration has begun anew on it"):
            await act
    await other.take([Settled(record(3), None, 0)])
    await other.finish()
    for target in (one, other):
        await target.aclose()
    clock = long_ago()
    async with workers([there], clock) as [(ledger, _)]:
        assert [found async for found in ledger.export(LedgerFilter())] == [record(3)]


async def test_a_limit_that_a_double_cannot_hold_is_not_moved_to_a_redis(tmp_path: Path) -> None:
    target = place("redis", tmp_path).target()
    with pytest.raises(UnfitError, match=r"\$10000000 per month.*\$9,000,000"):
        await target.begin([parse_limit("$10000000 per month")], anew=False)
    await target.begin([parse_limit("$9000000 per month")], anew=False)
    await target.aclose()


async def test_a_store_that_is_gone_is_one_that_failed(tmp_path: Path) -> None:
    there = place("sqlite", tmp_path)
    target = there.target()
    await target.begin([], anew=False)
    await target.aclose()
    with pytest.raises(StoreFailed):
        await target.finish()
