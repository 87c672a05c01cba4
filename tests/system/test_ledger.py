"""
The accounting of the whole program, in cases that one can read.

The surcharge for partial images, responses in the background, and what the reports make of it all. The proof over any
sequence of calls is test_invoice.py.
"""

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest

from gateway.core.ledger import summed
from gateway.core.record import Outcome, Role, TokensFrom
from gateway.core.units import NanoUSD, usd_text
from tests.support.books import MARK, Books, eventually
from tests.support.process import KEY, Running, gateway_process, sandbox_process
from tests.support.sandbox_client import png

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("ledger")]

HASTY = "sk-hasty"
"""A key whose calls are cut when its client leaves; those of the other one are read to their end."""
HASTY_KEY = f"""
[[key]]
id = "hasty"
team = "team"
secret = "{HASTY}"
on_disconnect = "cancel"
"""
ADMIN = "an-admin-token-of-some-length"
PATIENCE_S = 60.0
LOW: dict[str, Any] = {"model": "gpt-image-1", "quality": "low", "size": "1024x1024"}
TOOL: dict[str, Any] = {"type": "image_generation", **LOW}
LONG = "a very long story of a red fox in a blue and silent winter wood " * 120


@dataclass(frozen=True)
class Shop:
    """A gateway before a sandbox, and both books."""

    gateway: Running
    books: Books

    @property
    def base_url(self) -> str:
        """What a client is told."""
        return f"{self.gateway.url}/v1"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("ledger")
    rest = f'[auth]\nadmin_token = "{ADMIN}"\n{HASTY_KEY}'
    with (
        sandbox_process(folder) as sandbox,
        gateway_process(f"{sandbox.url}/v1", folder, rest=rest) as gateway,
    ):
        yield Shop(gateway, Books(folder, sandbox.url))


@pytest.fixture
async def sdk(shop: Shop) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=shop.base_url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def http(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=shop.base_url,
        headers={"authorization": f"Bearer {KEY}"},
        trust_env=False,
        timeout=PATIENCE_S,
        limits=httpx2.Limits(max_keepalive_connections=0),
    ) as client:
        yield client


class TestTheSurcharge:
    """272 tokens for the picture, and 100 for every partial image that was asked for and delivered."""

    # asked, steering, output image tokens, of them surcharge, where from
    CASES = (
        pytest.param(0, "", 272, 0, TokensFrom.REPORTED, id="plain"),
        pytest.param(2, "", 472, 200, TokensFrom.REPORTED, id="two asked and delivered"),
        pytest.param(3, "partials=1", 372, 100, TokensFrom.REPORTED, id="three asked and one delivered"),
        pytest.param(2, "usage=without_surcharge", 472, 200, TokensFrom.REPORTED, id="left out"),
        pytest.param(2, "usage=omit; tool_usage=omit", 472, 200, TokensFrom.COMPUTED, id="not reported"),
        pytest.param(
            3, "usage=omit; tool_usage=omit; partials=1", 372, 100, TokensFrom.COMPUTED, id="nor, and fewer"
        ),
        pytest.param(0, "usage=omit; tool_usage=omit", 272, 0, TokensFrom.COMPUTED, id="nor, and plain"),
    )

    @pytest.mark.parametrize(("asked", "steering", "output", "surcharge", "source"), CASES)
    @pytest.mark.parametrize("kind", ["generations", "edits", "tool"])
    async def test_it_is_in_the_ledger_and_in_the_cost(
        self,
        shop: Shop,
        sdk: openai.AsyncOpenAI,
        kind: str,
        asked: int,
        steering: str,
        output: int,
        surcharge: int,
        source: TokensFrom,
    ) -> None:
        if kind == "tool":
            # The mainline model's report stays: without it the whole call would be an estimate.
            steering = steering.replace("usage=omit; tool_usage=omit", "tool_usage=omit")
        mark = f"{kind}-{asked}-{steering}"
        record = await shop.books.record(await self._ask(sdk, kind, asked, steering, mark))
        charge = (await shop.books.charges())[mark]
        line = next(one for one in record.lines if one.role is Role.IMAGE)
        billed = next(one for one in charge["lines"] if one["kind"] == "image")["tokens"]
        assert record.output_image_tokens == line.output_image == billed["output_image"] == output
        assert record.partial_image_tokens == surcharge
        assert record.partial_images_delivered == surcharge // 100
        assert (record.partial_images_requested or 0) == asked
        assert record.tokens_from is source
        # gpt-image-1: 5, 10 and 40 dollars for a million tokens.
        tokens = 5_000 * line.input_text + 10_000 * line.input_image + 40_000 * output
        others = sum(one.cost_nusd for one in record.lines if one is not line)
        assert record.cost_nusd == tokens + others
        if source is TokensFrom.REPORTED:
            assert record.cost_nusd == charge["nano_dollars"]
        else:
            assert record.cost_nusd >= charge["nano_dollars"]

    @staticmethod
    async def _ask(sdk: openai.AsyncOpenAI, kind: str, asked: int, steering: str, mark: str) -> str:
        """One streamed call to its end; the id of its record."""
        headers = {"X-Sandbox": steering, MARK: mark}
        create: Any
        match kind:
            case "generations":
                create, fields = sdk.images.with_raw_response.generate, {"prompt": "a fox", **LOW}
            case "edits":
                create = sdk.images.with_raw_response.edit
                fields = {"prompt": "a fox", "image": ("a.png", io.BytesIO(png()), "image/png"), **LOW}
            case _:
                create = sdk.responses.with_raw_response.create
                fields = {"model": "gpt-5", "input": "a fox", "tools": [{**TOOL, "partial_images": asked}]}
        if kind != "tool":
            fields["partial_images"] = asked
        raw = await create(**fields, stream=True, extra_headers=headers)
        async for _ in raw.parse():
            pass
        return str(raw.headers["x-imagegate-id"])


