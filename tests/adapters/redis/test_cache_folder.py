"""What only a cache in a Redis with bodies in files can get wrong: files and index that disagree, and other machines."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.adapters import room
from gateway.adapters.blobs import YOUNG_S
from gateway.adapters.redis import cache as cache_module
from gateway.adapters.redis.cache import RedisCache
from gateway.adapters.redis.cache_index import Index
from gateway.core.entry import EVERYTHING, CacheFilter, Entry
from gateway.flow.tasks import spawn
from tests.conftest import SEED
from tests.support.cache import body_of, entry, given, kept, key_of
from tests.support.cache_writer import body_numbered, name_of
from tests.support.clock import FakeClock
from tests.support.redis import Server, redis_server

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
Make = Callable[..., RedisCache]
Files = Callable[..., list[Path]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with redis_server(tmp_path / "redis", kind="redis", arguments=("--appendonly", "no")) as started:
        yield started


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def make(server: Server, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Make]:
    """A gateway's cache on a machine of this name; None: with its bodies in the Redis."""
    async with AsyncExitStack() as stack:

        def made(machine: str | None = "here", **options: Any) -> RedisCache:
            given_options: dict[str, Any] = {
                "max_bytes": 64 * MIB,
                "patience": 20.0,
                "now": clock.now,
            } | options
            folder = None if machine is None else tmp_path / machine
            cache = RedisCache(server.address, clock, folder=folder, **given_options)
            stack.push_async_callback(cache.aclose)
            return cache

        yield made


@pytest.fixture
async def here(make: Make) -> RedisCache:
    return make()


@pytest.fixture
async def there(make: Make) -> RedisCache:
    return make("there")


