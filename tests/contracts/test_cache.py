"""What the `Cache` port promises, whatever it lies in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.adapters.redis.cache import RedisCache
from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.sqlite.cache import SqliteCache
from gateway.core.artefact import PLAIN, Form
from gateway.core.contents import Contents
from gateway.core.entry import EVERYTHING, CacheFilter, Entry, Share
from gateway.core.freshness import Life
from gateway.flow.tasks import spawn
from gateway.ports import Cache, Draft, StoreFailed
from tests.support.cache import body_of, entry, given, kept, key_of
from tests.support.clock import FakeClock
from tests.support.ledger import NOON
from tests.support.redis import shared_cluster, shared_server

MAX_BYTES = 32 << 20
STALE_IF_ERROR_S = 100.0
PIECE_BYTES = 256 * 1024
PATIENCE = 20.0
"""What is promised is no matter of time."""
SIZES = [1, 1000, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5_000_000]


def sqlite(folder: Path, clock: FakeClock) -> Cache:
    return SqliteCache.at(folder, clock.now, max_bytes=MAX_BYTES, stale_if_error_s=STALE_IF_ERROR_S)


def on(address: Callable[[], RedisAddress], *, files: bool = False) -> Callable[[Path, FakeClock], Cache]:
    def make(folder: Path, clock: FakeClock) -> Cache:
        return RedisCache(
            address(),
            clock,
            max_bytes=MAX_BYTES,
            stale_if_error_s=STALE_IF_ERROR_S,
            folder=folder if files else None,
            prefix=f"{folder}:",
            patience=PATIENCE,
            now=clock.now,
        )

    return make


MAKERS: dict[str, Callable[[Path, FakeClock], Cache]] = {
    "sqlite": sqlite,
    "redis": on(lambda: shared_server("redis").address),
    "valkey": on(lambda: shared_server("valkey").address),
    "cluster": on(lambda: shared_cluster().address),
    "redis with files": on(lambda: shared_server("redis").address, files=True),
}
"""Each gives one more process's cache on the store that is named by the folder."""


class World:
    """A store, and processes on it."""

    def __init__(self, make: Callable[[Path, FakeClock], Cache], folder: Path, stack: AsyncExitStack) -> None:
        self.clock = FakeClock()
        self._make = make
        self._folder = folder
        self._stack = stack

    def worker(self) -> Cache:
        cache = self._make(self._folder, self.clock)
        self._stack.push_async_callback(cache.aclose)
        return cache


@pytest.fixture(params=list(MAKERS.values()), ids=list(MAKERS))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(request.param, tmp_path, stack)


@pytest.fixture
def cache(world: World) -> Cache:
    return world.worker()


@pytest.fixture
async def draft(cache: Cache) -> AsyncIterator[Draft]:
    made = await cache.draft()
    assert made is not None
    yield made
    await made.drop()


async def only(cache: Cache, name: object) -> Entry:
    (found,) = await cache.find(key_of(name))
    return found


async def names_in(cache: Cache, names: range) -> list[int]:
    return [name for name in names if await cache.find(key_of(name))]


# Kept, found, given


async def test_what_nobody_kept_is_not_found(cache: Cache) -> None:
    assert await cache.find(key_of(1)) == ()


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_kept_is_found_and_given_byte_for_byte(cache: Cache, size: int) -> None:
    body = body_of(1, size)
    one = entry(1, size, response_id="resp_1")
    assert await kept(cache, body, one)
    found = await only(cache, 1)
    assert found == replace(one, digest=found.digest)
    assert await given(cache, found) == body


async def test_an_empty_body_is_a_body(cache: Cache) -> None:
    assert await kept(cache, b"", entry(1, 0))
    assert await given(cache, await only(cache, 1)) == b""


async def test_another_process_finds_it_and_so_does_a_later_one(world: World) -> None:
    one, two = world.worker(), world.worker()
    body = body_of(1, 700_000)
    assert await kept(one, body, entry(1, len(body)))
    assert await given(two, await only(two, 1)) == body
    await one.aclose()
    await two.aclose()
    later = world.worker()
    assert await given(later, await only(later, 1)) == body


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, None),
        (0, 0),
        (5, 5),
        (0, 1),
        (1, 700_000),
        (262_143, 262_145),
        (262_144, 524_288),
        (699_999, 700_000),
    ],
    ids=str,
)
async def test_any_part_of_a_body_is_given_in_bounded_pieces(
    cache: Cache, start: int, end: int | None
) -> None:
    body = body_of(1, 700_000)
    assert await kept(cache, body, entry(1, len(body)))
    opened = await cache.open(await only(cache, 1))
    assert opened is not None
    assert opened.size == len(body)
    for _ in range(2):
        pieces = [piece async for piece in opened.chunks(start, end)]
        assert b"".join(pieces) == body[start:end]
        assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    opened.close()
    opened.close()


