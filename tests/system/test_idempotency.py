"""`Idempotency-Key`: retries of calls that go past the cache, through real processes and the SDK."""

import asyncio
import base64
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from gateway.core.record import CacheUse, Outcome
from tests.support.books import eventually
from tests.support.process import KEY, gateway_process, sandbox_process
from tests.support.sharing import ASK, Pair, status
from tests.support.workers import kill_all

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
PAST = {"Cache-Control": "no-store"}


def keyed(key: str = "once", steering: str = "", **more: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **({"X-Sandbox": steering} if steering else {}), **more}


def config(folder: Path, rest: str = "") -> str:
    return f'\n{rest}\n[store]\nurl = "sqlite:///{folder}/data"\n'


@pytest.fixture(params=["one worker", "two workers", "cache off"])
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    rest = config(tmp_path, f"[server]\nworkers = {2 if 'two' in request.param else 1}")
    cached = request.param != "cache off"
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=cached) as gateway,
    ):
        yield Pair(tmp_path, sandbox, gateway)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Pair]:
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=config(tmp_path), cached=True) as gateway,
    ):
        yield Pair(tmp_path, sandbox, gateway)


async def test_a_time_out_and_its_retries_pay_once_and_find_the_picture(pair: Pair) -> None:
    async with pair.sdk(timeout=1.2, retries=5) as client:
        answer = await client.images.generate(**ASK, extra_headers=keyed(steering="delay_ms=3000", **PAST))
    assert answer.data is not None
    assert answer.data[0].b64_json is not None
    requests, bill = pair.billed()
    assert requests == 1
    records = await pair.written(3)
    assert sum(one.cost_nusd for one in records) == bill
    assert len([one for one in records if one.cost_nusd]) == 1
    assert (records[-1].outcome, records[-1].saved_nusd) == (Outcome.COMPLETED, bill)


@pytest.mark.parametrize("stream", [False, True])
async def test_asked_again_it_is_the_same_answer_and_costs_nothing(pair: Pair, *, stream: bool) -> None:
    body = ASK | ({"stream": True, "partial_images": 1} if stream else {})
    [first] = await pair.all_ask(1, body, headers=keyed(**PAST))
    await pair.written(1)  # Until then who asks again is given the end of a call that is under way.
    again = await pair.all_ask(4, body, headers=keyed(**PAST))
    assert {answer.content for answer in again} == {first.content}
    for answer in again:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == first.headers["content-type"]
        assert status(answer).endswith("detail=idempotency-key")
        assert answer.headers["x-imagegate-cost-usd"] == "0"
    requests, bill = pair.billed()
    assert requests == 1
    records = await pair.written(5)
    assert [one.cost_nusd for one in records] == [bill, 0, 0, 0, 0]
    assert [one.saved_nusd for one in records] == [0, bill, bill, bill, bill]
    assert {one.cache for one in records[1:]} == {CacheUse.HIT}


async def test_those_who_come_at_once_are_one_call(pair: Pair) -> None:
    answers = await pair.all_ask(20, ASK, steering="delay_ms=1000", headers=keyed(**PAST))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert pair.billed()[0] == 1


async def test_another_request_with_the_same_key_is_refused(pair: Pair) -> None:
    async with pair.sdk() as client:
        await client.images.generate(**ASK, extra_headers=keyed())
        for other in (ASK | {"prompt": "a dog"}, ASK | {"n": 1}):
            with pytest.raises(openai.UnprocessableEntityError) as refused:
                await client.images.generate(**other, extra_headers=keyed())
            assert refused.value.code == "idempotency_key_reused"
            assert refused.value.response.headers["x-should-retry"] == "false"
        streamed = await pair.all_ask(1, ASK | {"stream": True}, headers=keyed())
        assert streamed[0].status_code == 422
        await client.images.generate(**ASK | {"prompt": "a dog"}, extra_headers=keyed("other"))
    assert pair.billed()[0] == 2


async def test_a_failure_frees_the_key(pair: Pair) -> None:
    async with pair.sdk() as client:
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                await client.images.generate(**ASK, extra_headers=keyed(steering="fail=status=500", **PAST))
        await client.images.generate(**ASK, extra_headers=keyed(**PAST))
    assert pair.visits() == 3


async def test_of_a_call_that_was_cut_nobody_knows(pair: Pair) -> None:
    body = ASK | {"stream": True, "partial_images": 2}
    headers = keyed(steering="fail=mid-stream", **PAST)
    with pytest.raises(httpx2.RemoteProtocolError):
        await pair.all_ask(1, body, headers=headers)
    for _ in range(2):
        [again] = await pair.all_ask(1, body, headers=headers)
        assert again.status_code == 409
        assert again.json()["error"]["code"] == "idempotency_outcome_unknown"
        assert again.headers["x-should-retry"] == "false"
    assert pair.visits() == 1


