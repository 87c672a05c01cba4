"""Ask once, over several machines: gateways on one Redis give what one of them receives to the clients of all."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from gateway.core.record import CacheUse, Outcome
from tests.support.books import Books, eventually
from tests.support.many import books_of, gateways
from tests.support.process import KEY, Running, sandbox_process
from tests.support.redis import Server, redis_server
from tests.support.sharing import ASK

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("redis-sharing"), pytest.mark.timeout(180)]

CALLERS = 100
SDK_S = 2.0
PATIENCE_S = 60.0
House = tuple[list[Running], Running, Server]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with (
        redis_server(tmp_path) as server,
        sandbox_process(tmp_path) as sandbox,
        gateways(tmp_path, sandbox.url, server.url, count=3, cached=True) as several,
    ):
        yield several, sandbox, server


async def settled(books: Books, count: int) -> None:
    async def are_there() -> bool:
        return len(await books.records()) >= count

    await eventually(are_there, PATIENCE_S)


async def asked(several: list[Running], times: int, body: dict[str, Any]) -> list[httpx2.Response]:
    """The same from so many clients at once, of one gateway as many as of any other."""
    headers = {"authorization": f"Bearer {KEY}", "x-sandbox": "delay_ms=2500"}
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(timeout=PATIENCE_S, limits=limits, trust_env=False) as http:
        urls = [f"{several[number % len(several)].url}/v1/images/generations" for number in range(times)]
        return await asyncio.gather(*(http.post(url, json=body, headers=headers) for url in urls))


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
async def test_identical_calls_at_once_over_three_gateways_are_one_call_upstream(
    house: House, tmp_path: Path, *, stream: bool
) -> None:
    several, sandbox, server = house
    body = ASK | ({"stream": True, "partial_images": 2} if stream else {})
    answers = await asked(several, CALLERS, body)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    async with books_of(tmp_path, sandbox.url, server.address) as books:
        bill = await books.invoice()
        assert bill["requests"] == len(await books.visitors()) == 1
        await settled(books, CALLERS)
        records = await books.records()
        assert len(records) == CALLERS
        [paid] = [one for one in records if one.cache is CacheUse.MISS]
        assert paid.cost_nusd == bill["nano_dollars"] == sum(one.cost_nusd for one in records)
        assert {one.saved_nusd for one in records if one is not paid} == {paid.cost_nusd}
        [again] = await asked(several[1:2], 1, body)
        assert again.headers["cache-status"].startswith("imagegate; hit")
        assert again.content == answers[0].content
        assert await books.ledger.verify() == ()


async def test_an_impatient_sdk_that_retries_at_another_gateway_pays_once(
    house: House, tmp_path: Path
) -> None:
    """Each retry goes to the other of two gateways, as a load balancer sends it."""
    (one, other, _), sandbox, server = house
    sent = 0

    async def in_turn(request: httpx2.Request) -> None:
        nonlocal sent
        request.url = request.url.copy_with(port=(one, other)[sent % 2].port)
        sent += 1

    http = httpx2.AsyncClient(event_hooks={"request": [in_turn]}, trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=f"{one.url}/v1", api_key=KEY, timeout=SDK_S, max_retries=6, http_client=http
    ) as client:
        answer = await client.images.generate(**ASK, extra_headers={"x-sandbox": "delay_ms=5000"})
    assert answer.data is not None
    assert answer.data[0].b64_json is not None
    assert sent >= 3
    async with books_of(tmp_path, sandbox.url, server.address) as books:
        bill = await books.invoice()
        assert bill["requests"] == len(await books.visitors()) == 1
        await settled(books, sent)
        records = await books.records()
        assert len(records) == sent
        assert sum(record.cost_nusd for record in records) == bill["nano_dollars"]
        assert records[-1].outcome is Outcome.COMPLETED
        assert await books.is_quiet()
        assert await books.ledger.verify() == ()
