"""Ask once: kept answers, calls in the air, and retries that never pay twice, through real processes and the SDK."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.core.record import CacheUse, Outcome
from tests.support.process import gateway_process, sandbox_process
from tests.support.raw import raw_client, request_bytes
from tests.support.sharing import ASK, Pair, status

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
CALLERS = 100


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    rest = f'\n[server]\nworkers = {request.param}\n[store]\nurl = "sqlite:///{tmp_path}/data"\n'
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=True) as gateway,
    ):
        yield Pair(tmp_path, sandbox, gateway)


async def test_a_time_out_and_its_retries_pay_once_and_find_the_picture(pair: Pair) -> None:
    steer = {"X-Sandbox": "delay_ms=5000"}
    async with pair.sdk(timeout=2, retries=5) as client:
        answer = await client.images.generate(**ASK, extra_headers=steer)
    assert answer.data is not None
    assert answer.data[0].b64_json is not None
    requests, bill = pair.billed()
    assert requests == 1
    records = await pair.written(3)
    assert sum(one.cost_nusd for one in records) == bill
    assert [one.cache for one in records if one.cost_nusd] == [CacheUse.MISS]
    assert records[-1].outcome is Outcome.COMPLETED
    *left, last = records
    assert last.saved_nusd == bill
    assert {one.saved_nusd for one in left} == {0}, "saved is what somebody was given"


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
    answers = await pair.all_ask(CALLERS, body, steering="delay_ms=2000")
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    requests, bill = pair.billed()
    assert requests == 1
    records = await pair.written(CALLERS)
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


async def test_a_stream_that_was_read_to_its_end_is_completed_whoever_made_the_call(pair: Pair) -> None:
    async with pair.sdk() as client:
        for prompt in ("one", "two", "three"):
            stream = await client.images.generate(**ASK | {"prompt": prompt}, stream=True, partial_images=1)
            assert len([event async for event in stream]) == 2
    raw = await pair.all_ask(6, ASK | {"stream": True, "prompt": "four"}, steering="delay_ms=500")
    assert {answer.status_code for answer in raw} == {200}
    records = await pair.written(9)
    assert {one.outcome for one in records} == {Outcome.COMPLETED}
    assert [one.cache for one in records].count(CacheUse.MISS) == 4


async def test_whoever_leaves_before_the_picture_saves_nothing(pair: Pair) -> None:
    body = ASK | {"stream": True, "partial_images": 2}
    sent = json.dumps(body).encode()
    head = request_bytes("POST", "/v1/images/generations", sent, headers=("X-Sandbox: delay_ms=1500",))
    async with raw_client(pair.gateway.port) as leader, raw_client(pair.gateway.port) as leaves:
        await leader.write(head)
        await leader.read_until(b"partial_image")
        await leaves.write(head)
        await leaves.read_until(b"partial_image")
        leaves.reset()
        await leader.read_until(b"image_generation.completed")
        records = await pair.written(2)
    [follower] = [one for one in records if one.cache is CacheUse.COLLAPSED]
    assert (follower.outcome, follower.images, follower.saved_nusd) == (Outcome.CLIENT_GONE, 0, 0)


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
    assert pair.visits() == 2


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


async def test_a_response_that_is_deleted_is_kept_no_more(pair: Pair) -> None:
    ask: dict[str, Any] = {"model": "gpt-5", "input": "draw a cat", "tools": [{"type": "image_generation"}]}
    async with pair.sdk() as client:
        make = client.responses.with_raw_response.create
        first = await make(**ask)
        assert status(await make(**ask)).startswith("imagegate; hit")
        await client.responses.delete(first.parse().id)
        again = await make(**ask)
    assert status(again) == "imagegate; fwd=miss; stored"
    assert again.parse().id != first.parse().id


async def test_a_client_that_stalls_or_leaves_holds_up_no_other(pair: Pair) -> None:
    """The one that leads stops reading, and then cuts its connection, while the others are being given the same."""
    body = ASK | {"stream": True, "partial_images": 3, "quality": "high"}
    sent = json.dumps(body).encode()
    head = request_bytes("POST", "/v1/images/generations", sent, headers=("X-Sandbox: delay_ms=1500",))
    async with raw_client(pair.gateway.port) as leader, raw_client(pair.gateway.port) as stalled:
        await leader.write(head)
        await leader.read_until(b"\r\n\r\n")
        leader.pause()
        await stalled.write(head)
        stalled.pause()
        following = asyncio.create_task(pair.all_ask(10, body, steering="delay_ms=1500"))
        await asyncio.sleep(0.5)
        leader.reset()
        answers = await following
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert b"image_generation.completed" in answers[0].content
    assert pair.billed()[0] == 1


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Pair]:
    rest = f'limits = ["1 concurrent"]\n[store]\nurl = "sqlite:///{tmp_path}/data"\n'
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=True) as gateway,
    ):
        yield Pair(tmp_path, sandbox, gateway)


async def test_a_hit_gives_back_its_place_before_its_client_knows_that_it_has_all(narrow: Pair) -> None:
    await narrow.all_ask(1, ASK)
    for _ in range(60):
        [answer] = await narrow.all_ask(
            1, ASK
        )  # each on a connection that is closed as soon as the body is there
        assert answer.status_code == 200
    records = await narrow.written(61)
    assert {one.outcome for one in records} == {Outcome.COMPLETED}


async def test_a_gateway_that_stops_reads_to_their_end_the_calls_whose_clients_have_left(
    tmp_path: Path,
) -> None:
    rest = f'\n[store]\nurl = "sqlite:///{tmp_path}/data"\n'
    with sandbox_process(tmp_path) as sandbox:
        with gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=True) as gateway:
            pair = Pair(tmp_path, sandbox, gateway)
            async with pair.sdk(timeout=0.7) as client:
                with pytest.raises(openai.APITimeoutError):
                    await client.images.generate(**ASK, extra_headers={"X-Sandbox": "delay_ms=2500"})
            gateway.process.terminate()
            await asyncio.to_thread(gateway.process.wait, 30)
        with gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=True) as gateway:
            pair = Pair(tmp_path, sandbox, gateway)
            [again] = await pair.all_ask(1, ASK, steering="delay_ms=2500")
            assert status(again).startswith("imagegate; hit")
            requests, bill = pair.billed()
            records = await pair.written(2)
    assert requests == 1
    assert [one.outcome for one in records] == [Outcome.CLIENT_GONE, Outcome.COMPLETED]
    assert sum(one.cost_nusd for one in records) == bill
