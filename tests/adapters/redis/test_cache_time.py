"""Which of two answers stands, how old it is, and that what was promised stays: whatever clocks and servers do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.adapters.clock import SystemClock
from gateway.adapters.redis.cache import RedisCache
from gateway.core.entry import EVERYTHING
from gateway.core.freshness import Life
from gateway.ports import Clock
from tests.support.cache import body_of, entry, given, kept, key_of
from tests.support.redis import Kind, Server, redis_server

HOUR_S = 3600.0
LIFE_S = 600.0
NO_FILE = ("--appendonly", "no")
MIB = 1 << 20
Make = Callable[..., RedisCache]


class Wrong:
    """A clock that is so many seconds ahead."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead_s = ahead_s
        self._clock = SystemClock()

    def now(self) -> float:
        return self._clock.now() + self._ahead_s

    def ticks(self) -> float:
        return self._clock.ticks() + 1234.5


@pytest.fixture(params=["redis", "valkey"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def server(tmp_path: Path, kind: Kind) -> Iterator[Server]:
    with redis_server(tmp_path, kind=kind, arguments=NO_FILE) as started:
        yield started


@pytest.fixture
async def make(server: Server) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        def made(clock: Clock | None = None, *, stays: bool = False) -> RedisCache:
            used = clock or SystemClock()
            cache = RedisCache(server.address, used, max_bytes=1 << 30, stays=stays, patience=20.0)
            stack.push_async_callback(cache.aclose)
            return cache

        yield made


@pytest.mark.parametrize("ahead_s", [HOUR_S, -HOUR_S])
async def test_gateways_whose_clocks_are_an_hour_apart_see_one_age(make: Make, ahead_s: float) -> None:
    clock, wrong = SystemClock(), Wrong(ahead_s)
    one, other = make(clock), make(wrong)
    assert await kept(one, b"fox", entry(1, 3, life=Life(kept_at=clock.now() - 60, ttl_s=LIFE_S)))
    assert await kept(other, b"dog", entry(2, 3, life=Life(kept_at=wrong.now() - 60, ttl_s=LIFE_S)))
    for _ in range(2):
        for cache, own in ((one, clock), (other, wrong)):
            for number in (1, 2):
                [found] = await cache.find(key_of(number))
                assert found.life.age_s(own.now()) == pytest.approx(60, abs=30)
        for cache, own in ((one, clock), (other, wrong)):
            await cache.tidy(own.now())
    assert await kept(other, b"old", entry(3, 3, life=Life(kept_at=wrong.now() - LIFE_S + 1, ttl_s=LIFE_S)))
    await one.tidy(clock.now() + 60)
    assert await one.find(key_of(3)) == ()
    assert (await other.stats()).entries == 2


async def test_whoever_was_replaced_and_wakes_up_takes_the_place_of_nothing(make: Make) -> None:
    """Its successor has led to the end meanwhile: what that one's followers were given is what stands."""
    old, new = make(), make()
    for cache in (old, new):
        assert await cache.find(key_of(1)) == ()
    late = await old.draft()
    assert late is not None
    await late.write(b"old")
    life = Life(kept_at=SystemClock().now(), ttl_s=LIFE_S)
    assert await kept(new, b"new", entry(1, 3, life=life))
    assert not await late.commit(entry(1, 3, life=life))
    await late.drop()
    [found] = await old.find(key_of(1))
    assert await given(old, found) == b"new"
    assert await kept(old, b"own", entry(1, 3, life=life)), "what begins later does"
    [found] = await new.find(key_of(1))
    assert await given(new, found) == b"own"
    assert (await new.stats()).blobs == 1


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl", "noeviction"])
async def test_what_was_promised_stays_whatever_the_server_throws_away(
    tmp_path: Path, kind: Kind, policy: str
) -> None:
    few = (*NO_FILE, "--maxmemory", "40mb", "--maxmemory-policy", policy)
    with redis_server(tmp_path / "few", kind=kind, arguments=few) as server:
        promised, cache = (
            RedisCache(
                server.address, SystemClock(), max_bytes=1 << 30, prefix=prefix, stays=stays, patience=20.0
            )
            for prefix, stays in (("promised:", True), ("cache:", False))
        )
        life = Life(kept_at=SystemClock().now(), ttl_s=LIFE_S)
        for number in range(4):
            assert await kept(promised, body_of(number, MIB), entry(number, MIB, life=life))
        for number in range(60):
            await kept(cache, body_of(number, MIB), entry(number, MIB, life=life))
        await promised.tidy(SystemClock().now())
        for number in range(4):
            [found] = await promised.find(key_of(number))
            assert await given(promised, found) == body_of(number, MIB)
        assert (int(server.said("INFO", "stats")["evicted_keys"]) > 0) == (policy != "noeviction")
        await promised.tidy(SystemClock().now() + LIFE_S + 1)
        assert (await promised.stats()).entries == 0
        assert await promised.find(key_of(1)) == ()
        await cache.purge(EVERYTHING)
        for one in (promised, cache):
            await one.aclose()
        assert [name for name in server.said("KEYS", "promised:*") if not name.endswith("}:total")] != []


async def test_whatever_was_asked_for_later_stands_though_it_ends_first_or_last(make: Make) -> None:
    one = make()
    assert await one.find(key_of(1)) == ()
    life = Life(kept_at=SystemClock().now(), ttl_s=LIFE_S)
    first, second, third = [await one.draft() for _ in range(3)]
    assert first is not None
    assert second is not None
    assert third is not None
    for draft, body, is_kept in ((second, b"2nd", True), (first, b"1st", False), (third, b"3rd", True)):
        await draft.write(body)
        assert await draft.commit(entry(1, 3, life=life)) == is_kept
        await draft.drop()
    [found] = await one.find(key_of(1))
    assert await given(one, found) == b"3rd"


async def test_a_server_whose_clock_is_behind_its_predecessors_keeps_what_is_new(
    make: Make, server: Server
) -> None:
    store = make()
    assert await store.find(key_of(1)) == ()
    life = Life(kept_at=SystemClock().now(), ttl_s=LIFE_S)
    assert await kept(store, b"old", entry(1, 3, life=life))
    about = "imagegate:cache:{index}:about"
    [(name, row)] = server.said("HGETALL", about).items()
    number, digest, size, until, began, names = row.split(" ", 5)
    ahead = " ".join([number, digest, size, until, str(int(began) + 3_600_000_000), names])
    server.said("HSET", about, name, ahead)
    assert await kept(store, b"new", entry(1, 3, life=life))
    [found] = await store.find(key_of(1))
    assert await given(store, found) == b"new"


async def test_what_stays_is_bounded_by_all_who_keep_it(server: Server) -> None:
    """Each of them sees what it keeps itself; the server sees all of it."""
    stores = [
        RedisCache(server.address, SystemClock(), max_bytes=4 * MIB, stays=True, patience=20.0)
        for _ in range(4)
    ]
    life = Life(kept_at=SystemClock().now(), ttl_s=LIFE_S)
    done = await asyncio.gather(
        *(
            kept(stores[number % 4], body_of(number, MIB), entry(number, MIB, life=life))
            for number in range(12)
        )
    )
    stats = await stores[0].stats()
    assert (sum(done), stats.entries) == (3, 3)
    assert stats.bytes <= 4 * MIB
    for number, is_kept in enumerate(done):
        assert bool(await stores[0].find(key_of(number))) == is_kept
    for store in stores:
        await store.aclose()


async def test_what_was_promised_ends_with_its_time_and_leaves_nothing(make: Make, server: Server) -> None:
    store = make(stays=True)
    life = Life(kept_at=SystemClock().now(), ttl_s=LIFE_S)
    for number in range(3):
        assert await kept(store, body_of(number, MIB), entry(number, MIB, life=life))
    assert {server.said("PTTL", name) for name in server.said("KEYS", "*")} == {-1}
    await store.tidy(SystemClock().now() + LIFE_S + 1)
    left = {name: server.said("PTTL", name) for name in server.said("KEYS", "*")}
    assert [name for name, ms in left.items() if ms == -1 and "{index}" not in name] == []
