"""What only this adapter can get wrong: servers that stop, forget or run full, and processes that die."""

import asyncio
import random
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.adapters.redis import cache as cache_module
from gateway.adapters.redis import cache_bodies
from gateway.adapters.redis.cache import RedisCache
from gateway.adapters.redis.cache_bodies import CHUNK_BYTES
from gateway.adapters.redis.cache_body import RedisBody
from gateway.adapters.redis.connection import RedisAddress
from gateway.core.breaker import FAILURES, PAUSE_S
from gateway.core.entry import EVERYTHING, CacheFilter, Entry
from gateway.core.freshness import Life
from gateway.flow.tasks import spawn
from gateway.ports import StoreFailed
from tests.conftest import SEED
from tests.support.cache import body_of, entry, given, kept, key_of
from tests.support.cache_writer import body_numbered, name_of
from tests.support.clock import FakeClock
from tests.support.ledger import NOON
from tests.support.ports import free_port
from tests.support.redis import Kind, Server, redis_server

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
MAX_BYTES = 64 * MIB
NO_FILE = ("--appendonly", "no")
Make = Callable[..., RedisCache]


@pytest.fixture(params=["redis", "valkey"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def server(tmp_path: Path, kind: Kind) -> Iterator[Server]:
    with redis_server(tmp_path, kind=kind, arguments=NO_FILE) as started:
        yield started


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def make(server: Server, clock: FakeClock) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        def made(**options: Any) -> RedisCache:
            given_options: dict[str, Any] = {
                "max_bytes": MAX_BYTES,
                "patience": 20.0,
                "now": clock.now,
            } | options
            cache = RedisCache(server.address, clock, **given_options)
            stack.push_async_callback(cache.aclose)
            return cache

        yield made


@pytest.fixture
async def store(make: Make) -> RedisCache:
    return make()


@pytest.fixture
async def hasty(make: Make) -> RedisCache:
    """One that waits no longer than it does in earnest."""
    return make(patience=1.0)


@pytest.fixture
def raw(server: Server) -> Iterator["redis.Redis"]:
    """A look behind the scenes, where bytes are bytes."""
    with closing(redis.Redis(port=server.port, protocol=2)) as client:
        yield client


def field(raw: "redis.Redis", key: bytes, name: str) -> bytes:
    found = raw.hget(key, name)
    assert isinstance(found, bytes)
    return found


def bodies(raw: "redis.Redis") -> list[bytes]:
    return sorted(raw.scan_iter("*:body"))


def records(raw: "redis.Redis") -> list[bytes]:
    return sorted(raw.scan_iter("imagegate:cache:{v1-*"))


def lives(draft: object) -> bool:
    alive: bool = getattr(draft, "alive")  # noqa: B009 - read anew each time
    return alive


def complaints(log: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in log.records if one.name == "imagegate.cache"]


async def only(store: RedisCache, name: object) -> Entry:
    (found,) = await store.find(key_of(name))
    return found


async def names_in(store: RedisCache, names: range) -> list[int]:
    return [name for name in names if await store.find(key_of(name))]


# Bodies that are not what they should be


def _flip(raw: "redis.Redis", body: bytes) -> None:
    chunk = bytearray(field(raw, body, "0"))
    chunk[len(chunk) // 2] ^= 1
    raw.hset(body, "0", bytes(chunk))


def _lose_last(raw: "redis.Redis", body: bytes) -> None:
    raw.hdel(body, str(raw.hlen(body) - 1))


def _shorten(raw: "redis.Redis", body: bytes) -> None:
    raw.hset(body, "0", field(raw, body, "0")[:-1])


def _evict(raw: "redis.Redis", body: bytes) -> None:
    raw.delete(body)


@pytest.mark.parametrize("size", [1000, 5 * MIB], ids=["small", "large"])
@pytest.mark.parametrize("harm", [_flip, _lose_last, _shorten, _evict])
async def test_a_body_that_was_harmed_is_a_miss_and_its_entry_is_forgotten(
    store: RedisCache,
    raw: "redis.Redis",
    caplog: pytest.LogCaptureFixture,
    size: int,
    harm: Callable[["redis.Redis", bytes], None],
) -> None:
    assert await kept(store, body_of(1, size), entry(1, size))
    (body,) = bodies(raw)
    assert await kept(store, b"good", entry(2, 4))
    one = await only(store, 1)
    harm(raw, body)
    assert await store.open(one) is None
    assert await names_in(store, range(3)) == [2]
    stats = await store.stats()
    assert (stats.entries, stats.blobs) == (1, 1)
    assert len(complaints(caplog)) == 1
    assert await kept(store, body_of(1, size), entry(1, size)), "and it is kept again"
    assert await given(store, await only(store, 1)) == body_of(1, size)


async def test_who_shares_a_harmed_body_finds_that_out_and_a_new_one_takes_its_place(
    store: RedisCache, raw: "redis.Redis"
) -> None:
    for name in range(2):
        assert await kept(store, b"body", entry(name, 4))
    (body,) = bodies(raw)
    _flip(raw, body)
    assert await store.open(await only(store, 0)) is None
    assert await kept(store, b"body", entry(2, 4)), "the index knows an equal one, which is gone"
    assert await given(store, await only(store, 2)) == b"body"
    assert await store.open(await only(store, 1)) is None
    assert await names_in(store, range(3)) == [2]
    stats = await store.stats()
    assert (stats.entries, stats.blobs) == (1, 1)


async def test_a_large_body_that_is_harmed_while_it_is_given_breaks_off(
    store: RedisCache, raw: "redis.Redis"
) -> None:
    size = cache_module.HELD_BYTES + 1
    assert await kept(store, bytes(size), entry(1, size))
    for harm, said in ((_flip, "changed"), (_evict, "not there")):
        body = await store.open(await only(store, 1))
        assert body is not None
        harm(raw, bodies(raw)[0])
        with pytest.raises(StoreFailed, match=said):
            async for _ in body.chunks():
                pass
        body.close()
        raw.hset(bodies(raw)[0], "0", bytes(CHUNK_BYTES)) if harm is _flip else None


async def test_a_large_body_is_given_to_its_end_though_its_entry_goes_meanwhile(
    store: RedisCache, raw: "redis.Redis"
) -> None:
    size = cache_module.HELD_BYTES + MIB
    assert await kept(store, body_of(1, size), entry(1, size))
    body = await store.open(await only(store, 1))
    assert body is not None
    chunks = body.chunks()
    read = [await anext(chunks)]
    assert await store.purge(EVERYTHING) == 1
    (name,) = bodies(raw)
    raw.pexpire(name, 5000)
    await store._bodies.say()
    assert raw.pttl(name) > 5000, "who reads it says so"
    read += [chunk async for chunk in chunks]
    assert b"".join(read) == body_of(1, size)
    body.close()
    raw.pexpire(name, 5000)
    await store._bodies.say()
    assert 0 < raw.pttl(name) <= 5000, "and no more when it was closed"


async def test_a_record_of_another_version_is_a_miss_and_makes_room_for_a_new_one(
    store: RedisCache, raw: "redis.Redis"
) -> None:
    assert await kept(store, b"body", entry(1, 4))
    (record,) = records(raw)
    raw.hset(record, "plain", field(raw, record, "plain").replace(b'"version":1', b'"version":9'))
    assert await store.find(key_of(1)) == ()
    assert await kept(store, b"body", entry(1, 4))
    assert await given(store, await only(store, 1)) == b"body"
    assert (await store.stats()).entries == 1


# What is kept for how long


async def test_everything_ends_with_its_time(store: RedisCache, raw: "redis.Redis") -> None:
    for name, life in enumerate((Life(kept_at=NOON, ttl_s=100), Life(kept_at=NOON, ttl_s=50, most_s=40))):
        assert await kept(store, body_of(name, MIB), entry(name, MIB, life=life))
    draft = await store.draft()
    assert draft is not None
    await draft.write(bytes(MIB))
    left = {key: raw.pttl(key) for key in raw.scan_iter("*")}
    assert len(left) == 5 + 2 * 2 + 1
    assert all(0 < ms <= 100_000 for ms in left.values())
    assert sorted(-(-left[key] // 10_000) for key in bodies(raw)) == [3, 4, 10]
    await draft.drop()
    assert len(bodies(raw)) == 2, "what was dropped is gone at once"


async def test_a_draft_lasts_as_long_as_its_process_says_so(store: RedisCache, raw: "redis.Redis") -> None:
    draft = await store.draft()
    assert draft is not None
    await draft.write(bytes(MIB))
    (body,) = bodies(raw)
    raw.pexpire(body, 5000)
    await store._bodies.say()
    assert raw.pttl(body) > 5000
    raw.delete(body)
    await draft.write(bytes(MIB))
    assert not draft.alive, "its beginning is gone"
    with pytest.raises(StoreFailed):
        await draft.read(0, 10)
    assert not await draft.commit(entry(1, 2 * MIB))
    await draft.drop()
    assert await kept(store, b"body", entry(1, 4))


async def test_a_draft_that_is_gone_at_its_end_is_not_kept(store: RedisCache, raw: "redis.Redis") -> None:
    draft = await store.draft()
    assert draft is not None
    await draft.write(bytes(MIB))
    raw.delete(*bodies(raw))
    assert not await draft.commit(entry(1, MIB))
    await draft.drop()
    assert await store.find(key_of(1)) == ()
    assert (await store.stats()).entries == 0


# Room


async def test_what_was_not_used_for_longest_goes_first(make: Make, clock: FakeClock) -> None:
    store = make(max_bytes=5 * MIB)
    for name in range(4):
        clock.seconds += 1
        assert await kept(store, body_of(name, MIB), entry(name, MIB))
    clock.seconds += 1
    await store.touch(await only(store, 0))
    await store._write_touches()
    for name in (4, 5):
        clock.seconds += 1
        assert await kept(store, body_of(name, MIB), entry(name, MIB))
    assert await names_in(store, range(6)) == [0, 3, 4, 5]
    assert (await store.stats()).bytes <= 5 * MIB


async def test_a_touch_is_written_down_when_it_is_old_or_one_of_many_or_the_cache_is_closed(
    store: RedisCache, raw: "redis.Redis", clock: FakeClock
) -> None:
    for name in range(cache_module.TOUCHES):
        assert await kept(store, b"x", entry(name, 1))
    entries = [await only(store, name) for name in range(cache_module.TOUCHES)]

    async def noted() -> int:
        await asyncio.gather(
            *(task for task in asyncio.all_tasks() if task.get_name() == "touches"), return_exceptions=True
        )
        at = int(clock.now() * 1e6)
        return len(raw.zrangebyscore("imagegate:cache:{index}:used", at, at))

    clock.seconds += 1
    for one in entries[:-1]:
        await store.touch(one)
    assert await noted() == 0
    await store.touch(entries[-1])
    assert await noted() == cache_module.TOUCHES
    clock.seconds += 1
    await store.touch(entries[0])
    clock.seconds += cache_module.TOUCHED_S
    await store.touch(entries[0])
    assert await noted() == 1
    clock.seconds += 1
    await store.touch(entries[1])
    assert await noted() == 0
    await store.aclose()
    assert await noted() == 1


async def test_a_cache_that_was_made_smaller_is_cut_back_when_it_is_tidied(
    make: Make, clock: FakeClock
) -> None:
    store = make()
    for name in range(4):
        clock.seconds += 1
        assert await kept(store, body_of(name, MIB), entry(name, MIB))
    await make(max_bytes=2 * MIB + 100_000).tidy(clock.now())
    assert await names_in(store, range(4)) == [2, 3]


async def test_large_bodies_pass_in_bounded_memory(store: RedisCache) -> None:
    size = 24 * MIB
    piece = body_of(1, 64 * 1024)
    tracemalloc.start()
    draft = await store.draft()
    assert draft is not None
    for _ in range(size // len(piece)):
        await draft.write(bytes(piece))
    assert await draft.commit(entry(1, size))
    body = await store.open(await only(store, 1))
    assert body is not None
    taken = 0
    async for chunk in body.chunks():
        taken += len(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    body.close()
    await draft.drop()
    assert taken == size
    assert peak < 6 * MIB


async def test_bodies_that_are_held_take_bounded_memory_together(store: RedisCache) -> None:
    size = cache_module.HELD_BYTES
    assert await kept(store, body_of(1, size), entry(1, size))
    one = await only(store, 1)
    opened = [body for _ in range(12) if isinstance(body := await store.open(one), RedisBody)]
    most = cache_module.HELD_TOGETHER_BYTES // size
    assert [bool(body._held) for body in opened] == [True] * most + [False] * (12 - most)
    for body in opened:
        assert b"".join([chunk async for chunk in body.chunks()]) == body_of(1, size)
        body.close()
    for _ in range(2 * most):
        assert await store.open(replace(one, digest="0" * 64)) is None
    again = await store.open(one)
    assert isinstance(again, RedisBody)
    assert again._held
    again.close()
    with pytest.raises(StoreFailed, match="closed"):
        await anext(again.chunks())


async def test_a_server_that_evicts_never_gives_a_wrong_body(
    tmp_path: Path, kind: Kind, clock: FakeClock, rounds: int, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(SEED)
    given_whole, missed = 0, 0
    few = (*NO_FILE, "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    with redis_server(tmp_path / "few", kind=kind, arguments=few) as server:
        store = RedisCache(server.address, clock, max_bytes=1 << 30, patience=20.0, now=clock.now)
        sizes = {}
        for number in range(40 * rounds // 2):
            clock.seconds += 6
            size = sizes[number] = chance.choice((10, 5000, 300_000, 1_500_000, 5_000_000))
            await kept(store, body_of(number, size), entry(number, size))
            for name in chance.sample(sorted(sizes), min(4, len(sizes))):
                for one in await store.find(key_of(name)):
                    body = await given(store, one)
                    assert body is None or body == body_of(name, sizes[name])
                    given_whole += body is not None
                    missed += body is None
        assert int(server.said("INFO", "stats")["evicted_keys"]) > 0
        await store.tidy(clock.now())
        await store.purge(EVERYTHING)
        assert [name for name in sizes if await store.find(key_of(name))] == []
        await store.aclose()
    assert given_whole > 0
    figure("bodies given whole by a Redis that evicts", given_whole)


async def test_a_server_that_is_full_costs_the_entry_only(
    tmp_path: Path, kind: Kind, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    few = (*NO_FILE, "--maxmemory", "12mb", "--maxmemory-policy", "noeviction")
    with redis_server(tmp_path / "few", kind=kind, arguments=few) as server:
        store = RedisCache(server.address, clock, max_bytes=1 << 30, patience=20.0, now=clock.now)
        assert await kept(store, b"good", entry(1, 4))
        for _ in range(2 * FAILURES):
            assert not await kept(store, bytes(16 * MIB), entry(2, 16 * MIB))
        assert await given(store, await only(store, 1)) == b"good", "it answers: nobody stops asking"
        assert any("OutOfMemory" in one or "OOM" in one for one in complaints(caplog))
        assert len(complaints(caplog)) == 1
        assert await kept(store, b"body", entry(3, 4)), "what was written in vain is gone"
        await store.aclose()


# The index


async def test_entries_of_which_the_index_has_lost_all_are_found_purged_and_counted(
    make: Make, raw: "redis.Redis"
) -> None:
    store = make()
    for name in range(3):
        assert await kept(store, body_of(name, 10), entry(name, 10, team=f"team-{name}"))
    raw.delete(*raw.scan_iter("imagegate:cache:{index}:*"))
    assert await names_in(store, range(3)) == [0, 1, 2]
    assert await kept(store, b"body", entry(3, 4))
    assert await store.purge(CacheFilter(team="team-1")) == 1
    assert await names_in(store, range(4)) == [0, 2, 3]
    assert (await store.stats()).entries == 3
    raw.delete("imagegate:cache:{index}:used")
    assert await kept(store, b"body", entry(4, 4)), "a part of it says nothing"
    assert (await store.stats()).entries == 1
    await store.tidy(NOON)
    assert (await store.stats()).entries == 4
    assert await store.purge(EVERYTHING) == 4
    assert await names_in(store, range(5)) == []


async def test_what_the_server_has_taken_is_forgotten_when_it_is_tidied(
    store: RedisCache, raw: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in range(3):
        assert await kept(store, body_of(name, 10), entry(name, 10))
    raw.delete(f"imagegate:cache:{{{key_of(0)}}}")
    lying = await store._records.one(key_of(1), "plain")
    assert lying is not None
    raw.delete(f"imagegate:cache:{{{lying.body}}}:body")
    await store.tidy(NOON)
    assert (await store.stats()).entries == 3, "one may just be about to be written down"
    monkeypatch.setattr(cache_module, "SETTLED_S", 0.0)
    await store.tidy(NOON)
    assert (await store.stats()).entries == 1
    assert await names_in(store, range(3)) == [2]


async def test_numbers_grow_though_the_index_was_lost(store: RedisCache, raw: "redis.Redis") -> None:
    assert await kept(store, b"first", entry(1, 5))
    raw.delete(*raw.scan_iter("imagegate:cache:{index}:*"))
    assert await kept(store, b"other", entry(1, 5))
    assert await given(store, await only(store, 1)) == b"other"


async def test_of_two_that_are_kept_at_once_one_stays_and_nothing_is_left_over(
    make: Make, raw: "redis.Redis", rounds: int
) -> None:
    stores = [make() for _ in range(3)]
    for number in range(rounds):
        sizes = [1000 + who for who in range(6)]
        done = await asyncio.gather(
            *(
                kept(stores[who % 3], body_of((number, who), size), entry(1, size))
                for who, size in enumerate(sizes)
            )
        )
        # One whose place another one takes before it is whole is not kept.
        one = await only(stores[0], 1)
        assert done[sizes.index(one.size)]
        assert await given(stores[1], one) == body_of((number, sizes.index(one.size)), one.size)
        stats = await stores[2].stats()
        assert (stats.entries, stats.blobs) == (1, 1)
    gone = [body for body in bodies(raw) if raw.hexists(body, "gone")]
    assert len(bodies(raw)) == len(gone) + 1
    assert all(0 < raw.pttl(body) <= cache_bodies.USED_S * 1000 for body in gone)


# Servers that stop


async def test_a_server_that_is_paused_costs_misses_and_is_not_waited_for_by_each_call(
    server: Server, hasty: RedisCache, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = hasty
    assert await kept(store, b"body", entry(1, 4))
    one = await only(store, 1)
    server.pause()
    assert await store.find(key_of(1)) == ()
    assert await store.open(one) is None
    assert not await kept(store, b"body", entry(2, 4))
    for _ in range(FAILURES):
        assert await store.find(key_of(1)) == ()
    assert await store.draft() is None
    await store.touch(one)
    with pytest.raises(StoreFailed):
        await store.stats()
    with pytest.raises(StoreFailed):
        await store.purge(EVERYTHING)
    server.resume()
    assert await store.find(key_of(1)) == (), "it is not even asked"
    assert len(complaints(caplog)) == 2, "one line of each kind"
    clock.seconds += PAUSE_S
    assert await given(store, await only(store, 1)) == b"body"
    assert await kept(store, b"body", entry(2, 4))


@pytest.mark.parametrize("stop", [Server.pause, Server.kill], ids=["paused", "killed"])
async def test_a_server_that_stops_in_the_middle_of_a_body_costs_the_entry_only(
    server: Server, hasty: RedisCache, clock: FakeClock, stop: Callable[[Server], None]
) -> None:
    store = hasty
    draft = await store.draft()
    assert draft is not None
    await draft.write(bytes(MIB))
    assert lives(draft)
    stop(server)
    await draft.write(bytes(MIB))
    assert not lives(draft)
    with pytest.raises(StoreFailed):
        await draft.read(0, MIB)
    assert not await draft.commit(entry(1, 2 * MIB))
    await draft.drop()
    server.restart()
    clock.seconds += PAUSE_S
    assert await store.find(key_of(1)) == ()
    assert await kept(store, b"body", entry(1, 4))
    assert await given(store, await only(store, 1)) == b"body"


@pytest.mark.parametrize(
    "stop", [Server.pause, Server.kill, Server.restart], ids=["paused", "killed", "emptied"]
)
async def test_a_server_that_stops_while_a_large_body_is_given_breaks_it_off(
    server: Server, hasty: RedisCache, stop: Callable[[Server], None]
) -> None:
    store = hasty
    size = cache_module.HELD_BYTES + MIB
    assert await kept(store, body_of(1, size), entry(1, size))
    assert await kept(store, body_of(2, MIB), entry(2, MIB))
    large, small = await store.open(await only(store, 1)), await store.open(await only(store, 2))
    assert large is not None
    assert small is not None
    chunks = large.chunks()
    await anext(chunks)
    stop(server)
    assert b"".join([chunk async for chunk in small.chunks()]) == body_of(2, MIB), "what is held is given"
    with pytest.raises(StoreFailed):
        async for _ in chunks:
            pass
    large.close()
    small.close()


async def test_a_server_that_was_emptied_is_filled_again(server: Server, store: RedisCache) -> None:
    assert await kept(store, b"body", entry(1, 4))
    one = await only(store, 1)
    draft = await store.draft()
    assert draft is not None
    await draft.write(bytes(MIB))
    server.restart()
    assert await store.open(one) is None
    assert await store.find(key_of(1)) == ()
    await draft.write(bytes(MIB))
    assert not draft.alive
    await draft.drop()
    assert await kept(store, b"body", entry(1, 4))
    assert await given(store, await only(store, 1)) == b"body"
    stats = await store.stats()
    assert (stats.entries, stats.blobs) == (1, 1)


async def test_scripts_that_the_server_has_forgotten_are_told_again(
    store: RedisCache, raw: "redis.Redis"
) -> None:
    draft = await store.draft()
    assert draft is not None
    await draft.write(bytes(MIB))
    raw.script_flush()
    await draft.write(bytes(MIB))
    raw.script_flush()
    assert await draft.commit(entry(1, 2 * MIB))
    await draft.drop()
    raw.script_flush()
    assert await store.purge(EVERYTHING) == 1


async def test_a_server_that_is_not_there_yet_is_a_miss(clock: FakeClock) -> None:
    store = RedisCache(RedisAddress("server", (("127.0.0.1", free_port()),)), clock, max_bytes=MAX_BYTES)
    assert await store.find(key_of(1)) == ()
    assert not await kept(store, b"body", entry(1, 4))
    await store.tidy(NOON)
    await store.aclose()


# Writers that stop


async def test_a_commit_that_is_cancelled_is_done_by_the_time_the_draft_is_dropped(
    store: RedisCache, rounds: int
) -> None:
    for name in range(3 * rounds):
        task = spawn("writer", kept(store, body_of(name, 600_000), entry(name, 600_000)))
        for _ in range(name):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    found = await names_in(store, range(3 * rounds))
    assert (await store.stats()).entries == len(found)
    for name in found:
        assert await given(store, await only(store, name)) == body_of(name, 600_000)


@contextmanager
def writing(server: Server, name: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.support.redis_cache_writer", str(server.port), name]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def told(started: "subprocess.Popen[str]", most: int | None = None) -> set[int]:
    assert started.stdout is not None
    found = set()
    for line in started.stdout:
        if line.endswith("\n"):
            found.add(int(line))
        if len(found) == most:
            break
    return found


async def test_kill_9_leaves_no_half_of_an_entry_and_nothing_that_stays(
    server: Server, make: Make, raw: "redis.Redis", rounds: int, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(SEED)
    store = make()
    found_whole = 0
    for number in range(max(2, rounds // 5)):
        name = f"a{number}"
        with writing(server, name) as writer:
            early = await asyncio.to_thread(told, writer, chance.randrange(1, 60))
            writer.send_signal(signal.SIGKILL)
            said = early | told(writer)
        for which in range(max(said) + 10):
            for one in await store.find(key_of(name_of(name, which))):
                body = await given(store, one)
                assert body in {None, body_numbered(which)}
                assert body is not None or which not in said
                found_whole += body is not None
                said.discard(which)
        assert said == set(), "what was kept is found"
        await store.purge(EVERYTHING)
        assert records(raw) == []
        assert all(0 < raw.pttl(body) <= cache_bodies.USED_S * 1000 for body in bodies(raw) if raw.hlen(body))
        raw.flushall()
    figure("entries found whole in Redis after a kill", found_whole)
