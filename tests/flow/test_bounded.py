from pathlib import Path

import pytest

from gateway.adapters.sqlite.cache import SqliteCache
from gateway.core.entry import EVERYTHING
from gateway.flow.bounded import Bounded
from gateway.ports import Cache
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
