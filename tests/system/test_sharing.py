"""Ask once: kept answers, calls in the air, and retries that never pay twice, through real processes and the SDK."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from gateway.core.ledger import LedgerFilter
from gateway.core.record import CacheUse, Outcome, Record
from tests.support.books import Books, eventually
from tests.support.process import KEY, Running, gateway_process, sandbox_process

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
ASK: dict[str, Any] = {"model": "gpt-image-2", "prompt": "a cat", "size": "1024x1024", "quality": "low"}


class Pair:
    """A gateway that keeps answers, in front of a sandbox."""

    def __init__(self, folder: Path, sandbox: Running, gateway: Running) -> None:
        self.sandbox = sandbox
        self.gateway = gateway
        self.books = Books(folder, sandbox.url)

    def sdk(self, timeout: float = 60, retries: int = 0) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"{self.gateway.url}/v1", api_key=KEY, timeout=timeout, max_retries=retries
        )

    def billed(self) -> tuple[int, int]:
        """Requests and nano-dollars that the upstream bills."""
        invoice = httpx2.get(f"{self.sandbox.url}/_sandbox/invoice").json()
        return invoice["requests"], invoice["nano_dollars"]

    async def records(self) -> list[Record]:
        """Oldest first."""
        return [one async for one in self.books.ledger.export(LedgerFilter())][::-1]

    async def written(self, count: int) -> list[Record]:
        async def there() -> bool:
            return len(await self.records()) >= count

        await eventually(there)
        return await self.records()


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    rest = f'\n[server]\nworkers = {request.param}\n[store]\nurl = "sqlite:///{tmp_path}/data"\n'
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=True) as gateway,
    ):
        yield Pair(tmp_path, sandbox, gateway)


def status(answer: Any) -> str:
    return str(answer.headers["cache-status"])


async def test_a_time_out_and_its_retries_pay_once_and_find_the_picture(pair: Pair) -> None:
    steer = {"X-Sandbox": "delay_ms=3000"}
    async with pair.sdk(timeout=1.2, retries=5) as client:
        answer = await client.images.generate(**ASK, extra_headers=steer)
    assert answer.data is not None
    assert answer.data[0].b64_json is not None
    requests, bill = pair.billed()
    assert requests == 1
    records = await pair.written(3)
    assert sum(one.cost_nusd for one in records) == bill
    assert [one.cache for one in records if one.cost_nusd] == [CacheUse.MISS]
    assert records[-1].outcome is Outcome.COMPLETED


async def test_the_same_asked_again_comes_at_once_and_costs_nothing(pair: Pair) -> None:
    async with pair.sdk() as client:
        first = await client.images.with_raw_response.generate(**ASK)
        again = await client.images.with_raw_response.generate(**ASK)
        streamed = [event async for event in await client.images.generate(**ASK, stream=True)]
    assert status(first) == "imagegate; fwd=miss; stored"
    assert status(again).startswith("imagegate; hit; ttl=")
    assert (again.headers["x-imagegate-cost-usd"], int(again.headers["age"])) == ("0", 0)
    assert again.content == first.content
    [event] = streamed
    assert event.type == "image_generation.completed"
    assert event.b64_json == json.loads(first.content)["data"][0]["b64_json"]
    records = await pair.written(3)
    cost = records[0].cost_nusd
    assert cost == pair.billed()[1]
    assert [(one.cache, one.cost_nusd, one.saved_nusd, one.images) for one in records] == [
        (CacheUse.MISS, cost, 0, 1),
        (CacheUse.HIT, 0, cost, 1),
        (CacheUse.HIT, 0, cost, 1),
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_identical_calls_at_once_are_one_call_upstream(pair: Pair, *, stream: bool) -> None:
    body = ASK | ({"stream": True, "partial_images": 2} if stream else {})
    headers = {"Authorization": f"Bearer {KEY}", "X-Sandbox": "delay_ms=1500"}
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(timeout=60, limits=limits) as client:
        url = f"{pair.gateway.url}/v1/images/generations"
        answers = await asyncio.gather(*(client.post(url, json=body, headers=headers) for _ in range(40)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    requests, bill = pair.billed()
    assert requests == 1
    records = await pair.written(40)
    assert sum(one.cost_nusd for one in records) == bill
    assert {one.saved_nusd for one in records if one.cache is not CacheUse.MISS} == {bill}


async def test_a_late_joiner_has_the_first_partial_image_before_the_stream_has_ended(pair: Pair) -> None:
    steer = {"X-Sandbox": "delay_ms=2500"}
    streamed = ASK | {"stream": True, "partial_images": 2}
    async with pair.sdk() as client:
        leading = await client.images.generate(**streamed, extra_headers=steer)
        first = await anext(aiter(leading))
        late = await client.images.generate(**streamed, extra_headers=steer)
        seen = await anext(aiter(late))
        assert (
            (seen.type, seen.b64_json)
            == (first.type, first.b64_json)
            == ("image_generation.partial_image", first.b64_json)
        )
        await leading.close()
        rest = [event.type async for event in late]
    assert rest[-1] == "image_generation.completed"
    assert pair.billed()[0] == 1


async def test_what_the_client_wants_of_the_cache_is_done(pair: Pair) -> None:
    async with pair.sdk() as client:
        make = client.images.with_raw_response.generate
        with pytest.raises(openai.InternalServerError) as refused:
            await make(**ASK, extra_headers={"Cache-Control": "only-if-cached"})
        assert refused.value.code == "not_cached"
        past = await make(**ASK, extra_headers={"Cache-Control": "no-store"})
        assert status(past) == "imagegate; fwd=bypass; detail=no-store"
        assert status(await make(**ASK)) == "imagegate; fwd=miss; stored"
        assert (
            status(await make(**ASK, extra_headers={"Cache-Control": "no-cache"}))
            == "imagegate; fwd=request; stored"
        )
        assert (
            status(await make(**ASK, extra_headers={"X-Imagegate-Seed": "two"}))
            == "imagegate; fwd=miss; stored"
        )
        kept = await make(**ASK, extra_headers={"Cache-Control": "only-if-cached"})
        assert status(kept).startswith("imagegate; hit")
    assert pair.billed()[0] == 4


async def test_an_error_is_not_kept(pair: Pair) -> None:
    async with pair.sdk() as client:
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                await client.images.generate(**ASK, extra_headers={"X-Sandbox": "fail=status=500"})
    visits = httpx2.get(f"{pair.sandbox.url}/_sandbox/requests").json()
    assert len(visits if isinstance(visits, list) else visits["data"]) == 2


@pytest.fixture
async def tight(tmp_path: Path) -> AsyncIterator[Pair]:
    rest = (
        f'limits = ["1 images per day", "4 requests per day"]\n[store]\nurl = "sqlite:///{tmp_path}/data"\n'
    )
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=True) as gateway,
    ):
        yield Pair(tmp_path, sandbox, gateway)


async def test_a_hit_takes_a_request_and_nothing_of_a_budget(tight: Pair) -> None:
    async with tight.sdk() as client:
        for _ in range(3):
            await client.images.generate(**ASK)
        with pytest.raises(openai.RateLimitError, match="1 image per day"):
            await client.images.generate(**ASK | {"prompt": "a dog"})
        await client.images.generate(**ASK)
        with pytest.raises(openai.RateLimitError, match="4 requests per day"):
            await client.images.generate(**ASK)
    assert await tight.books.ledger.verify() == ()