async def test_every_form_of_a_key_has_one_entry_and_the_last_one_kept_comes_first(cache: Cache) -> None:
    forms = (PLAIN, Form(stream=True), Form(stream=True, partial_images=2), PLAIN)
    for number, form in enumerate(forms):
        body = body_of(number, 100)
        assert await kept(cache, body, entry(1, 100, form=form, id=f"igr_{number}"))
    found = await cache.find(key_of(1))
    assert [(one.form, one.original.id) for one in found] == [
        (PLAIN, "igr_3"),
        (Form(stream=True, partial_images=2), "igr_2"),
        (Form(stream=True), "igr_1"),
    ]
    assert [await given(cache, one) for one in found] == [body_of(number, 100) for number in (3, 2, 1)]
    assert (await cache.stats()).blobs == 3, "the body that was replaced is gone"


async def test_an_answer_that_is_kept_again_takes_the_place_of_the_first_for_whoever_comes_then(
    cache: Cache,
) -> None:
    assert await kept(cache, b"first", entry(1, 5))
    first = await only(cache, 1)
    reading = await cache.open(first)
    assert reading is not None
    assert await kept(cache, b"other", entry(1, 5))
    assert await given(cache, await only(cache, 1)) == b"other"
    assert [piece async for piece in reading.chunks()] == [b"first"], "who has it open keeps it"
    reading.close()


async def test_the_same_body_is_stored_once_and_stays_as_long_as_an_entry_has_it(cache: Cache) -> None:
    body = body_of(1, 100_000)
    for name in range(3):
        assert await kept(cache, body, entry(name, len(body), team=f"team-{name}"))
    stats = await cache.stats()
    assert (stats.entries, stats.blobs) == (3, 1)
    assert 100_000 <= stats.bytes < 200_000
    for name in range(2):
        assert await cache.purge(CacheFilter(team=f"team-{name}")) == 1
    assert await given(cache, await only(cache, 2)) == body
    assert await cache.purge(EVERYTHING) == 1
    stats = await cache.stats()
    assert (stats.entries, stats.blobs, stats.bytes) == (0, 0, 0)


# Drafts


async def test_a_draft_is_read_while_it_is_written(draft: Draft) -> None:
    body = body_of(1, 1_000_000)
    for at in range(0, len(body), 50_000):
        await draft.write(body[at : at + 50_000])
        assert draft.size == at + 50_000
        start = max(0, at - 300_000)
        assert await draft.read(start, draft.size) == body[start : at + 50_000]
    assert await draft.read(0, draft.size) == body
    assert await draft.read(7, 7) == b""


async def test_who_follows_reads_on_after_the_draft_was_kept(cache: Cache, draft: Draft) -> None:
    body = body_of(1, 600_000)
    await draft.write(body)
    assert await draft.commit(entry(1, len(body)))
    assert await draft.read(0, len(body)) == body
    await cache.purge(EVERYTHING)
    assert await draft.read(300_000, len(body)) == body[300_000:]


async def test_a_draft_is_not_found_before_it_is_committed(cache: Cache, draft: Draft) -> None:
    await draft.write(b"x" * 600_000)
    assert await cache.find(key_of(1)) == ()
    assert (await cache.stats()).entries == 0


async def test_a_draft_that_was_dropped_never_was(cache: Cache, draft: Draft) -> None:
    await draft.write(b"x" * 600_000)
    await draft.drop()
    assert not draft.alive
    await draft.write(b"x")
    assert not await draft.commit(entry(1, 600_000))
    with pytest.raises(StoreFailed, match="dropped"):
        await draft.read(0, 10)
    await draft.drop()
    assert await cache.find(key_of(1)) == ()


async def test_dropping_a_draft_that_was_kept_changes_nothing(cache: Cache, draft: Draft) -> None:
    await draft.write(b"kept")
    assert await draft.commit(entry(1, 4))
    await draft.drop()
    assert await given(cache, await only(cache, 1)) == b"kept"


async def test_a_body_of_another_size_than_its_entry_says_is_not_kept(cache: Cache, draft: Draft) -> None:
    await draft.write(b"four")
    assert not await draft.commit(entry(1, 5))
    assert await cache.find(key_of(1)) == ()


async def test_a_body_that_is_larger_than_the_cache_is_not_kept(cache: Cache) -> None:
    body = bytes(MAX_BYTES + 1)
    assert not await kept(cache, body, entry(1, len(body)))
    assert (await cache.stats()).entries == 0


async def test_a_writer_that_is_cancelled_at_any_moment_leaves_all_or_nothing(
    world: World, rounds: int
) -> None:
    cache = world.worker()
    body = body_of(1, 600_000)
    for name in range(3 * rounds):
        task = spawn("writer", kept(cache, body, entry(name, len(body))))
        for _ in range(name % 30):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    found = [one for name in range(3 * rounds) for one in await cache.find(key_of(name))]
    assert [await given(cache, one) == body for one in found] == [True] * len(found)
    assert (await cache.stats()).entries == len(found)