@dataclass(frozen=True)
class Told:
    """What a client saw of its call."""

    record_id: str
    response_id: str


async def ask(
    http: httpx2.AsyncClient,
    body: dict[str, Any],
    mark: str,
    steering: str = "",
    *,
    path: str = "responses",
    hasty: bool = False,
    leave_early: bool = False,
) -> Told:
    """Make a call; of a stream read it all, or leave as soon as it tells its id."""
    headers = {MARK: mark} | ({"x-sandbox": steering} if steering else {})
    if hasty:
        headers["authorization"] = f"Bearer {HASTY}"
    received = b""
    async with http.stream("POST", path, headers=headers, json=body) as reply:
        async for chunk in reply.aiter_raw():
            received += chunk
            if leave_early and b'"resp_' in received:
                break
    found = received.partition(b'"resp_')[2].partition(b'"')[0]
    return Told(reply.headers["x-imagegate-id"], f"resp_{found.decode()}")


async def test_a_stream_of_a_response_that_is_cut_is_settled_at_once(
    shop: Shop, http: httpx2.AsyncClient
) -> None:
    """It says `in_progress` like one in the background, but nobody can ask for it later."""
    body = {"model": "gpt-5", "input": "a fox", "tools": [TOOL], "stream": True}
    told = await ask(http, body, "left at once", "delay_ms=1000", hasty=True, leave_early=True)
    record = await shop.books.record(told.record_id)
    assert record.outcome is Outcome.CLIENT_GONE
    assert record.tokens_from is TokensFrom.ESTIMATED
    assert record.cost_nusd > 0


