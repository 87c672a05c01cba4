"""What a client is told of its calls' cost, and what it may tell us for the ledger: official SDK, gateway, sandbox."""

import io
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from gateway.core.record import Outcome, Record
from gateway.core.units import usd_text
from tests.support.books import MARK, Books
from tests.support.process import KEY, gateway_process, sandbox_process
from tests.support.sandbox_client import png

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("cost")]

COST, TOKENS = "x-imagegate-cost-usd", "x-imagegate-output-image-tokens"
LOW: dict[str, Any] = {"model": "gpt-image-1", "quality": "low", "size": "1024x1024"}
TOOL: dict[str, Any] = {"type": "image_generation", **LOW}
RESPONSE: dict[str, Any] = {"model": "gpt-5", "input": "a fox", "tools": [TOOL]}


@dataclass(frozen=True)
class Shop:
    """Where the gateway listens, and both books."""

    base_url: str
    books: Books


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("cost")
    with sandbox_process(folder) as sandbox, gateway_process(f"{sandbox.url}/v1", folder) as gateway:
        yield Shop(f"{gateway.url}/v1", Books(folder, sandbox.url))


@pytest.fixture
async def sdk(shop: Shop) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=shop.base_url, api_key=KEY, max_retries=0) as client:
        yield client


async def ask(sdk: openai.AsyncOpenAI, kind: str, **options: Any) -> Any:
    """A call of this kind, its answer with its head."""
    create: Any
    match kind:
        case "generations":
            create, fields = sdk.images.with_raw_response.generate, {"prompt": "a fox", **LOW}
        case "edits":
            create = sdk.images.with_raw_response.edit
            fields = {"prompt": "a fox", "image": ("a.png", io.BytesIO(png()), "image/png"), **LOW}
        case _:
            create, fields = sdk.responses.with_raw_response.create, RESPONSE
    return await create(**fields, **options)


async def record_of(shop: Shop, answer: Any) -> Record:
    return await shop.books.record(answer.headers["x-imagegate-id"])


KINDS = pytest.mark.parametrize("kind", ["generations", "edits", "responses"])


@KINDS
@pytest.mark.parametrize("steering", ["", "usage=omit; tool_usage=omit"], ids=["reported", "not reported"])
async def test_a_plain_answer_says_what_the_ledger_says(
    shop: Shop, sdk: openai.AsyncOpenAI, kind: str, steering: str
) -> None:
    mark = f"{kind}-{steering}"
    answer = await ask(sdk, kind, extra_headers={"X-Sandbox": steering, MARK: mark})
    record = await record_of(shop, answer)
    assert answer.headers[COST] == usd_text(record.cost_nusd)
    assert int(answer.headers[TOKENS]) == record.output_image_tokens >= 272
    if not steering:
        assert record.cost_nusd == (await shop.books.charges())[mark]["nano_dollars"] > 0


async def test_so_does_one_of_megabytes(shop: Shop, sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.images.with_raw_response.generate(
        model="gpt-image-1", prompt="a fox", quality="high", size="1024x1024", n=2
    )
    pictures = answer.parse().data or []
    assert [len(picture.b64_json or "") > 0 for picture in pictures] == [True, True]
    record = await record_of(shop, answer)
    assert (answer.headers[COST], answer.headers[TOKENS]) == (usd_text(record.cost_nusd), str(2 * 4160))


async def test_an_error_of_the_upstream_cost_nothing_and_says_so(shop: Shop, sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.images.generate(prompt="a fox", model="gpt-image-1", size="7x7")
    assert (caught.value.response.headers[COST], caught.value.response.headers[TOKENS]) == ("0", "0")


@KINDS
async def test_a_stream_says_nothing_of_it(shop: Shop, sdk: openai.AsyncOpenAI, kind: str) -> None:
    answer = await ask(sdk, kind, stream=True)
    assert not {COST, TOKENS} & set(answer.headers)
    async for _ in answer.parse():
        pass
    assert (await record_of(shop, answer)).cost_nusd > 0


async def test_nor_does_a_background_response_that_goes_on(shop: Shop, sdk: openai.AsyncOpenAI) -> None:
    answer = await ask(sdk, "responses", background=True, extra_headers={"X-Sandbox": "delay_ms=300"})
    assert answer.parse().status in {"queued", "in_progress"}
    assert not {COST, TOKENS} & set(answer.headers)
    record = await record_of(shop, answer)
    assert record.outcome is Outcome.COMPLETED
    assert record.cost_nusd > 0


@pytest.mark.parametrize("background", [True, False])
async def test_a_stream_that_was_left_is_its_clients_leaving_only_in_the_foreground(
    shop: Shop, sdk: openai.AsyncOpenAI, background: bool
) -> None:
    answer = await ask(
        sdk,
        "responses",
        stream=True,
        background=background,
        extra_headers={"X-Sandbox": "delay_ms=500"},
    )
    stream = answer.parse()
    assert (await anext(aiter(stream))).type == "response.created"
    await stream.close()
    record = await record_of(shop, answer)
    assert record.outcome is (Outcome.COMPLETED if background else Outcome.CLIENT_GONE)
    assert (record.images, record.status) == (1, 200)


async def test_tags_are_in_the_ledger_and_stay_with_us(shop: Shop, sdk: openai.AsyncOpenAI) -> None:
    tags = {"X-Imagegate-Tags": "campaign=spring,env=prod", MARK: "tagged"}
    record = await record_of(shop, await ask(sdk, "generations", extra_headers=tags))
    assert record.tags == (("campaign", "spring"), ("env", "prod"))
    rows = [row async for row in shop.books.ledger.usage(("tag:campaign",))]
    assert {row.group: row.cost_nusd for row in rows}[("spring",)] == record.cost_nusd
    (visitor,) = [one for one in await shop.books.visitors() if [MARK, "tagged"] in one["headers"]]
    assert "x-imagegate-tags" not in dict(visitor["headers"])


async def test_bad_tags_are_refused_with_a_good_example(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(sdk, "generations", extra_headers={"X-Imagegate-Tags": "spring"})
    assert (caught.value.code, caught.value.param) == ("invalid_header", "X-Imagegate-Tags")
    assert "'campaign=spring,env=prod'" in caught.value.message
