"""
The proof of the accounting: what the ledger says is what the sandbox would bill.

Equal wherever the upstream reported; never below it where the call was cut, left, or not reported. The sandbox keeps
its books with code of its own.
"""

import asyncio
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import httpx2
import openai
import pytest

from gateway.core.ledger import summed
from gateway.core.record import Outcome, Record, Role, TokensFrom
from gateway.core.units import NanoUSD, usd_text
from tests.conftest import FULL, SEED
from tests.support.books import MARK, Books, eventually, invoice_sums, ledger_sums
from tests.support.process import KEY, Running, gateway_process, sandbox_process
from tests.support.sandbox_client import data_url, png

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


class How(Enum):
    """How the ledger compares with the bill of one call."""

    EQUAL = "equal"
    SAME_PICTURES = "equal output image tokens, and not less"
    NOT_LESS = "not less"
    FREE = "no record, and no bill"


@dataclass(frozen=True)
class Errand:
    """
    One call of a random sequence.

    Args:
        what: for whoever reads a failure.
        leave_after: bytes of the answer after which the client leaves.
        hasty: its call is cut then.
        then: what the client of a background response does next.
    """

    what: str
    path: str
    how: How
    body: dict[str, Any] = field(default_factory=dict)
    steering: str = ""
    form: bool = False
    leave_after: int | None = None
    hasty: bool = False
    then: str = ""


@dataclass
class Told:
    """What a client saw of its call."""

    mark: str
    errand: Errand
    record_id: str | None = None
    """None: no answer had a head."""
    response_id: str = ""


PROMPTS = (
    "a fox",
    "a very long story of a red fox in a blue and silent winter wood " * 6,
    "ein Füchslein 🦊",
)
MODELS = (
    {"model": "gpt-image-1", "size": "1024x1024", "quality": "low"},
    {"model": "gpt-image-1.5", "size": "1024x1024", "quality": "low"},
    {"model": "gpt-image-1-mini", "size": "1024x1024", "quality": "medium"},
    {"model": "gpt-image-2", "size": "1024x640", "quality": "low"},
    {"model": "gpt-image-2", "size": "1024x640", "quality": "high"},
    {"model": "gpt-image-2.5", "size": "1024x640", "quality": "xhigh"},
    {"model": "gpt-image-77", "size": "1024x640", "quality": "low"},
)
TOLD_ALL = ("", "usage=no_details", "chunk=4096", "fail=500", "fail=429", "moderate=input")
"""Nothing is hidden and nothing cut: equal."""


