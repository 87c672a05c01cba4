"""When the head of an answer goes, what it says of the cost, and what is held until then."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson
import pytest

from gateway.adapters.calendar import ZoneCalendar
from gateway.core.headers import Header
from gateway.core.units import usd_text
from gateway.flow.account import Accounts
from gateway.flow.exchange import Arrival
from gateway.flow.fetch import Fetch
from gateway.flow.relay import HELD_BYTES, relay
from gateway.flow.story import Story
from tests.support.clock import FakeClock
from tests.support.gateway import principal
from tests.support.replies import (
    CATALOG,
    LOW,
    RULES,
    call_of,
    images_body,
    images_stream,
    reserved,
    response,
    usage,
)
from tests.support.scripted import JSON, Reply

COST, TOKENS = b"x-imagegate-cost-usd", b"x-imagegate-output-image-tokens"
SSE: tuple[Header, ...] = ((b"content-type", b"text/event-stream"),)
LARGE = b"x" * (1 << 20)


@dataclass
class Listener:
    """A client that writes down what it gets."""

    heads: list[tuple[int, dict[bytes, bytes]]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    async def start(self, status: int, headers: list[Header]) -> None:
        assert len(dict(headers)) == len(headers)
        self.heads.append((status, dict(headers)))
        self.started.set()

    async def send(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    async def end(self) -> None:
        self.ended = True

    def told(self) -> tuple[bytes | None, bytes | None]:
        """Cost and tokens, as the head says."""
        ((_, headers),) = self.heads
        return headers.get(COST), headers.get(TOKENS)


@dataclass
class Line:
    """One call, and what is needed to answer it."""

    path: str = "images/generations"
    asked: dict[str, Any] = field(default_factory=lambda: dict(LOW))
    clock: FakeClock = field(default_factory=FakeClock)
    client: Listener = field(default_factory=Listener)

    def __post_init__(self) -> None:
        call = call_of(self.path, **self.asked)
        arrival = Arrival("igr_1", "POST", f"/v1/{self.path}", b"", (), self.clock.ticks())
        self.story = Story(
            arrival,
            match=call.match,
            principal=principal(),
            call=call,
            reserved=reserved(call),
            has_set_out=True,
        )

    async def answer(self, reply: Reply) -> None:
        async def send() -> Reply:
            return reply

        nothing: Any = None
        accounts = Accounts(nothing, nothing, nothing, self.clock, ZoneCalendar("UTC"), CATALOG, RULES)
        client: Any = self.client
        await relay(Fetch(send, self.clock), client, self.story, accounts)

    def check_told(self) -> None:
        """The client was told what the record says, to the last digit."""
        record = self.story.record(self.clock.now(), self.clock.ticks(), CATALOG, RULES)
        assert self.client.told() == (
            usd_text(record.cost_nusd).encode(),
            str(record.output_image_tokens).encode(),
        )


def begin(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
    """In a task of its own."""
    return asyncio.get_running_loop().create_task(work)


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


class TestCost:
    async def test_a_plain_answer_says_what_it_cost(self) -> None:
        line = Line()
        await line.answer(Reply(script=[images_body(usage(272, text=10))]))
        # 272 tokens at 40 dollars a million, 10 at 5.
        assert line.client.told() == (b"0.01093", b"272")
        line.check_told()

    @pytest.mark.parametrize(
        ("status", "body", "cost"),
        [
            pytest.param(400, b'{"error":{"message":"no","code":"bad"}}', b"0", id="refused"),
            pytest.param(200, images_body(), None, id="not reported"),
            pytest.param(504, b"late", None, id="a time-out on the way"),
        ],
    )
    async def test_so_does_one_that_went_otherwise(
        self, status: int, body: bytes, cost: bytes | None
    ) -> None:
        line = Line()
        await line.answer(Reply(status=status, script=[body]))
        line.check_told()
        told, _ = line.client.told()
        assert told == cost if cost is not None else Decimal((told or b"0").decode()) > 0

    async def test_of_a_response_it_is_both_models(self) -> None:
        tool = {"type": "image_generation", "model": "gpt-image-1"}
        line = Line("responses", {"model": "gpt-5", "input": "a fox", "tools": [tool]})
        body = response([], drawn=usage(272), main=(1000, 100))
        await line.answer(Reply(script=[orjson.dumps(body)]))
        line.check_told()
        assert line.client.told()[1] == b"272"

    @pytest.mark.parametrize("status", ["queued", "in_progress"])
    async def test_a_background_response_that_goes_on_has_none_yet(self, status: str) -> None:
        line = Line("responses", {"model": "gpt-5", "input": "a fox", "background": True})
        await line.answer(Reply(script=[orjson.dumps(response(status=status, main=None, tool=None))]))
        assert line.client.told() == (None, None)

    async def test_a_foreground_one_has_whatever_its_status_says(self) -> None:
        line = Line("responses", {"model": "gpt-5", "input": "a fox"})
        await line.answer(Reply(script=[orjson.dumps(response(status="in_progress", tool=None))]))
        line.check_told()

    async def test_an_answer_without_a_body_says_it_too(self) -> None:
        line = Line()
        await line.answer(Reply(status=204, headers=[(b"content-length", b"5")]))
        ((status, headers),) = line.client.heads
        assert (status, b"content-length" in headers, COST in headers) == (204, False, True)
        assert (line.client.chunks, line.client.ended) == ([], True)

    async def test_the_upstreams_length_stays(self) -> None:
        body = images_body(usage(272))
        line = Line()
        await line.answer(Reply(headers=[*JSON, (b"content-length", str(len(body)).encode())], script=[body]))
        assert line.client.heads[0][1][b"content-length"] == str(len(body)).encode()

    async def test_another_gateways_word_on_it_is_not_ours(self) -> None:
        line = Line()
        await line.answer(
            Reply(headers=[*JSON, (COST, b"99"), (TOKENS, b"99")], script=[images_body(usage(272))])
        )
        line.check_told()


class TestHolding:
    async def test_the_head_waits_for_the_body(self) -> None:
        hold, body = asyncio.Event(), images_body(usage(272))
        line = Line()
        serving = begin(line.answer(Reply(script=[body[:100], hold, body[100:]])))
        await settle()
        assert (line.client.heads, line.story.status, line.story.first_byte_at) == ([], None, None)
        line.clock.seconds += 2
        hold.set()
        await serving
        assert line.client.chunks == [body[:100], body[100:]]
        assert (line.story.status, line.story.first_byte_at) == (200, line.clock.seconds)
        assert line.story.bytes_out == len(body)
        timing = line.client.heads[0][1][b"server-timing"]
        assert timing == b"gateway;dur=0.0, upstream;dur=2000.0", "the wait is the upstream's"

    async def test_beyond_eight_mebibytes_it_goes_at_once_and_without_a_cost(self) -> None:
        hold, line = asyncio.Event(), Line()
        serving = begin(line.answer(Reply(script=[*[LARGE] * 8, hold, b"end"])))
        await line.client.started.wait()
        await settle()
        assert line.client.told() == (None, None)
        assert line.client.chunks == [LARGE] * 8
        hold.set()
        await serving
        assert line.client.chunks == [*[LARGE] * 8, b"end"]
        assert line.story.bytes_out == HELD_BYTES + 3

    async def test_one_byte_less_is_held(self) -> None:
        hold, line = asyncio.Event(), Line()
        serving = begin(line.answer(Reply(script=[*[LARGE] * 7, LARGE[1:], hold])))
        await settle()
        assert line.client.heads == []
        hold.set()
        await serving
        line.check_told()

    async def test_what_comes_after_them_passes_as_it_comes(self) -> None:
        gates = [asyncio.Event() for _ in range(3)]
        steps = [step for gate in gates for step in (gate, b"more")]
        line = Line()
        serving = begin(line.answer(Reply(script=[LARGE * 8, *steps, b"end"])))
        await line.client.started.wait()
        for number, gate in enumerate(gates):
            assert line.client.chunks == [LARGE * 8, *[b"more"] * number]
            gate.set()
            await settle()
        await serving
        assert line.client.chunks == [LARGE * 8, b"more", b"more", b"more", b"end"]

    async def test_every_chunk_is_looked_at_once_and_in_order_on_both_sides_of_them(self) -> None:
        """The report of such an answer stands at its end: the meter has to have seen all that came before."""
        body = images_body(usage(272), padding="x" * (9 << 20))
        pieces = [body[at : at + 65_536] for at in range(0, len(body), 65_536)]
        line = Line()
        await line.answer(Reply(script=pieces))
        assert line.client.told() == (None, None)
        assert line.client.chunks == pieces
        record = line.story.record(line.clock.now(), line.clock.ticks(), CATALOG, RULES)
        assert (record.output_image_tokens, record.images) == (272, 1)

    async def test_a_body_in_crumbs_is_held_in_larger_pieces(self) -> None:
        body = images_body(usage(272))
        line = Line()
        await line.answer(Reply(script=[body[at : at + 1] for at in range(len(body))]))
        assert b"".join(line.client.chunks) == body
        assert len(line.client.chunks) < len(body) / 100
        line.check_told()

    async def test_a_stream_is_never_held(self) -> None:
        gates = [asyncio.Event() for _ in range(2)]
        whole = images_stream(1, usage(372))
        events = [f"{part}\n\n".encode() for part in whole.decode().split("\n\n")[:-1]]
        line = Line(asked={**LOW, "stream": True, "partial_images": 1})
        reply = Reply(headers=SSE, script=[gates[0], events[0], gates[1], events[1]])
        serving = begin(line.answer(reply))
        await line.client.started.wait()
        assert line.client.told() == (None, None)
        for number, gate in enumerate(gates):
            assert line.client.chunks == events[:number]
            gate.set()
            await settle()
        await serving
        assert line.client.chunks == events

    @pytest.mark.parametrize("path", ["responses/input_tokens", "conversations"])
    async def test_nor_is_what_costs_nothing(self, path: str) -> None:
        never, line = asyncio.Event(), Line(path, {"model": "gpt-5"})
        serving = begin(line.answer(Reply(script=[b"{", never, b"}"])))
        await line.client.started.wait()
        await settle()
        assert (line.client.chunks, line.client.told()) == ([b"{"], (None, None))
        never.set()
        await serving
