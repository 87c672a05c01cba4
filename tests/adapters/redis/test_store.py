"""Who asks a store waits within bounds, and not at all for one that does not answer."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.adapters.redis.scripts import script
from gateway.adapters.redis.store import Store
from gateway.core.breaker import FAILURES, PAUSE_S
from gateway.ports import StoreFailed
from tests.support.clock import FakeClock
from tests.support.redis import Server, redis_server, shared_cluster


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with redis_server(tmp_path, arguments=("--appendonly", "no")) as started:
        yield started


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(server: Server, clock: FakeClock) -> AsyncIterator[Store]:
    made = Store(server.address, clock.ticks)
    yield made
    await made.aclose()


async def fails(store: Store, *command: str, insists: bool = False) -> str:
    with pytest.raises(StoreFailed) as failed:
        await store.ask(*command, within_s=0.05, insists=insists)
    return str(failed.value)


async def test_a_server_that_does_not_answer_is_left_alone_for_a_while(
    server: Server, store: Store, clock: FakeClock
) -> None:
    server.pause()
    for _ in range(FAILURES):
        assert "not asked" not in await fails(store, "PING")
    assert "not asked" in await fails(store, "PING")
    assert "not asked" not in await fails(store, "PING", insists=True)
    clock.seconds += PAUSE_S
    assert "not asked" not in await fails(store, "PING"), "one looks for all"
    assert "not asked" in await fails(store, "PING")
    server.resume()
    assert await store.ask("PING", insists=True)
    assert await store.ask("PING"), "and all may ask again"


async def test_a_server_that_refuses_has_answered(store: Store) -> None:
    await store.ask("SET", "text", "x")
    for _ in range(2 * FAILURES):
        assert "not asked" not in await fails(store, "INCR", "text")
    assert await store.ask("GET", "text") == b"x"


async def test_a_store_without_a_clock_is_always_asked(server: Server) -> None:
    store = Store(server.address)
    server.pause()
    for _ in range(2 * FAILURES):
        assert "not asked" not in await fails(store, "PING")
    await store.aclose()


@pytest.mark.parametrize("asked", ["server", "cluster"])
async def test_more_may_ask_at_once_than_there_are_connections(asked: str, server: Server) -> None:
    address = server.address if asked == "server" else shared_cluster().address
    store = Store(address, connections=4)
    found = await asyncio.gather(
        *(store.ask("EXISTS", f"none-{number}", within_s=10) for number in range(300))
    )
    assert found == [0] * 300
    await store.aclose()
    assert await store.ask("EXISTS", "none") == 0, "it works after it was closed"
    await store.aclose()


async def test_who_is_cancelled_leaves_nothing_half_read(store: Store) -> None:
    await store.ask("SET", "large", "x" * 1_000_000)
    for number in range(50):
        task = asyncio.get_running_loop().create_task(store.ask("GET", "large"))
        for _ in range(number % 25):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await store.ask("ECHO", str(number)) == str(number).encode()


async def test_all_keys_are_scanned(store: Store) -> None:
    for number in range(50):
        await store.ask("SET", f"mine-{number}", "")
        await store.ask("SET", f"yours-{number}", "")
    found = {key async for key in store.scan("mine-*", 7)}
    assert found == {f"mine-{number}".encode() for number in range(50)}


@pytest.mark.parametrize(
    ("name", "keys"), [("cache_index", 6), ("cache_record", 1), ("cache_body", 1), ("flight", 3)]
)
async def test_a_script_that_is_asked_for_an_act_it_does_not_know_says_so(
    store: Store, name: str, keys: int
) -> None:
    with pytest.raises(StoreFailed, match="no such act"):
        await store.run(script(name), tuple(f"k{number}" for number in range(keys)), "dance", "1", "1", "1")