@dataclass
class Chance:
    """Chooses the calls of a sequence."""

    random: random.Random

    def errand(self, number: int, *, reported: bool) -> Errand:
        """
        The call of this number: every kind comes in turn, its fields and faults by chance.

        Args:
            number: from 0.
            reported: only calls that come to their end and are reported.
        """
        kinds: tuple[Callable[[], Errand], ...] = (
            self._plain,
            self._streamed,
            self._edit,
            self._tool,
            self._tool_streamed,
            self._background,
            self._other,
        )
        if not reported:
            kinds = (*kinds, self._unreported, self._cut, self._left, self._stopped, self._unreported_tool)
        return kinds[number % len(kinds)]()

    def _drawn(self) -> dict[str, Any]:
        return {"prompt": self.random.choice(PROMPTS), **self.random.choice(MODELS)}

    def _tools(self, **more: Any) -> dict[str, Any]:
        tool = {"type": "image_generation", **self.random.choice(MODELS), **more}
        model = self.random.choice(("gpt-5", "gpt-5.4", "gpt-4.1"))
        return {"model": model, "input": self.random.choice(PROMPTS), "tools": [tool]}

    def _plain(self) -> Errand:
        body = self._drawn()
        extra: dict[str, Any] = self.random.choice(
            ({}, {"n": 2}, {"output_format": "svg", "svg": {"model": "gpt-5.4"}}, {"output_format": "jpeg"})
        )
        steering = self.random.choice((*TOLD_ALL, "moderate=output", "fail=error-event"))
        return Errand("plain", "images/generations", How.EQUAL, {**body, **extra}, steering)

    def _streamed(self) -> Errand:
        asked = self.random.randrange(4)
        faults = (*TOLD_ALL, "partials=1", "partials=3", "usage=without_surcharge")
        steering = self.random.choice(faults)
        body = {**self._drawn(), "stream": True, "partial_images": asked}
        return Errand("streamed", "images/generations", How.EQUAL, body, steering)

    def _edit(self) -> Errand:
        body, form = self._drawn(), self.random.random() < 0.5
        if not form:
            body["images"] = [{"image_url": data_url(png((96, 64)))}]
        steering = self.random.choice(TOLD_ALL)
        if self.random.random() < 0.5:
            body |= {"stream": True, "partial_images": 2}
            steering = self.random.choice((steering, "usage=without_surcharge", "partials=1"))
        return Errand("edit", "images/edits", How.EQUAL, body, steering, form=form)

    def _tool(self) -> Errand:
        faults = (*TOLD_ALL, "image_calls=2", "image_calls=0", "moderate=output")
        more = self.random.choice(({}, {"service_tier": "priority"}, {"max_output_tokens": 90}))
        body = {**self._tools(), **more}
        return Errand("tool", "responses", How.EQUAL, body, self.random.choice(faults))

    def _tool_streamed(self) -> Errand:
        faults = (
            *TOLD_ALL,
            "partials=1",
            "image_calls=2",
            "image_calls=2; usage=without_surcharge",
            "fail=error-event",
            "fail=error-event; error_form=flat",
        )
        body = {**self._tools(partial_images=self.random.randrange(4)), "stream": True}
        return Errand("streamed tool", "responses", How.EQUAL, body, self.random.choice(faults))

    def _background(self) -> Errand:
        body = {**self._tools(), "background": True}
        if self.random.random() < 0.5:
            body |= {"stream": True}
            body["tools"][0]["partial_images"] = self.random.randrange(3)
        then = self.random.choice(("forget", "poll"))
        steering = self.random.choice(("", "delay_ms=300", "image_calls=2", "moderate=output"))
        return Errand("background", "responses", How.EQUAL, body, steering, then=then)

    def _other(self) -> Errand:
        words = {"model": "gpt-5", "input": self.random.choice(PROMPTS)}
        return self.random.choice(
            (
                Errand("words", "responses", How.EQUAL, words),
                Errand("compact", "responses/compact", How.EQUAL, words),
                Errand("count", "responses/input_tokens", How.FREE, words),
                Errand("dall-e-2", "images/generations", How.EQUAL, _old("dall-e-2", "256x256") | {"n": 2}),
                Errand("dall-e-3", "images/generations", How.EQUAL, _old("dall-e-3", "1024x1024")),
                Errand("variations", "images/variations", How.EQUAL, _old("dall-e-2", "256x256"), form=True),
            )
        )

    def _unreported(self) -> Errand:
        body, steering = self._drawn(), "usage=omit"
        if self.random.random() < 0.5:
            body |= {"stream": True, "partial_images": self.random.randrange(4)}
            steering = self.random.choice(("usage=omit", "usage=omit; partials=1"))
        if self.random.random() < 0.5:
            return Errand("not reported", "images/generations", How.SAME_PICTURES, body, steering)
        return Errand("edit not reported", "images/edits", How.SAME_PICTURES, body, steering, form=True)

    def _unreported_tool(self) -> Errand:
        steering = self.random.choice(("usage=omit", "tool_usage=omit", "usage=omit; tool_usage=omit"))
        body = self._tools(partial_images=2)
        more: dict[str, Any] = self.random.choice(({"stream": True}, {}, {"background": True}))
        then = "forget" if "background" in more else ""
        if "stream" not in more:
            body["tools"][0].pop("partial_images")
        return Errand("tool not reported", "responses", How.SAME_PICTURES, body | more, steering, then=then)

    def _cut(self) -> Errand:
        asked = self.random.randrange(4)
        streamed: dict[str, Any] = {"stream": True, "partial_images": asked}
        return self.random.choice(
            (
                Errand(
                    "cut", "images/generations", How.NOT_LESS, self._drawn() | streamed, "fail=mid-stream"
                ),
                Errand("cut plain", "images/generations", How.NOT_LESS, self._drawn(), "fail=mid-stream"),
                Errand("lost", "images/generations", How.NOT_LESS, self._drawn() | {"n": 2}, "fail=lost"),
                Errand("edit lost", "images/edits", How.NOT_LESS, self._drawn(), "fail=lost", form=True),
                Errand(
                    "tool cut",
                    "responses",
                    How.NOT_LESS,
                    self._tools(partial_images=asked) | {"stream": True},
                    "fail=mid-stream",
                ),
                Errand("tool lost", "responses", How.NOT_LESS, self._tools(), "fail=lost"),
                Errand("timed out", "images/generations", How.NOT_LESS, self._drawn(), "fail=504"),
                Errand("never sent", "images/generations", How.NOT_LESS, self._drawn(), "fail=before"),
            )
        )

    def _left(self) -> Errand:
        asked, hasty = self.random.randrange(4), self.random.random() < 0.5
        left: dict[str, Any] = {
            "steering": self.random.choice(("", "delay_ms=200")),
            "leave_after": self.random.choice((1, 300_000, 900_000)),
            "hasty": hasty,
        }
        how = How.NOT_LESS if hasty else How.EQUAL
        if self.random.random() < 0.5:
            body = self._drawn() | {"stream": True, "partial_images": asked}
            return Errand("left", "images/generations", how, body, **left)
        body = self._tools(partial_images=asked) | {"stream": True}
        return Errand("tool left", "responses", how, body, **left)

    def _stopped(self) -> Errand:
        """A background response that is cancelled, a stream that fails or is blocked after partial images."""
        body = self._drawn() | {"stream": True, "partial_images": 2}
        fault = self.random.choice(("fail=error-event", "moderate=output"))
        background = self._tools(partial_images=2) | {"background": True, "stream": True}
        return self.random.choice(
            (
                Errand("failed", "images/generations", How.NOT_LESS, body, fault),
                Errand("cancelled", "responses", How.NOT_LESS, background, "delay_ms=900", then="cancel"),
                Errand(
                    "cancelled at once",
                    "responses",
                    How.NOT_LESS,
                    self._tools() | {"background": True},
                    "delay_ms=900",
                    then="cancel",
                ),
            )
        )