async def test_a_key_is_its_owners_and_its_routes(tmp_path: Path) -> None:
    rest = config(tmp_path, '[[team]]\nid = "b"\n[[key]]\nid = "kb"\nteam = "b"\nsecret = "sk-b"\n')
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=True) as gateway,
    ):
        pair = Pair(tmp_path, sandbox, gateway)
        mine = (await pair.all_ask(1, ASK, headers=keyed()))[0]
        theirs = (
            await pair.all_ask(1, ASK | {"prompt": "a dog"}, headers=keyed(Authorization="Bearer sk-b"))
        )[0]
        assert (mine.status_code, theirs.status_code) == (200, 200)
        async with pair.sdk() as client:
            answer = await client.responses.create(
                model="gpt-5", input="words", temperature=1, extra_headers=keyed()
            )
        assert answer.output_text
        assert pair.billed()[0] == 3


async def test_calls_of_other_keys_share_what_the_cache_knows(one: Pair) -> None:
    """Each client has a key of its own; what they ask is one thing."""
    answers = await asyncio.gather(
        *(one.all_ask(1, ASK, steering="delay_ms=800", headers=keyed(f"key-{n}")) for n in range(10)),
        one.all_ask(5, ASK, steering="delay_ms=800"),
    )
    everything = [answer for some in answers for answer in some]
    assert {answer.status_code for answer in everything} == {200}
    assert len({answer.content for answer in everything}) == 1
    # Who got it from another one's call may ask again, and is held to its request.
    for n in range(10):
        [again] = await one.all_ask(1, ASK, steering="delay_ms=800", headers=keyed(f"key-{n}"))
        assert again.content == everything[0].content
        [other] = await one.all_ask(
            1, ASK | {"prompt": "x"}, steering="delay_ms=800", headers=keyed(f"key-{n}")
        )
        assert other.status_code == 422
    assert one.billed()[0] == 1


async def test_a_key_outlives_the_kept_answer(one: Pair) -> None:
    [first] = await one.all_ask(1, ASK, headers=keyed())
    [fresh] = await one.all_ask(1, ASK, headers={"Cache-Control": "no-cache"})
    assert fresh.content != b""
    for directive in ({}, {"Cache-Control": "no-cache"}, {"Cache-Control": "max-age=0"}, PAST):
        [again] = await one.all_ask(1, ASK, headers=keyed(**directive))
        assert again.content == first.content
    assert one.billed()[0] == 2


async def test_who_was_given_somebody_elses_answer_is_given_it_again(one: Pair) -> None:
    """By following, and from the cache; in another form than it is kept in, too."""
    steer = {"X-Sandbox": "delay_ms=700"}
    [first], [followed] = await asyncio.gather(
        one.all_ask(1, ASK, headers=steer), one.all_ask(1, ASK, headers=keyed("follows", **steer))
    )
    [hit] = await one.all_ask(1, ASK, headers=keyed("hits", **steer))
    streamed = ASK | {"stream": True}
    [event] = await one.all_ask(1, streamed, headers=keyed("streams", **steer))
    assert first.content == followed.content == hit.content
    await one.all_ask(1, ASK, headers={"Cache-Control": "no-cache", **steer})
    for key, body, before in (("follows", ASK, followed), ("hits", ASK, hit), ("streams", streamed, event)):
        [again] = await one.all_ask(1, body, headers=keyed(key, **steer))
        assert again.content == before.content
        assert again.headers["content-type"] == before.headers["content-type"]
        assert status(again).endswith("detail=idempotency-key")
    assert one.billed()[0] == 2


async def test_when_the_holder_of_a_key_is_refused_another_makes_the_call(tmp_path: Path) -> None:
    """All of one team; the first one's own budget is spent."""
    keys = "".join(
        f'[[key]]\nid = "k{n}"\nteam = "team"\nsecret = "sk-{n}"\n'
        + ('limits = ["$0.000001 total"]\n' if n == 0 else "")
        for n in range(5)
    )
    rest = config(tmp_path, keys)
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=True) as gateway,
    ):
        pair = Pair(tmp_path, sandbox, gateway)
        for number in range(10):
            headers = [
                keyed(f"once-{number}", "delay_ms=100", Authorization=f"Bearer sk-{n}", **PAST)
                for n in range(5)
            ]
            answers = await asyncio.gather(*(pair.all_ask(1, ASK, headers=one) for one in headers))
            codes = [answer.status_code for [answer] in answers]
            assert codes[1:] == [200] * 4
            assert codes[0] in {200, 429}, "it may follow, and pays nothing then"
        assert pair.billed()[0] == 10


async def test_a_call_that_flies_alone_can_be_followed_by_its_key(tmp_path: Path) -> None:
    """Nobody waits for those who ask the same, after an answer that was not kept: whoever has the key still does."""
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(
            f"{sandbox.url}/v1", tmp_path, rest=config(tmp_path), cached=True, cache="max_entry_bytes = 1000"
        ) as gateway,
    ):
        pair = Pair(tmp_path, sandbox, gateway)
        steer = "delay_ms=3000"
        [first] = await pair.all_ask(1, ASK, steering=steer)
        assert "too-large" in status(first)
        async with pair.sdk(timeout=1, retries=5) as client:
            answer = await client.images.generate(**ASK, extra_headers=keyed("once", steer))
        assert answer.data
        assert pair.billed()[0] == 2


