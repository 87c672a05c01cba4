"""
The Redis of a gateway fails in every way there is, while calls run.

Calls under way end well. New ones are answered within seconds: refused as long as nobody can count them, or let through.
When the store is there again the gateway finds that out by itself, and the ledger and the sandbox's invoice agree to the last
token. A cache that has gone costs money, and no call.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.adapters.redis.acts import key
from gateway.adapters.redis.connection import RedisAddress
from gateway.core.record import CacheUse, Outcome
from tests.support.books import Books, eventually, invoice_sums, ledger_sums
from tests.support.limits import all_given_back
from tests.support.many import TAG, books_of, one_gateway
from tests.support.process import KEY, Running, sandbox_process
from tests.support.proxy import proxy_to
from tests.support.redis import Server, redis_cluster, redis_sentinel, redis_server, until_followed
from tests.support.scrape import scrape
from tests.support.sharing import ASK

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("redis-down"), pytest.mark.timeout(240)]

PATIENCE_S = 60.0
SOON_S = 8.0
"""No measure of speed: nobody waits for a store that has gone."""
AWAY_S = 5.0
"""For so long it is, where that matters: it is more than others take to find that out."""
SHORT_S = 2.0
LOOK: dict[str, Any] = {"size": "1024x1024", "quality": "low"}
PLAIN = {"model": "gpt-image-2", "prompt": "a fox", **LOOK}
STREAM = {"model": "gpt-image-1", "prompt": "a fox", "stream": True, "partial_images": 2, **LOOK}
SLOW = ((PLAIN, 0.3), (STREAM, 0.6), (PLAIN, 0.9), (STREAM, 1.3))
"""What is under way, and how long each takes, as a share of the time for which the store is away."""


@dataclass
class Scene:
    """One gateway, and both sets of books."""

    gateway: Running
    books: Books
    http: httpx2.AsyncClient
    ids: list[str] = field(default_factory=list)
    """Of all calls that were answered with a picture."""

    async def call(self, body: dict[str, Any], steering: str = "") -> int:
        """One call to its end; its status."""
        answer = await self.http.post("images/generations", json=body, headers={"x-sandbox": steering})
        if answer.status_code == 200:
            self.ids.append(answer.headers["x-imagegate-id"])
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
            assert answer.headers["x-should-retry"] == "true"
        return answer.status_code

    async def soon(self) -> int:
        """The status of a short call, which does not wait for a store."""
        async with asyncio.timeout(SOON_S):
            return await self.call(PLAIN)

    async def passes(self) -> bool:
        return await self.soon() == 200

    async def through(
        self,
        away: Callable[[], Awaitable[None]],
        back: Callable[[], Awaitable[None]],
        away_s: float = SHORT_S,
    ) -> set[int]:
        """
        Calls under way, the store away for a while, and all that has to be so then.

        Args:
            away: makes it go.
            back: makes it come back.
            away_s: in between.

        Returns:
            How calls were answered that came meanwhile.
        """
        slow = [(body, f"delay_ms={share * away_s * 1000:.0f}") for body, share in SLOW]
        calls = [asyncio.ensure_future(self.call(*one)) for one in slow]

        async def have_gone_up() -> bool:
            return len(await self.books.visitors()) >= len(SLOW)

        await eventually(have_gone_up, PATIENCE_S)
        await away()
        told: set[int] = set()
        loop = asyncio.get_running_loop()
        until = loop.time() + away_s
        while loop.time() < until:
            told |= set(await asyncio.gather(*(self.soon() for _ in range(4))))
            await asyncio.sleep(0.2)  # so that the calls last as long as it is away
        await back()
        assert await asyncio.gather(*calls) == [200] * len(SLOW), "what was under way ended well"
        await eventually(self.passes, PATIENCE_S)
        await self.agree()
        return told

    async def agree(self) -> None:
        """Every call has landed, and both books say the same."""
        await eventually(self.books.is_quiet, PATIENCE_S)
        found = await self.books.settled(self.ids, PATIENCE_S)
        assert {one.outcome for one in found} == {Outcome.COMPLETED}
        records = await self.books.records()
        assert len({one.id for one in records}) == len(records)
        assert {one.outcome for one in records} <= {Outcome.COMPLETED, Outcome.REFUSED}
        await all_given_back(self.books, ("key:key", "team:team", "org"), PATIENCE_S)
        bill = await self.books.invoice()
        assert ledger_sums(records) == invoice_sums(bill["lines"])
        assert sum(one.cost_nusd for one in records) == bill["nano_dollars"]


@asynccontextmanager
async def scene_of(
    folder: Path, store: str, address: RedisAddress, *, cached: bool = False, cache: str = ""
) -> AsyncIterator[Scene]:
    """
    A gateway before a sandbox.

    Args:
        folder: of the test.
        store: the URL that the gateway is told.
        address: of the ledger, for whoever looks at it.
        cached: as of `gateway_process`.
        cache: likewise.
    """
    async with AsyncExitStack() as stack:
        sandbox = stack.enter_context(sandbox_process(folder))
        starting = one_gateway(folder, sandbox.url, store, cached=cached, cache=cache)
        gateway = await asyncio.to_thread(starting.__enter__)  # what it starts on may be in this loop
        stack.push_async_callback(asyncio.to_thread, starting.__exit__, None, None, None)
        http = httpx2.AsyncClient(
            base_url=f"{gateway.url}/v1",
            headers={"authorization": f"Bearer {KEY}"},
            trust_env=False,
            timeout=PATIENCE_S,
        )
        await stack.enter_async_context(http)
        books = await stack.enter_async_context(books_of(folder, sandbox.url, address))
        yield Scene(gateway, books, http)


def said(server: Server, *commands: tuple[str | int, ...]) -> Callable[[], Awaitable[None]]:
    """Tells the server this."""

    async def tell() -> None:
        for command in commands:
            await asyncio.to_thread(server.said, *command)

    return tell


def done(act: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    async def do() -> None:
        await asyncio.to_thread(act)

    return do


Fault = Callable[[Server], tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]]
FAULTS: dict[str, Fault] = {
    "paused": lambda server: (done(server.pause), done(server.resume)),
    "killed": lambda server: (done(server.kill), done(server.start)),
    "a replica": lambda server: (
        said(server, ("REPLICAOF", "127.0.0.1", 1)),
        said(server, ("REPLICAOF", "NO", "ONE")),
    ),
    "out of memory": lambda server: (
        said(server, ("CONFIG", "SET", "maxmemory", 1)),
        said(server, ("CONFIG", "SET", "maxmemory", 0)),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_redis_that_fails_costs_no_call_that_runs_and_lets_none_be_spent_uncounted(
    tmp_path: Path, fault: str
) -> None:
    with redis_server(tmp_path, arguments=("--appendfsync", "always")) as server:
        async with scene_of(tmp_path, server.url, server.address) as scene:
            told = await scene.through(*FAULTS[fault](server), AWAY_S if fault == "paused" else SHORT_S)
            assert told == {503}, "nothing is spent that nobody can count"
            log = scene.gateway.log.read_text()
            assert "Until it is back" in log
            assert "the store answers again" in log
            await check_metrics(scene)


async def check_metrics(scene: Scene) -> None:
    """What was counted for Prometheus is what stands in the ledger, however late anybody heard of it."""
    records = await scene.books.records()
    found = await scrape(scene.gateway.addresses[1])
    cost = found.total("cost_usd_total") - found.total("cost_taken_back_usd_total")
    assert round(cost * 1e9) == sum(one.cost_nusd for one in records)
    assert found.total("images_total") == sum(one.images for one in records)
    assert found.total("ledger_records_total") == len(records)


async def test_a_redis_that_cannot_be_reached_likewise(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        async with (
            proxy_to(server.port) as proxy,
            scene_of(tmp_path, f"redis://127.0.0.1:{proxy.port}/0", server.address) as scene,
        ):

            async def part() -> None:
                proxy.part()

            async def join() -> None:
                proxy.join()

            assert await scene.through(part, join) == {503}


async def test_scripts_that_are_flushed_again_and_again_are_not_missed(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        async with scene_of(tmp_path, server.url, server.address) as scene:
            is_over = asyncio.Event()

            async def flush() -> None:
                while not is_over.is_set():
                    await asyncio.to_thread(server.said, "SCRIPT", "FLUSH", "SYNC")
                    await asyncio.sleep(0.01)

            flushing: list[asyncio.Task[None]] = []

            async def begin() -> None:
                flushing.append(asyncio.ensure_future(flush()))

            async def end() -> None:
                is_over.set()
                await asyncio.gather(*flushing)

            assert await scene.through(begin, end) == {200}


async def test_sentinels_name_another_master_and_the_gateway_goes_on_there(tmp_path: Path) -> None:
    with redis_sentinel(tmp_path) as watched:
        async with scene_of(tmp_path, watched.url, watched.address) as scene:

            async def fail() -> None:
                await asyncio.to_thread(until_followed, watched.master, watched.replica)
                watched.master.kill()

            told = await scene.through(fail, nobody_comes, AWAY_S)
            assert told <= {200, 503}
            assert 503 in told


async def test_a_replica_takes_over_the_slots_of_the_ledgers_master(tmp_path: Path) -> None:
    with redis_cluster(tmp_path, replicas=1) as cluster:
        async with scene_of(tmp_path, cluster.url, cluster.address) as scene:

            async def fail() -> None:
                owner = await asyncio.to_thread(cluster.owner_of, key(TAG, "record"))
                replica = cluster.replicas[cluster.masters.index(owner)]
                await asyncio.to_thread(until_followed, owner, replica)
                owner.kill()

            told = await scene.through(fail, nobody_comes, AWAY_S)
            assert told <= {200, 503}
            assert 503 in told


async def nobody_comes() -> None:
    """What has gone stays away; somebody else has its place."""


@pytest.mark.parametrize("fault", ["killed", "paused"])
async def test_a_cache_that_has_gone_costs_money_and_no_call(tmp_path: Path, fault: str) -> None:
    with redis_server(tmp_path) as server, redis_server(tmp_path) as other:
        async with scene_of(
            tmp_path, server.url, server.address, cached=True, cache=f'url = "{other.url}"'
        ) as scene:

            async def ask() -> str:
                async with asyncio.timeout(SOON_S + SOON_S):
                    answer = await scene.http.post("images/generations", json=ASK)
                assert answer.status_code == 200
                return str(answer.headers["cache-status"])

            assert await ask() == "imagegate; fwd=miss; stored"
            assert (await ask()).startswith("imagegate; hit")
            away, back = FAULTS[fault](other)
            await away()
            for _ in range(5):
                assert "hit" not in await ask()
            await back()

            async def hits() -> bool:
                return (await ask()).startswith("imagegate; hit")

            await eventually(hits, PATIENCE_S)
            await eventually(scene.books.is_quiet, PATIENCE_S)
            records = await scene.books.records()
            paid = [one for one in records if one.cache is not CacheUse.HIT]
            assert sum(one.cost_nusd for one in paid) == (await scene.books.invoice())["nano_dollars"]
            assert await scene.books.ledger.verify() == ()
