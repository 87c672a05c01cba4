"""What a client sees of its limits, and what counts: over real processes, each test with a key of its own."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from gateway.core.limits import Unit
from gateway.core.record import Outcome
from gateway.core.units import NanoUSD, usd_text
from tests.support.books import Books, eventually
from tests.support.limits import (
    IMAGE_TOKENS,
    NUSD,
    PICTURE,
    TOKENS,
    Answer,
    Tenant,
    Upstream,
    all_given_back,
    ask,
    client_of,
    configured,
    dollars,
    guarded_sandbox,
    state,
)
from tests.support.process import Running, gateway_process

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("limits")]

STREAM = PICTURE | {"stream": True, "partial_images": 1}
STREAMED_NUSD = NUSD + 40_000 * 100
TOOL: dict[str, Any] = {
    "model": "gpt-5",
    "input": "a fox",
    "max_output_tokens": 1000,
    "max_tool_calls": 1,
    "tools": [{"type": "image_generation", "model": "gpt-image-1", "size": "1024x1024", "quality": "low"}],
}
TENANTS = {
    one.name: one
    for one in (
        Tenant(
            "told",
            [
                "10 requests per minute",
                f"{10 * TOKENS} tokens per hour",
                "10 images per day",
                f"{10 * IMAGE_TOKENS} image_tokens total",
                "$1 per month",
                "$2 per hour",
            ],
        ),
        Tenant("streams", ["10 requests per minute", "10 images per day", "$1 per month"]),
        Tenant("soft", ["1 image per day soft", "$0.000000001 per day soft", "5 images per day"]),
        Tenant("leaves", ["1 concurrent", "2 images per day"]),
        Tenant("cuts", ["1 concurrent", "2 images per day"], rest='on_disconnect = "cancel"'),
        Tenant("behind", ["1 concurrent", "$1 per day"]),
        Tenant("refused", ["5 requests per hour", "1 image per day", "1 concurrent"]),
        Tenant("counts", ["1 concurrent", "3 requests per hour"]),
        Tenant("large", ["1 image per day", f"{dollars(NUSD)} total", "100 tokens per minute"]),
        Tenant("fails", ["1 image per day", "1 concurrent"]),
        Tenant("debtor", [f"{TOKENS + 200} tokens per day"]),
    )
}


@dataclass(frozen=True)
class Shop:
    """A gateway of two workers before an upstream with a turnstile."""

    gateway: Running
    upstream: Upstream
    books: Books


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("limits")
    rest = configured(TENANTS.values(), workers=2)
    with (
        guarded_sandbox() as upstream,
        gateway_process(f"{upstream.url}/v1", folder, rest=rest) as gateway,
    ):
        yield Shop(gateway, upstream, Books(folder, upstream.url))


@pytest.fixture
async def http(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    shop.upstream.turnstile.open()
    async with client_of(shop.gateway.url) as made:
        yield made


def limits_told(answer: Answer) -> dict[str, str]:
    """The headers about limits, those that tell a time left out."""
    return {
        name: value
        for name, value in answer.headers.items()
        if name.startswith("x-ratelimit-") and not name.startswith("x-ratelimit-reset-")
    }


async def has_no_place(books: Books, tenant: Tenant) -> bool:
    """Whether nobody is inside with this key."""
    return (await state(books, tenant.scope)).used[Unit.CONCURRENT] == 0


async def has_come(shop: Shop, mark: str) -> None:
    """Returns once a call is at the upstream."""

    async def is_there() -> bool:
        return mark in shop.upstream.turnstile.came

    await eventually(is_there)


# What is told


async def test_an_answer_tells_how_the_limits_stand_with_it(shop: Shop, http: httpx2.AsyncClient) -> None:
    first = await ask(http, TENANTS["told"])
    assert first.status == 200
    assert limits_told(first) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-limit-tokens": str(10 * TOKENS),
        "x-ratelimit-remaining-tokens": str(9 * TOKENS),
        "x-ratelimit-limit-images": "10",
        "x-ratelimit-remaining-images": "9",
        "x-ratelimit-limit-image-tokens": str(10 * IMAGE_TOKENS),
        "x-ratelimit-remaining-image-tokens": str(9 * IMAGE_TOKENS),
        "x-ratelimit-limit-usd": "1",
        "x-ratelimit-remaining-usd": usd_text(NanoUSD(10**9 - NUSD)),
    }
    assert first.headers["x-imagegate-budget-remaining-usd"] == usd_text(NanoUSD(10**9 - NUSD))
    resets = {name: value for name, value in first.headers.items() if name.startswith("x-ratelimit-reset-")}
    assert resets["x-ratelimit-reset-requests"] == "1m0.6s"
    assert resets["x-ratelimit-reset-tokens"] == "1h0m36s"
    assert re.fullmatch(r"(\d+h)?(\d+m)?[\d.]+m?s", resets["x-ratelimit-reset-images"])
    assert "x-ratelimit-reset-image-tokens" not in resets, "a total never comes back"
    assert "x-imagegate-warning" not in first.headers
    await all_given_back(shop.books, [TENANTS["told"].scope])
    second = await ask(http, TENANTS["told"])
    # The first was settled at what it came to, which is less than it held.
    spent = NanoUSD(round(float(first.headers["x-imagegate-cost-usd"]) * 10**9))
    assert second.headers["x-imagegate-budget-remaining-usd"] == usd_text(NanoUSD(10**9 - spent - NUSD))


async def test_a_stream_tells_it_as_it_begins(shop: Shop, http: httpx2.AsyncClient) -> None:
    answer = await ask(http, TENANTS["streams"], body=STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert limits_told(answer) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-limit-images": "10",
        "x-ratelimit-remaining-images": "9",
        "x-ratelimit-limit-usd": "1",
        "x-ratelimit-remaining-usd": usd_text(NanoUSD(10**9 - STREAMED_NUSD)),
    }
    assert answer.headers["x-imagegate-budget-remaining-usd"] == usd_text(NanoUSD(10**9 - STREAMED_NUSD))
    await all_given_back(shop.books, [TENANTS["streams"].scope])


async def test_beyond_a_soft_limit_a_call_passes_with_a_warning(http: httpx2.AsyncClient) -> None:
    warnings = []
    for body in (PICTURE, PICTURE, STREAM):
        answer = await ask(http, TENANTS["soft"], body=body)
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit-images"] == "5", "a soft limit is not the tightest"
        assert "x-imagegate-budget-remaining-usd" not in answer.headers, "what only warns is no budget"
        warnings.append(answer.headers["x-imagegate-warning"])
    dollar = "key 'soft': $0.000000001 per day soft"
    both = f"beyond a soft limit (key 'soft': 1 image per day soft, {dollar})"
    assert warnings == [f"beyond a soft limit ({dollar})", both, both]


async def test_a_call_larger_than_a_whole_limit_is_not_told_to_wait(
    shop: Shop, http: httpx2.AsyncClient
) -> None:
    tenant = TENANTS["large"]
    answer = await ask(http, tenant, "two", body=PICTURE | {"n": 2})
    assert answer.status == 429
    assert answer.error["type"] == answer.error["code"] == "insufficient_quota"
    assert "more than the whole limit of key 'large'" in answer.error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert (await state(shop.books, tenant.scope)).used[Unit.REQUESTS] == 0
    assert "two" not in shop.upstream.turnstile.came


# What counts


async def test_what_is_refused_takes_nothing(shop: Shop, http: httpx2.AsyncClient) -> None:
    """Not by a limit, not by what it asks for, not by its body."""
    tenant = TENANTS["refused"]
    assert (await ask(http, tenant, "first")).status == 200
    for _ in range(10):
        assert (await ask(http, tenant, "again")).status == 429
    assert (await ask(http, tenant, body=PICTURE | {"model": 7})).status == 400
    assert (await ask(http, tenant, path="responses", body=TOOL | {"prompt": {"id": "p"}})).status == 403
    await all_given_back(shop.books, [tenant.scope])
    used = (await state(shop.books, tenant.scope)).used
    assert (used[Unit.REQUESTS], used[Unit.IMAGES]) == (1, 1)
    assert shop.upstream.turnstile.came.count("again") == 0


async def test_every_post_to_images_and_responses_counts_and_nothing_else(
    shop: Shop, http: httpx2.AsyncClient
) -> None:
    tenant = TENANTS["counts"]
    bearer = {"authorization": f"Bearer {tenant.secret}"}
    counting = {"model": "gpt-5", "input": "how many tokens are these"}
    for number in range(2):  # The one place there is comes back each time.
        answer = await ask(http, tenant, path="responses/input_tokens", body=counting)
        assert answer.status == 200, answer.body
        assert answer.headers["x-ratelimit-remaining-requests"] == str(2 - number)
        await all_given_back(shop.books, [tenant.scope])
    others = [
        await http.get("models", headers=bearer),
        await http.post("files", files={"file": ("a.png", b"x")}, data={"purpose": "vision"}, headers=bearer),
        await http.get("files", headers=bearer),
        await http.post("conversations", json={}, headers=bearer),
        await http.get("responses/resp_none", headers=bearer),
    ]
    assert [one.status_code for one in others] == [200, 200, 200, 200, 404]
    assert all("x-ratelimit-limit-requests" not in one.headers for one in others)
    assert (await state(shop.books, tenant.scope)).used[Unit.REQUESTS] == 2
    assert (await ask(http, tenant)).status == 200
    stopped = await ask(http, tenant, path="responses/input_tokens", body=counting)
    assert (stopped.status, stopped.error["code"]) == (429, "rate_limit_exceeded")
    assert (await http.get("models", headers=bearer)).status_code == 200, "what does not count is not stopped"
    await all_given_back(shop.books, [tenant.scope])


async def test_a_call_that_costs_nothing_gives_back_what_it_held(
    shop: Shop, http: httpx2.AsyncClient
) -> None:
    tenant = TENANTS["fails"]
    for _ in range(3):
        assert (await ask(http, tenant, steering="fail=500")).status == 500
        await all_given_back(shop.books, [tenant.scope])
    used = (await state(shop.books, tenant.scope)).used
    assert (used[Unit.REQUESTS], used[Unit.IMAGES], used[Unit.USD]) == (3, 0, 0)
    assert (await ask(http, tenant)).status == 200


# Who leaves


async def leave(http: httpx2.AsyncClient, shop: Shop, tenant: Tenant, mark: str) -> None:
    """A call whose client goes away while the upstream works."""
    call = asyncio.ensure_future(ask(http, tenant, mark))
    await has_come(shop, mark)
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call


async def test_who_leaves_gives_its_place_back_while_the_call_is_read_to_its_end(
    shop: Shop, http: httpx2.AsyncClient
) -> None:
    tenant, turnstile = TENANTS["leaves"], shop.upstream.turnstile
    turnstile.shut()
    await leave(http, shop, tenant, "left")
    await eventually(lambda: has_no_place(shop.books, tenant))
    known = await state(shop.books, tenant.scope)
    assert (known.held[Unit.IMAGES], known.held[Unit.USD]) == (1, NUSD), "what it will come to stays held"
    returns = asyncio.ensure_future(ask(http, tenant, "back again"))
    await has_come(shop, "back again")
    turnstile.open()
    assert (await returns).status == 200
    await all_given_back(shop.books, [tenant.scope])
    assert (await state(shop.books, tenant.scope)).used[Unit.IMAGES] == 2
    charges = await shop.books.charges()
    mine = [one for one in await shop.books.records() if one.key == tenant.name]
    assert [(one.outcome, one.cost_nusd) for one in mine] == [
        (Outcome.CLIENT_GONE, charges["left"]["nano_dollars"]),
        (Outcome.COMPLETED, charges["back again"]["nano_dollars"]),
    ]


async def test_a_call_that_is_cut_for_its_client_left_is_used_as_it_was_held(
    shop: Shop, http: httpx2.AsyncClient
) -> None:
    tenant, turnstile = TENANTS["cuts"], shop.upstream.turnstile
    turnstile.shut()
    await leave(http, shop, tenant, "cut")
    await all_given_back(shop.books, [tenant.scope])
    used = (await state(shop.books, tenant.scope)).used
    assert (used[Unit.IMAGES], used[Unit.USD]) == (1, NUSD)


async def test_a_response_in_the_background_holds_money_and_no_place(
    shop: Shop, http: httpx2.AsyncClient
) -> None:
    tenant = TENANTS["behind"]
    body = TOOL | {"background": True}
    for number in range(2):  # There is one place.
        answer = await ask(http, tenant, path="responses", body=body, steering="delay_ms=3000")
        assert answer.status == 200, answer.body
        assert answer.body["status"] in {"queued", "in_progress"}
        await eventually(lambda: has_no_place(shop.books, tenant))
        known = await state(shop.books, tenant.scope)
        assert known.held[Unit.IMAGES] == number + 1
        assert known.held[Unit.USD] > 0
    await all_given_back(shop.books, [tenant.scope])
    mine = [one for one in await shop.books.records() if one.key == tenant.name]
    used = (await state(shop.books, tenant.scope)).used
    assert used[Unit.USD] == sum(one.cost_nusd for one in mine) > 0
    assert used[Unit.IMAGES] == 2


# Debts


async def test_a_call_that_comes_to_more_than_it_held_leaves_a_debt_that_blocks_the_next(
    shop: Shop, http: httpx2.AsyncClient
) -> None:
    """The upstream draws a larger picture than it was asked for."""
    tenant = TENANTS["debtor"]
    answer = await ask(http, tenant, steering="size_out=1536x1024; quality_out=high")
    assert answer.status == 200
    await all_given_back(shop.books, [tenant.scope])
    (mine,) = [one for one in await shop.books.records() if one.key == tenant.name]
    used = (await state(shop.books, tenant.scope)).used[Unit.TOKENS]
    assert used == mine.input_text_tokens + mine.output_image_tokens > TOKENS + 200
    refused = await ask(http, tenant)
    assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
    assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
