from pathlib import Path

import pytest

from gateway.adapters.sqlite.cache import SqliteCache
from gateway.core.entry import EVERYTHING
from gateway.flow.bounded import DRAFT_BYTES, Bounded
from gateway.ports import Cache, StoreFailed
from tests.support.cache import body_of, entry, given, kept
from tests.support.clock import FakeClock

MOST_BYTES = 10_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(tmp_path: Path, clock: FakeClock) -> Cache:
    return Bounded(SqliteCache.at(tmp_path, clock.now, max_bytes=1 << 60), MOST_BYTES)


async def test_it_takes_no_more_when_it_is_full_and_forgets_nothing(cache: Cache) -> None:
    assert await kept(cache, body_of(1, 6000), entry(1, 6000))
    assert await kept(cache, body_of(2, 6000), entry(2, 6000))
    assert await cache.draft() is None
    for number in (1, 2):
        [found] = await cache.find(entry(number, 6000).key)
        assert await given(cache, found) == body_of(number, 6000)
    await cache.aclose()


async def test_it_takes_more_when_some_of_it_is_over(cache: Cache, clock: FakeClock) -> None:
    assert await kept(cache, body_of(1, 12_000), entry(1, 12_000))
    await cache.tidy(clock.now())
    assert await cache.draft() is None, "by what lies there, too"
    assert await cache.purge(EVERYTHING) == 1
    await cache.tidy(clock.now())
    assert await kept(cache, body_of(2, 6000), entry(2, 6000))
    assert (await cache.stats()).entries == 1
    await cache.ping()
    await cache.aclose()


async def test_what_is_dropped_takes_nothing(cache: Cache) -> None:
    draft = await cache.draft()
    assert draft is not None
    await draft.write(bytes(20_000))
    assert (draft.size, draft.alive, await draft.read(0, 2)) == (20_000, True, bytes(2))
    await draft.drop()
    assert await kept(cache, body_of(1, 100), entry(1, 100))
    await cache.aclose()


async def test_it_takes_no_more_than_can_be_spared_where_it_lies(tmp_path: Path, clock: FakeClock) -> None:
    left = 100 * DRAFT_BYTES
    looks = 0

    async def spare() -> int | None:
        nonlocal looks
        looks += 1
        return left

    kept_in = SqliteCache.at(tmp_path, clock.now, max_bytes=1 << 60)
    cache = Bounded(kept_in, 1 << 40, spare)
    for number in range(5):
        assert await kept(cache, body_of(number, 100), entry(number, 100))
    assert looks == 1
    drafts = [await cache.draft() for _ in range(10)]
    assert None not in drafts
    assert looks > 1, "a part of it is taken by what is under way: others may have taken as much"
    left = 10 * DRAFT_BYTES
    await cache.tidy(clock.now())
    assert await cache.draft() is None, "what is under way takes all of it"
    for draft in drafts:
        assert draft is not None
        await draft.drop()
        await draft.drop()
    assert await kept(cache, body_of(9, 100), entry(9, 100))
    left = DRAFT_BYTES - 1
    await cache.tidy(clock.now())
    assert await cache.draft() is None
    await cache.aclose()


async def test_where_nothing_says_how_much_can_be_spared_nothing_is_bounded_by_it(
    tmp_path: Path, clock: FakeClock
) -> None:
    looks = 0

    async def unbounded() -> int | None:
        nonlocal looks
        looks += 1
        return None

    async def silent() -> int | None:
        raise StoreFailed("it does not say", unknown=False)

    for number, spare in enumerate((unbounded, silent)):
        cache = Bounded(SqliteCache.at(tmp_path / str(number), clock.now, max_bytes=1 << 60), 1 << 40, spare)
        for size in (100, 200):
            assert await kept(cache, body_of(size, size), entry(size, size))
        await cache.aclose()
    assert looks == 1