def _old(model: str, size: str) -> dict[str, Any]:
    return {"model": model, "prompt": "a fox", "size": size}


async def run(http: httpx2.AsyncClient, errand: Errand, mark: str) -> Told:
    """Make the call, read of its answer what its client wants to have, and do what it does next."""
    told = Told(mark, errand)
    headers = {MARK: mark} | ({"x-sandbox": errand.steering} if errand.steering else {})
    if errand.hasty:
        headers["authorization"] = f"Bearer {HASTY}"
    request: dict[str, Any] = {"json": errand.body}
    if errand.form:
        fields = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in errand.body.items()
            if not (errand.path == "images/variations" and name == "prompt")
        }
        request = {"data": fields, "files": {"image": ("a.png", png((256, 256)), "image/png")}}
    received = b""
    with suppress(httpx2.TransportError):
        async with http.stream("POST", errand.path, headers=headers, **request) as reply:
            told.record_id = reply.headers["x-imagegate-id"]
            async for chunk in reply.aiter_raw():
                received += chunk
                enough = errand.then and b'"resp_' in received and errand.body.get("stream")
                if enough or len(received) >= (errand.leave_after or sys.maxsize):
                    break
    if errand.then:
        told.response_id = "resp_" + received.partition(b'"resp_')[2].partition(b'"')[0].decode()
        await _come_back(http, told)
    return told