async def test_many_at_once_are_all_kept(world: World) -> None:
    caches = [world.worker(), world.worker()]
    bodies = [body_of(name % 5, 40_000 + name % 5) for name in range(40)]
    done = await asyncio.gather(
        *(kept(caches[name % 2], body, entry(name, len(body))) for name, body in enumerate(bodies))
    )
    assert all(done)
    found = await asyncio.gather(*(only(caches[0], name) for name in range(40)))
    assert list(await asyncio.gather(*(given(caches[1], one) for one in found))) == bodies
    assert (await caches[0].stats()).blobs == 5


# Purge and count


@pytest.mark.parametrize(
    ("which", "left"),
    [
        (EVERYTHING, []),
        (CacheFilter(team="design"), [2, 3]),
        (CacheFilter(key_id="sales-1"), [0, 1, 3]),
        (CacheFilter(model="gpt-image-2"), [1, 2]),
        (CacheFilter(response_id="resp_3"), [0, 1, 2]),
        (CacheFilter(team="sales", model="gpt-image-2"), [0, 1, 2]),
        (CacheFilter(team="nobody"), [0, 1, 2, 3]),
    ],
    ids=str,
)
async def test_a_purge_forgets_what_its_filter_takes_and_nothing_else(
    world: World, which: CacheFilter, left: list[int]
) -> None:
    cache, other = world.worker(), world.worker()
    about: list[dict[str, str | None]] = [
        {"model": "gpt-image-2"},
        {"model": "gpt-image-1"},
        {"model": "gpt-image-1", "team": "sales", "key": "sales-1"},
        {"model": "gpt-5", "tool_model": "gpt-image-2", "team": "sales", "response_id": "resp_3"},
    ]
    entries = [entry(name, 10, **one) for name, one in enumerate(about)]
    for name, one in enumerate(entries):
        assert await kept(cache, body_of(name, 10), one)
    assert await other.purge(which) == 4 - len(left)
    assert await names_in(cache, range(4)) == left
    assert left == [name for name, one in enumerate(entries) if not which.takes(one)]
    stats = await cache.stats()
    assert (stats.entries, stats.blobs) == (len(left), len(left))


async def test_a_purge_of_more_than_one_transaction_takes_all(cache: Cache) -> None:
    await asyncio.gather(*(kept(cache, b"x", entry(name, 1)) for name in range(520)))
    assert await cache.purge(EVERYTHING) == 520
    assert (await cache.stats()).bytes == 0


async def test_stats_tell_how_full_it_is_and_by_whom(cache: Cache) -> None:
    assert (await cache.stats()).max_bytes == MAX_BYTES
    for name, team in enumerate(("design", "design", "sales", None)):
        assert await kept(cache, body_of("same", 5000), entry(name, 5000, team=team))
    stats = await cache.stats()
    assert (stats.entries, stats.blobs) == (4, 1)
    assert stats.teams == {"design": Share(2, 10_000), "sales": Share(1, 5000)}


# Tidy


async def test_what_nobody_may_be_given_any_more_goes_when_it_is_tidied(world: World) -> None:
    cache = world.worker()
    lives = [
        Life(kept_at=NOON, ttl_s=10),
        Life(kept_at=NOON, ttl_s=10, most_s=10),
        Life(kept_at=NOON, ttl_s=500),
    ]
    for name, life in enumerate(lives):
        assert await kept(cache, body_of(name, 10), entry(name, 10, life=life))
    found = await only(cache, 0)
    await cache.tidy(NOON + 9)
    assert await names_in(cache, range(3)) == [0, 1, 2]
    await cache.tidy(NOON + 11)
    assert await names_in(cache, range(3)) == [0, 2], "one may stand in for an error yet"
    await cache.tidy(NOON + 10 + STALE_IF_ERROR_S)
    assert await names_in(cache, range(3)) == [2]
    assert await cache.open(found) is None
    assert (await cache.stats()).blobs == 1


async def test_tidying_leaves_what_is_of_use_and_what_is_under_way(cache: Cache, draft: Draft) -> None:
    body = body_of(1, 600_000)
    assert await kept(cache, body, entry(1, len(body)))
    await draft.write(body)
    await cache.tidy(NOON)
    assert await given(cache, await only(cache, 1)) == body
    assert await draft.commit(entry(2, len(body)))
    await cache.tidy(NOON)
    assert await given(cache, await only(cache, 2)) == body


async def test_it_works_after_it_was_closed_and_is_closed_twice(cache: Cache) -> None:
    assert await kept(cache, b"one", entry(1, 3))
    await cache.touch(await only(cache, 1))
    await cache.aclose()
    assert await kept(cache, b"two", entry(2, 3))
    assert await given(cache, await only(cache, 1)) == b"one"
    await cache.aclose()
    await cache.aclose()


async def test_contents_come_back_with_their_entry(cache: Cache) -> None:
    contents = Contents(4, links=("https://pictures.example/ä",))
    assert await kept(cache, b"body", entry(1, 4, contents=contents))
    assert (await only(cache, 1)).contents == contents


async def test_a_cache_that_can_be_read_answers(cache: Cache) -> None:
    await cache.ping()