class TestABackgroundResponse:
    """It is paid once, whoever sees its end how often."""

    BODY = {  # noqa: RUF012 - read only
        "model": "gpt-5",
        "input": "a fox",
        "background": True,
        "stream": True,
        "tools": [{**TOOL, "partial_images": 2}],
    }

    @pytest.mark.parametrize("hasty", [False, True], ids=["the stream read to its end", "the stream cut"])
    async def test_polled_ten_times_resumed_and_cancelled_it_is_settled_once(
        self, shop: Shop, http: httpx2.AsyncClient, *, hasty: bool
    ) -> None:
        mark = f"often-{hasty}"
        told = await ask(http, self.BODY, mark, "delay_ms=300", hasty=hasty, leave_early=True)
        response_id = told.response_id
        await asyncio.gather(*(http.get(f"responses/{response_id}") for _ in range(5)))

        async def is_over() -> bool:
            status: str = (await http.get(f"responses/{response_id}")).json()["status"]
            return status == "completed"

        await eventually(is_over)
        resumed = f"responses/{response_id}?stream=true&starting_after=1"
        await asyncio.gather(
            *(http.get(f"responses/{response_id}") for _ in range(10)),
            http.get(resumed),
            http.post(f"responses/{response_id}/cancel"),
        )
        await http.get(resumed)
        await eventually(shop.books.is_quiet, PATIENCE_S)
        mine = [one for one in await shop.books.records() if one.response_id == response_id]
        assert [one.id for one in mine] == [told.record_id]
        charge = (await shop.books.charges())[mark]
        assert mine[0].outcome in {Outcome.COMPLETED, Outcome.CLIENT_GONE}
        assert mine[0].tokens_from is TokensFrom.REPORTED
        assert mine[0].output_image_tokens == 472
        assert mine[0].partial_image_tokens == 200
        assert mine[0].cost_nusd == charge["nano_dollars"]
        lines = shop.gateway.log.read_text().splitlines()
        told_of = [line for line in lines if told.record_id in line and '"imagegate.request"' in line]
        assert len(told_of) == 1, "one line in the log too"

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_whose_client_never_comes_back_is_settled_all_the_same(
        self, shop: Shop, http: httpx2.AsyncClient, *, streamed: bool
    ) -> None:
        body = {**self.BODY, "stream": streamed}
        mark = f"never-{streamed}"
        told = await ask(http, body, mark, "delay_ms=300", hasty=True, leave_early=True)
        record = await shop.books.record(told.record_id)
        assert record.outcome is Outcome.COMPLETED
        assert record.tokens_from is TokensFrom.REPORTED
        assert record.cost_nusd == (await shop.books.charges())[mark]["nano_dollars"]

    @pytest.mark.parametrize("hidden", ["usage=omit", "tool_usage=omit", "usage=omit; tool_usage=omit"])
    async def test_which_does_not_report_costs_no_less_than_it_is_billed(
        self, shop: Shop, http: httpx2.AsyncClient, hidden: str
    ) -> None:
        """What the request said of its input must still be known when the answer comes, minutes later."""
        body = {**self.BODY, "stream": False, "input": LONG}
        told = await ask(http, body, hidden, hidden)
        record = await shop.books.record(told.record_id)
        charge = (await shop.books.charges())[hidden]
        assert record.cost_nusd >= charge["nano_dollars"]
        billed = sum(line["tokens"]["output_image"] for line in charge["lines"])
        assert record.output_image_tokens == billed == 272

    async def test_that_is_cancelled_is_charged_as_reserved(
        self, shop: Shop, http: httpx2.AsyncClient
    ) -> None:
        told = await ask(http, self.BODY, "cancelled", "delay_ms=5000", leave_early=True)
        assert (await http.post(f"responses/{told.response_id}/cancel")).status_code == 200
        record = await shop.books.record(told.record_id)
        assert record.outcome is Outcome.CANCELLED
        assert record.tokens_from is TokensFrom.ESTIMATED
        assert record.cost_nusd == record.reserved_nusd


async def test_the_report_says_what_the_records_say(shop: Shop, http: httpx2.AsyncClient) -> None:
    """`imagegate usage` and `GET /admin/usage`, against sums made by hand."""
    for number, steering in enumerate(("", "fail=500", "usage=omit", "fail=lost")):
        with suppress(httpx2.TransportError):
            await ask(http, {"prompt": "x", **LOW}, f"u{number}", steering, path="images/generations")
    await eventually(shop.books.is_quiet, PATIENCE_S)
    records = await shop.books.records()
    expected = [row.told(("model",)) for row in summed(records, ("model",))]
    assert len(expected) >= 1
    command = [sys.executable, "-m", "gateway", "usage", "--by", "model", "--format", "json"]
    said = await asyncio.to_thread(
        subprocess.run,
        [*command, "--config", "gateway.toml"],
        cwd=shop.books.folder,
        env=dict(os.environ),
        capture_output=True,
        check=True,
        timeout=60,
    )
    printed = json.loads(said.stdout)
    rows = printed["data"] if isinstance(printed, dict) else printed
    assert rows == expected
    answer = await http.get(
        f"{shop.gateway.addresses[1]}/admin/usage?by=model", headers={"authorization": f"Bearer {ADMIN}"}
    )
    assert answer.json()["data"] == expected
    total = NanoUSD(sum(record.cost_nusd for record in records))
    whole = await http.get(
        f"{shop.gateway.addresses[1]}/admin/usage", headers={"authorization": f"Bearer {ADMIN}"}
    )
    assert [row["cost_usd"] for row in whole.json()["data"]] == [usd_text(total)]
    assert [row["requests"] for row in whole.json()["data"]] == [len(records)]
