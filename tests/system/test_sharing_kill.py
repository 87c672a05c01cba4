"""The worker that makes a call for many is killed, in front of everybody."""

import asyncio
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.core.ledger import LedgerFilter
from gateway.core.record import CacheUse, Outcome
from tests.conftest import FULL, SEED
from tests.support.books import eventually
from tests.support.process import KEY, Running, gateway_process, sandbox_process
from tests.support.sharing import ASK, Pair
from tests.support.workers import callers_of, leads_a_flight, tell, workers_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800), pytest.mark.xdist_group("sharing-kill")]
ROUNDS = 30 if FULL else 3
CALLERS = 24
DELAY_MS = 1200
LEASE_S = 45.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    rest = f'\n[server]\nworkers = 2\n[store]\nurl = "sqlite:///{tmp_path}/data"\n'
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=True) as gateway,
    ):
        yield Pair(tmp_path, sandbox, gateway)


async def two_workers(gateway: Running) -> list[int]:
    found: list[int] = []

    async def are_two() -> bool:
        found[:] = workers_of(gateway)
        return len(found) == 2

    await eventually(are_two, LEASE_S)
    return found


async def one_asks(client: httpx2.AsyncClient, pair: Pair, body: dict[str, Any]) -> bytes | None:
    """The whole answer; None: the connection was cut."""
    headers = {"Authorization": f"Bearer {KEY}", "X-Sandbox": f"delay_ms={DELAY_MS}"}
    url = f"{pair.gateway.url}/v1/images/generations"
    with suppress(httpx2.TransportError):
        answer = await client.post(url, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.content
    return None


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_when_the_leading_worker_is_killed_nobody_gets_half_of_two_answers(
    pair: Pair, figure: Callable[[str, int], None], *, stream: bool
) -> None:
    """
    Its own clients are cut.

    Of the other worker's those that had got something are cut, too; of those that had got nothing one goes up, and the
    others get what that brings.
    """
    chance = random.Random(SEED)
    answered = 0
    for number in range(ROUNDS):
        body = ASK | {"prompt": f"a cat {number}"} | ({"stream": True, "partial_images": 2} if stream else {})
        workers, before = await two_workers(pair.gateway), await asyncio.to_thread(pair.visits)
        async with callers_of(pair.gateway, CALLERS // 2) as clients:
            asking = [asyncio.create_task(one_asks(client, pair, body)) for client in clients]
            leader: list[int] = []

            async def somebody_leads(leader: list[int] = leader, workers: list[int] = workers) -> bool:
                leader[:] = [one for one in workers if leads_a_flight(one)]
                return len(leader) == 1

            await eventually(somebody_leads)
            await asyncio.sleep(chance.uniform(0, DELAY_MS / 1000 * 0.9))
            tell(leader, signal.SIGKILL)
            contents = await asyncio.gather(*asking)
        whole = {one for one in contents if one is not None}
        assert len(whole) <= 1, f"seed {SEED}"
        visits = await asyncio.to_thread(pair.visits) - before
        assert visits <= 2, f"one in place of the dead, seed {SEED}"
        if whole:
            answered += 1
            [again] = await pair.all_ask(1, body, steering=f"delay_ms={DELAY_MS}")
            # It may have died between the last byte that it told others and the commit: then it is made anew.
            is_kept = await asyncio.to_thread(pair.visits) - before == visits
            assert (again.content == whole.pop()) is is_kept
    figure(f"`kill -9` of the worker that leads a flight ({'streamed' if stream else 'plain'})", ROUNDS)
    figure("of them with an answer from the next leader", answered)
    # Of a stream everybody has the head at once.
    assert stream or answered >= ROUNDS // 3, (
        "those of the other worker that had got nothing are given an answer"
    )

    async def nothing_is_open() -> bool:
        return await pair.books.is_quiet()

    await eventually(nothing_is_open, LEASE_S)
    assert await pair.books.ledger.verify() == ()
    records = [one async for one in pair.books.ledger.export(LedgerFilter())]
    assert sum(one.cost_nusd for one in records) >= pair.billed()[1]
    made = [one for one in records if one.cache is CacheUse.MISS]
    assert len(made) == await asyncio.to_thread(pair.visits), "each call that went up has its record"
    assert any(one.outcome is Outcome.LOST for one in made)
