"""
Gateways on one Redis that are killed under load, and that Redis itself.

Whatever happens no limit is gone beyond, every call that went up has one record that says no less than the upstream
bills, what the dead held is given back or charged within the lease, and whoever asked somebody who lives has an answer.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from gateway.core.record import Outcome
from tests.conftest import FULL, SEED
from tests.support.books import eventually
from tests.support.limits import NUSD, Tenant, all_given_back, client_of, configured, dollars
from tests.support.many import books_of, gateways, one_gateway
from tests.support.process import Running, sandbox_process
from tests.support.redis import redis_server
from tests.support.traffic import CALLS, MOST_S, Traffic, check_books, check_limits, limited

pytestmark = [pytest.mark.system, pytest.mark.timeout(3600)]

LEASE_S = 30.0
"""What a dead process held is given back, or charged, by then."""
PATIENCE_S = 60.0
KILLS = 100 if FULL else 6
STORE_KILLS = 50 if FULL else 4
AWAY_S = 2.0
"""A store that was killed is back by then."""


@asynccontextmanager
async def clients_of(several: Sequence[Running]) -> AsyncIterator[list[httpx2.AsyncClient]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client_of(one.url)) for one in several]


def begun(
    traffic: Traffic, clients: Sequence[httpx2.AsyncClient], tenant: Tenant
) -> "list[asyncio.Task[None]]":
    """A round of calls, as many of each gateway."""
    return [
        asyncio.ensure_future(traffic.make(clients[number % len(clients)], tenant)) for number in range(CALLS)
    ]


def tenants_of(chance: random.Random, rounds: int) -> tuple[list[Tenant], str]:
    """A key for each round, and the configuration."""
    tenants = [limited(number, chance) for number in range(rounds)]
    roomy = f"{dollars(10 * rounds * CALLS * NUSD)} per month"
    return tenants, configured(tenants, teams={"all": [roomy]}, org=[roomy])


async def passes(client: httpx2.AsyncClient) -> None:
    """Returns once a gateway lets calls through again."""

    async def is_ready() -> bool:
        return (await client.get(str(client.base_url).replace("/v1/", "/readyz"))).status_code == 200

    await eventually(is_ready, PATIENCE_S)


@pytest.mark.xdist_group("redis-kill")
async def test_after_kill_9_of_one_of_three_gateways_nothing_is_overspent_lost_or_held_for_ever(
    tmp_path: Path, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(SEED)
    traffic = Traffic(chance)
    tenants, config = tenants_of(chance, KILLS)
    with redis_server(tmp_path) as server, sandbox_process(tmp_path) as sandbox, ExitStack() as stack:
        several = stack.enter_context(gateways(tmp_path, sandbox.url, server.url, rest=config))
        several = list(several)
        async with books_of(tmp_path, sandbox.url, server.address) as books:
            for tenant in tenants:
                victim = chance.randrange(len(several))
                async with clients_of(several) as clients:
                    calls = begun(traffic, clients, tenant)
                    await asyncio.wait(calls, timeout=chance.uniform(0, MOST_S))
                    several[victim].process.kill()
                    await asyncio.gather(*calls)
                assert {url for url, _ in traffic.cut} <= {f"{several[victim].url}/v1/"}, f"seed {SEED}"
                traffic.cut.clear()
                await all_given_back(books, [tenant.scope], LEASE_S)  # by those who live
                await check_limits(books, tenant)
                several[victim] = stack.enter_context(
                    one_gateway(tmp_path, sandbox.url, server.url, victim, rest=config)
                )
            await eventually(books.is_quiet, PATIENCE_S)
            await all_given_back(books, ["team:all", "org"])
            records, sent = await check_books(books, traffic)
    assert Counter(answer.status for answer in traffic.answers)[429] > 0, "no limit stood in the way"
    figure("`kill -9` of one of three gateways on one Redis, under calls with limits", KILLS)
    figure("calls that went up in it, each with one record", len(sent))
    figure("of them lost with their gateway", sum(one.outcome is Outcome.LOST for one in records))


@pytest.mark.xdist_group("redis-store-kill")
async def test_after_kill_9_of_the_redis_nothing_is_overspent_lost_or_held_for_ever(
    tmp_path: Path, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(SEED)
    traffic = Traffic(chance)
    tenants, config = tenants_of(chance, STORE_KILLS)
    with (
        redis_server(tmp_path, arguments=("--appendfsync", "always")) as server,
        sandbox_process(tmp_path) as sandbox,
        gateways(tmp_path, sandbox.url, server.url, rest=config) as several,
    ):
        async with books_of(tmp_path, sandbox.url, server.address) as books, clients_of(several) as clients:
            for client in clients:
                await passes(client)
            for tenant in tenants:
                calls = begun(traffic, clients, tenant)
                await asyncio.wait(calls, timeout=chance.uniform(0, MOST_S))
                server.kill()
                await asyncio.sleep(chance.uniform(0, AWAY_S))  # for how long it is away is chance
                await asyncio.to_thread(server.restart)
                await asyncio.gather(*calls)
                assert traffic.cut == [], f"everybody has an answer, seed {SEED}"
                for client in clients:
                    await passes(client)
                await all_given_back(books, [tenant.scope], LEASE_S)
                await check_limits(books, tenant)
            await eventually(books.is_quiet, PATIENCE_S)
            await all_given_back(books, ["team:all", "org"])
            records, sent = await check_books(books, traffic)
            charges = await books.charges()
        paid = {str(one.model): one for one in records if one.outcome is not Outcome.REFUSED}
        for answer in traffic.answers:
            if (
                answer.status == 200
            ):  # nobody died who was asked: what was answered is known to the last token
                assert paid[answer.mark].outcome is Outcome.COMPLETED, f"seed {SEED}"
                assert paid[answer.mark].cost_nusd == charges[answer.mark]["nano_dollars"], f"seed {SEED}"
    told = Counter(answer.status for answer in traffic.answers)
    figure("`kill -9` of the Redis of three gateways, under calls with limits", STORE_KILLS)
    figure("calls that went up in it, each with one record and charged as billed", len(sent))
    figure("calls that were refused while it was away", told[503])