async def _come_back(http: httpx2.AsyncClient, told: Told) -> None:
    address = f"responses/{told.response_id}"

    async def is_over() -> bool:
        status: str = (await http.get(address)).json()["status"]
        return status in {"completed", "failed", "incomplete"}

    match told.errand.then:
        case "cancel":
            assert (await http.post(f"{address}/cancel")).status_code == 200
        case "poll":
            await eventually(is_over, PATIENCE_S)
        case _:
            pass


async def run_all(http: httpx2.AsyncClient, errands: list[Errand]) -> list[Told]:
    """All of them, four at a time."""
    few = asyncio.Semaphore(4)

    async def one(number: int, errand: Errand) -> Told:
        async with few:
            return await run(http, errand, f"errand-{number}")

    return await asyncio.gather(*(one(number, errand) for number, errand in enumerate(errands)))


async def records_of(books: Books, told: list[Told]) -> dict[str, Record]:
    """The records by mark, once no call is open any more."""
    await eventually(books.is_quiet, PATIENCE_S)
    paid = [one for one in told if one.errand.how is not How.FREE]
    assert all(one.record_id is not None for one in paid), (
        "every client got a head: the upstream's, or our error"
    )
    found = await books.settled([str(one.record_id) for one in paid])
    return {one.mark: record for one, record in zip(paid, found, strict=True)}


COUNT = 400 if FULL else 40


@pytest.mark.timeout(900)
async def test_the_sum_of_the_ledger_is_the_sum_of_the_invoice_where_the_upstream_reported(
    shop: Shop, http: httpx2.AsyncClient, figure: Callable[[str, int], None]
) -> None:
    """No call is matched with its charge here: the sandbox's own sums, by model and kind, are those of the ledger."""
    await shop.books.reset()
    known = {record.id for record in await shop.books.records()}
    chance = Chance(random.Random(SEED))
    errands = [chance.errand(number, reported=True) for number in range(COUNT)]
    told = await run_all(http, errands)
    await records_of(shop.books, told)
    records = [record for record in await shop.books.records() if record.id not in known]
    assert {record.tokens_from for record in records} <= {
        TokensFrom.REPORTED,
        TokensFrom.COMPUTED,
        TokensFrom.NONE,
    }
    assert len(records) == sum(errand.how is not How.FREE for errand in errands)
    invoice = await shop.books.invoice()
    ours, theirs = ledger_sums(records), invoice_sums(invoice["lines"])
    assert ours == theirs, f"seed {SEED}"
    assert sum(record.cost_nusd for record in records) == invoice["nano_dollars"]
    assert sum(record.images for record in records) == invoice["images"]
    figure("calls whose ledger's sum is the invoice's, by model and kind", len(records))


@pytest.mark.timeout(900)
async def test_no_call_is_charged_less_than_it_is_billed_whatever_happens_to_it(
    shop: Shop, http: httpx2.AsyncClient, figure: Callable[[str, int], None]
) -> None:
    """Request by request: equal where the upstream reported, the same pictures where it did not, else never below."""
    await shop.books.reset()
    chance = Chance(random.Random(SEED + 1))
    told = await run_all(http, [chance.errand(number, reported=False) for number in range(COUNT)])
    records = await records_of(shop.books, told)
    charges = await shop.books.charges()
    nothing: dict[str, Any] = {"nano_dollars": 0, "lines": []}
    wrong = [
        (one.errand, fault, records.get(one.mark), charges.get(one.mark))
        for one in told
        if (fault := _fault(one, records.get(one.mark), charges.get(one.mark, nothing))) is not None
    ]
    assert wrong == [], f"seed {SEED}"
    cut = [records[one.mark] for one in told if one.errand.how is How.NOT_LESS]
    figure("calls never charged below their bill, whatever happened", len(records))
    figure("of them cut, left, lost or cancelled", len(cut))