@pytest.fixture
def raw(server: Server) -> Iterator["redis.Redis"]:
    """A look behind the scenes, where bytes are bytes."""
    with closing(redis.Redis(port=server.port, protocol=2)) as client:
        yield client


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The bodies that lie on a machine."""

    def found(machine: str = "here") -> list[Path]:
        return sorted((tmp_path / machine / "blobs").glob("??/*"))

    return found


async def only(cache: RedisCache, name: object) -> Entry:
    (found,) = await cache.find(key_of(name))
    return found


async def names_in(cache: RedisCache, names: range) -> list[int]:
    return [name for name in names if await cache.find(key_of(name))]


def lose_index(raw: "redis.Redis") -> None:
    raw.delete(*raw.scan_iter("imagegate:cache:{index}:*"))


# Where they lie


async def test_bodies_lie_in_files_that_are_named_by_their_digest_and_not_in_the_redis(
    here: RedisCache, raw: "redis.Redis", files: Files
) -> None:
    body = body_of(1, MIB)
    assert await kept(here, body, entry(1, MIB))
    assert await kept(here, body, entry(2, MIB))
    (file,) = files()
    assert (file.name, file.read_bytes()) == ((await only(here, 1)).digest, body)
    assert file.stat().st_mode & 0o077 == 0
    assert list(raw.scan_iter("*:body")) == []
    assert sum(raw.memory_usage(key) or 0 for key in raw.scan_iter("*")) < 10_000


async def test_of_a_body_that_is_replaced_the_file_goes_at_once_but_not_while_it_is_young(
    here: RedisCache, clock: FakeClock, files: Files
) -> None:
    assert await kept(here, b"first", entry(1, 5))
    assert await kept(here, b"other", entry(1, 5))
    assert len(files()) == 2, "another process might just be keeping the first again"
    clock.seconds += YOUNG_S
    assert await kept(here, b"third", entry(1, 5))
    assert sorted(file.read_bytes() for file in files()) == [b"first", b"third"]
    await here.tidy(clock.now())
    assert [file.read_bytes() for file in files()] == [b"third"]


async def test_a_body_that_is_kept_again_while_its_last_entry_goes_stays(
    make: Make, clock: FakeClock, rounds: int
) -> None:
    one, two = make(), make()
    for name in range(3 * rounds):
        assert await kept(one, b"body", entry(name, 4))
        clock.seconds += YOUNG_S
        forgetting = spawn("purge", two.purge(CacheFilter(team="design")))
        for _ in range(name % 20):
            await asyncio.sleep(0)
        assert await kept(one, b"body", entry(name + 1, 4, team="film"))
        await forgetting
        await two.tidy(clock.now())
        assert await given(two, await only(two, name + 1)) == b"body"
        await one.purge(EVERYTHING)


# Files and index that disagree


def _flip(file: Path) -> None:
    found = bytearray(file.read_bytes())
    found[len(found) // 2] ^= 1
    file.write_bytes(found)


def _shorten(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


@pytest.mark.parametrize("harm", [_flip, _shorten, Path.unlink])
@pytest.mark.parametrize("size", [1000, 5 * MIB], ids=["small", "large"])
async def test_a_file_that_was_harmed_is_a_miss_and_its_entry_is_forgotten(
    here: RedisCache,
    files: Files,
    caplog: pytest.LogCaptureFixture,
    harm: Callable[[Path], None],
    size: int,
) -> None:
    assert await kept(here, body_of(1, size), entry(1, size))
    (file,) = files()
    assert await kept(here, b"good", entry(2, 4))
    harm(file)
    assert await here.open(await only(here, 1)) is None
    assert await names_in(here, range(3)) == [2]
    stats = await here.stats()
    assert (stats.entries, stats.blobs) == (1, 1)
    assert len([one for one in caplog.records if one.name == "imagegate.cache"]) == 1
    assert await kept(here, body_of(1, size), entry(1, size)), "and it is kept again"
    assert await given(here, await only(here, 1)) == body_of(1, size)


async def test_a_file_that_cannot_be_opened_now_is_a_miss_and_its_entry_stays(
    here: RedisCache, files: Files
) -> None:
    assert await kept(here, b"body", entry(1, 4))
    (file,) = files()
    aside = file.rename(file.with_suffix(".aside"))
    file.symlink_to(file)
    assert await here.open(await only(here, 1)) is None
    aside.replace(file)
    assert await given(here, await only(here, 1)) == b"body"


async def test_files_that_the_index_does_not_name_go_when_they_are_old(
    here: RedisCache, raw: "redis.Redis", clock: FakeClock, files: Files
) -> None:
    for name in range(3):
        assert await kept(here, body_of(name, 10), entry(name, 10))
    await here.tidy(clock.now())
    assert len(files()) == 3
    raw.flushall()
    await here.tidy(clock.now())
    assert len(files()) == 3, "their entries may be on their way"
    clock.seconds += YOUNG_S / 2
    assert await kept(here, body_of(0, 10), entry(0, 10))
    clock.seconds += YOUNG_S / 2
    await here.tidy(clock.now())
    assert [file.read_bytes() for file in files()] == [body_of(0, 10)]
    clock.seconds += YOUNG_S
    await here.tidy(clock.now())
    assert await given(here, await only(here, 0)) == body_of(0, 10)


async def test_files_of_entries_that_the_index_has_lost_stay(
    here: RedisCache, raw: "redis.Redis", clock: FakeClock, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in range(3):
        assert await kept(here, body_of(name, 10), entry(name, 10))
    clock.seconds += 2 * YOUNG_S
    lose_index(raw)
    await here.tidy(clock.now())
    assert len(files()) == 3, "the records are taken in first"
    ask = Index.named

    async def loses(index: Index, bodies: list[str]) -> set[str]:
        lose_index(raw)
        return await ask(index, bodies)

    monkeypatch.setattr(Index, "named", loses)
    await here.tidy(clock.now())
    assert len(files()) == 3, "it was lost while they were looked at"
    assert [await given(here, await only(here, name)) for name in range(3)] == [
        body_of(name, 10) for name in range(3)
    ]


async def test_an_entry_whose_file_is_gone_is_forgotten_when_it_is_tidied(
    here: RedisCache, clock: FakeClock, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "SETTLED_S", 0.0)
    for name in range(2):
        assert await kept(here, body_of(name, 10), entry(name, 10))
    next(file for file in files() if file.read_bytes() == body_of(0, 10)).unlink()
    await here.tidy(clock.now())
    assert (await here.stats()).entries == 1
    assert await names_in(here, range(2)) == [1]


async def test_a_folder_that_is_emptied_while_it_is_in_use_is_filled_again_by_all_who_share_it(
    make: Make, clock: FakeClock, tmp_path: Path
) -> None:
    one, two = make(), make()
    for cache in (one, two):
        assert await kept(cache, b"body", entry(1, 4))
    shutil.rmtree(tmp_path / "here")
    three = make()
    assert await kept(three, b"third", entry(3, 5))
    for cache in (one, two):
        await cache.tidy(clock.now())
        assert await given(cache, await only(cache, 3)) == b"third", "they took up its new mark"
        assert await kept(cache, b"body", entry(1, 4))
        assert await given(three, await only(three, 1)) == b"body"


# Servers and disks that fail


async def test_an_answer_whose_redis_is_gone_when_it_ends_is_not_kept_and_leaves_nothing(
    server: Server, make: Make, clock: FakeClock, files: Files
) -> None:
    store = make(patience=1.0)
    draft = await store.draft()
    assert draft is not None
    await draft.write(bytes(MIB))
    assert await kept(store, b"good", entry(2, 4))
    server.kill()
    assert not await draft.commit(entry(1, MIB))
    await draft.drop()
    server.restart()
    clock.seconds += YOUNG_S
    assert await store.find(key_of(1)) == ()
    await store.tidy(clock.now())
    assert files() == []


async def test_a_disk_without_room_or_a_folder_that_cannot_be_made_costs_the_answer_only(
    here: RedisCache, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await kept(here, b"body", entry(1, 4))
    with monkeypatch.context() as patch:
        patch.setattr(room, "LEAST_FREE_BYTES", 1 << 62)
        assert await here.draft() is None
        assert await given(here, await only(here, 1)) == b"body"
    (tmp_path / "file").touch()
    lost = make("file")
    assert await lost.find(key_of(1)) == ()
    assert await lost.draft() is None
    await lost.touch(entry(1, 4))
    assert await kept(here, b"body", entry(2, 4))
    assert await lost.purge(EVERYTHING) == 2, "what others have is forgotten all the same"


# Other machines


async def test_what_another_machine_has_is_a_miss_and_stays_there(
    here: RedisCache, there: RedisCache, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "SETTLED_S", 0.0)
    assert await kept(here, b"ours", entry(1, 4))
    one = await only(here, 1)
    assert await there.find(key_of(1)) == ()
    assert await there.open(one) is None
    clock.seconds += 2 * YOUNG_S
    await there.tidy(clock.now())
    assert await given(here, await only(here, 1)) == b"ours"
    assert await kept(there, b"theirs", entry(1, 6))
    await here.tidy(clock.now())
    assert await given(here, await only(here, 1)) == b"ours"
    assert await given(there, await only(there, 1)) == b"theirs"
    stats = await here.stats()
    assert (stats.entries, stats.blobs) == (2, 2)


async def test_equal_bodies_on_two_machines_are_two(
    here: RedisCache, there: RedisCache, clock: FakeClock, files: Files
) -> None:
    for cache in (here, there):
        assert await kept(cache, b"body", entry(1, 4))
    assert (await here.stats()).blobs == 2
    files("there")[0].unlink()
    assert await there.open(await only(there, 1)) is None
    assert await given(here, await only(here, 1)) == b"body"
    assert (await here.stats()).blobs == 1


async def test_a_purge_on_one_machine_is_one_on_all_and_each_removes_its_files(
    here: RedisCache, there: RedisCache, make: Make, clock: FakeClock, files: Files
) -> None:
    command = make(None)
    for cache in (here, there):
        assert await kept(cache, b"body", entry(1, 4, response_id="resp_1"))
    clock.seconds += YOUNG_S
    assert await command.purge(CacheFilter(response_id="resp_1")) == 2
    for machine, cache in (("here", here), ("there", there)):
        assert await cache.find(key_of(1)) == ()
        await cache.tidy(clock.now())
        assert files(machine) == []


async def test_what_is_too_much_goes_whosever_it_is(make: Make, clock: FakeClock, files: Files) -> None:
    most = 3 * MIB + 100_000
    here, there = make(max_bytes=most), make("there", max_bytes=most)
    for name, cache in enumerate((here, here, there, there)):
        clock.seconds += YOUNG_S
        assert await kept(cache, body_of(name, MIB), entry(name, MIB))
    assert await names_in(here, range(4)) == [1]
    assert await names_in(there, range(4)) == [2, 3]
    await here.tidy(clock.now())
    assert [file.read_bytes() for file in files()] == [body_of(1, MIB)]


async def test_gateways_that_keep_bodies_in_the_redis_live_beside(
    here: RedisCache, make: Make, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "SETTLED_S", 0.0)
    other = make(None)
    assert await kept(here, b"file", entry(1, 4))
    assert await kept(other, b"redis", entry(1, 5))
    clock.seconds += 2 * YOUNG_S
    for cache in (here, other):
        await cache.tidy(clock.now())
    assert await given(here, await only(here, 1)) == b"file"
    assert await given(other, await only(other, 1)) == b"redis"
    assert await here.purge(EVERYTHING) == 2


# Writers that die


@contextmanager
def writing(server: Server, name: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.support.redis_cache_writer", str(server.port), name, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def told(started: "subprocess.Popen[str]", most: int | None = None) -> set[int]:
    assert started.stdout is not None
    return {int(line) for line in islice(started.stdout, most) if line.endswith("\n")}


async def test_kill_9_leaves_no_half_of_an_entry_and_no_file_that_stays(
    server: Server, here: RedisCache, clock: FakeClock, tmp_path: Path, files: Files, rounds: int
) -> None:
    chance = random.Random(SEED)
    for number in range(max(2, rounds // 5)):
        name = f"a{number}"
        with writing(server, name, tmp_path / "here") as writer:
            said = await asyncio.to_thread(told, writer, chance.randrange(1, 60))
            writer.send_signal(signal.SIGKILL)
            said |= told(writer)
        for which in range(max(said) + 10):
            for one in await here.find(key_of(name_of(name, which))):
                assert await given(here, one) == body_numbered(which), "a file is there before its entry"
                said.discard(which)
        assert said == set(), "what was kept is found"
        await here.purge(EVERYTHING)
        clock.seconds += YOUNG_S
        await here.tidy(clock.now())
        assert files() == []
        assert list((tmp_path / "here" / "blobs" / "tmp").iterdir()) == []