async def test_a_deleted_response_is_not_given_again_under_its_key(one: Pair) -> None:
    ask: dict[str, Any] = {"model": "gpt-5", "input": "draw", "tools": [{"type": "image_generation"}]}
    async with one.sdk() as client:
        made = await client.responses.create(**ask, extra_headers=keyed())
        await client.responses.delete(made.id)
        with pytest.raises(openai.ConflictError):
            await client.responses.create(**ask, extra_headers=keyed())
    assert one.billed()[0] == 1


async def test_without_a_cache_only_if_cached_finds_none(tmp_path: Path) -> None:
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=config(tmp_path)) as gateway,
    ):
        pair = Pair(tmp_path, sandbox, gateway)
        for headers in ({}, keyed()):
            [refused] = await pair.all_ask(1, ASK, headers={"Cache-Control": "only-if-cached", **headers})
            assert (refused.status_code, refused.json()["error"]["code"]) == (504, "not_cached")
        assert pair.visits() == 0


async def test_only_if_cached_makes_no_call_and_takes_no_key(one: Pair) -> None:
    words = {"model": "gpt-5", "input": "words", "temperature": 1}
    headers = {"Authorization": f"Bearer {KEY}", **keyed()}
    async with httpx2.AsyncClient(timeout=30, headers=headers, trust_env=False) as http:
        url = f"{one.gateway.url}/v1/responses"
        refused = await http.post(url, json=words, headers={"Cache-Control": "only-if-cached"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (504, "not_cached")
        made = await http.post(url, json=words)
        given = await http.post(url, json=words, headers={"Cache-Control": "only-if-cached"})
    assert given.content == made.content
    assert one.billed()[0] == 1


async def test_an_upload_and_a_background_response_can_be_repeated(one: Pair) -> None:
    async with one.sdk() as client:
        picture = await client.images.generate(**ASK)
        assert picture.data is not None
        file = ("fox.png", base64.b64decode(picture.data[0].b64_json or ""), "image/png")
        edits = [
            await client.images.with_raw_response.edit(
                model="gpt-image-2",
                image=file,
                prompt="red",
                quality="low",
                size="1024x1024",
                extra_headers=keyed("edit", **PAST),
            )
            for _ in range(2)
        ]
        assert edits[0].content == edits[1].content
        ask: dict[str, Any] = {"model": "gpt-5", "input": "draw", "tools": [{"type": "image_generation"}]}
        begun = [
            await client.responses.create(**ask, background=True, extra_headers=keyed("background"))
            for _ in range(2)
        ]
        assert begun[0].id == begun[1].id

        async def is_done() -> bool:
            return (await client.responses.retrieve(begun[0].id)).status == "completed"

        await eventually(is_done)
    requests, bill = one.billed()
    assert requests == 3
    records = await one.written(5)
    assert sum(record.cost_nusd for record in records) == bill
    shown = [record for record in records if record.route == "responses.create"]
    assert sorted((record.cost_nusd > 0, record.saved_nusd) for record in shown) == [(False, 0), (True, 0)]
    assert await one.books.ledger.verify() == ()


async def test_after_kill_9_the_outcome_is_unknown_and_nothing_is_paid_twice(tmp_path: Path) -> None:
    rest = config(tmp_path)
    body, headers = ASK, keyed(steering="delay_ms=20000", **PAST)
    with sandbox_process(tmp_path) as sandbox, ExitStack() as stack:
        gateway = stack.enter_context(gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=True))
        pair = Pair(tmp_path, sandbox, gateway)
        asking = asyncio.create_task(pair.all_ask(1, body, headers=headers))

        async def is_up() -> bool:
            return await asyncio.to_thread(pair.visits) == 1

        await eventually(is_up)
        kill_all(gateway)
        with pytest.raises(httpx2.TransportError):
            await asking
        again = stack.enter_context(gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=True))
        pair = Pair(tmp_path, sandbox, again)
        [answer] = await pair.all_ask(1, body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_outcome_unknown")
        assert pair.visits() == 1
        [record, refused] = await pair.written(2)
        assert (record.outcome, refused.outcome) == (Outcome.LOST, Outcome.REFUSED)
        [other] = await pair.all_ask(1, ASK, headers=keyed("new", **PAST))
        assert other.status_code == 200


async def test_a_key_that_cannot_be_one_is_refused(one: Pair) -> None:
    for key in ("", "x" * 256):
        [refused] = await one.all_ask(1, ASK, headers=keyed(key))
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_header")
    assert one.visits() == 0


async def test_an_answer_survives_a_restart(tmp_path: Path) -> None:
    rest = config(tmp_path)
    with sandbox_process(tmp_path) as sandbox:

        async def asked() -> bytes:
            with gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest, cached=True) as gateway:
                pair = Pair(tmp_path, sandbox, gateway)
                [answer] = await pair.all_ask(1, ASK, headers=keyed(**PAST))
                assert pair.billed()[0] == 1
                return answer.content

        assert await asked() == await asked()