def _fault(told: Told, record: Record | None, charge: dict[str, Any]) -> str | None:
    """What is wrong with the record of a call; None: nothing."""
    how = told.errand.how
    if how is How.FREE or record is None:
        return None if how is How.FREE and record is None and not charge["lines"] else "no record, or a bill"
    ours, theirs = ledger_sums([record]), invoice_sums(charge["lines"])
    if how is How.EQUAL:
        if ours != theirs or record.cost_nusd != charge["nano_dollars"]:
            return f"{ours} at {record.cost_nusd} is not {theirs} at {charge['nano_dollars']}"
        return None
    drawn, billed = (sum(one["output_image"] for one in sums.values()) for sums in (ours, theirs))
    if record.cost_nusd < charge["nano_dollars"] or drawn < billed:
        return f"{ours} at {record.cost_nusd} is less than {theirs} at {charge['nano_dollars']}"
    if how is How.SAME_PICTURES and drawn != billed:
        return f"{drawn} output image tokens, of {billed}"
    return None


async def test_a_stream_of_a_response_that_is_cut_is_settled_at_once(
    shop: Shop, http: httpx2.AsyncClient
) -> None:
    """It says `in_progress` like one in the background, but nobody can ask for it later."""
    body = {"model": "gpt-5", "input": "a fox", "tools": [TOOL], "stream": True}
    errand = Errand("", "responses", How.NOT_LESS, body, "delay_ms=1000", leave_after=1, hasty=True)
    told = await run(http, errand, "left at once")
    record = await shop.books.record(str(told.record_id))
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
        errand = Errand("", "responses", How.EQUAL, self.BODY, "delay_ms=300", hasty=hasty, then="forget")
        told = await run(http, errand, mark)
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
        told_of = [line for line in lines if str(told.record_id) in line and '"imagegate.request"' in line]
        assert len(told_of) == 1, "one line in the log too"

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_whose_client_never_comes_back_is_settled_all_the_same(
        self, shop: Shop, http: httpx2.AsyncClient, *, streamed: bool
    ) -> None:
        body = {**self.BODY, "stream": streamed}
        mark = f"never-{streamed}"
        errand = Errand("", "responses", How.EQUAL, body, "delay_ms=300", hasty=True, then="forget")
        told = await run(http, errand, mark)
        record = await shop.books.record(str(told.record_id))
        assert record.outcome is Outcome.COMPLETED
        assert record.tokens_from is TokensFrom.REPORTED
        assert record.cost_nusd == (await shop.books.charges())[mark]["nano_dollars"]

    @pytest.mark.parametrize("hidden", ["usage=omit", "tool_usage=omit", "usage=omit; tool_usage=omit"])
    async def test_which_does_not_report_costs_no_less_than_it_is_billed(
        self, shop: Shop, http: httpx2.AsyncClient, hidden: str
    ) -> None:
        """What the request said of its input must still be known when the answer comes, minutes later."""
        body = {**self.BODY, "stream": False, "input": PROMPTS[1] * 20}
        errand = Errand("", "responses", How.SAME_PICTURES, body, hidden, then="poll")
        told = await run(http, errand, hidden)
        record = await shop.books.record(str(told.record_id))
        assert _fault(told, record, (await shop.books.charges())[hidden]) is None

    async def test_that_is_cancelled_is_charged_as_reserved(
        self, shop: Shop, http: httpx2.AsyncClient
    ) -> None:
        errand = Errand("", "responses", How.NOT_LESS, self.BODY, "delay_ms=5000", then="cancel")
        told = await run(http, errand, "cancelled")
        record = await shop.books.record(str(told.record_id))
        assert record.outcome is Outcome.CANCELLED
        assert record.tokens_from is TokensFrom.ESTIMATED
        assert record.cost_nusd == record.reserved_nusd


async def test_the_report_says_what_the_records_say(shop: Shop, http: httpx2.AsyncClient) -> None:
    """`imagegate usage` and `GET /admin/usage`, against sums made by hand."""
    for number, steering in enumerate(("", "fail=500", "usage=omit", "fail=lost")):
        await run(
            http, Errand("", "images/generations", How.EQUAL, {"prompt": "x", **LOW}, steering), f"u{number}"
        )
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
