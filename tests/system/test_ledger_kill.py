"""
`kill -9` of the gateway at random moments of mixed traffic: no call is forgotten, and none is counted twice.

Each round is a gateway process on the same folder. Each call names a model of its own (`gpt-image-1000`, `-1001`, …:
models of a known family that the catalogue does not know), so that its record is found even where no answer came that
could tell an id.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.core.ledger import OpenCall
from gateway.core.record import Outcome, Record, TokensFrom
from tests.conftest import FULL, SEED
from tests.support.books import MARK, Books, eventually, mark_of
from tests.support.process import KEY, Running, gateway_process, sandbox_process

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("ledger-kill"), pytest.mark.timeout(1800)]

CALLS = 10
"""Of each round, all at once."""
MOST_S = 0.7
"""After the first call of a round, its gateway is dead by then."""
PATIENCE_S = 60.0
LOOK: dict[str, Any] = {"size": "1024x1024", "quality": "low"}


@dataclass
class Traffic:
    """Mixed calls, each with a model of its own by which its record is known."""

    chance: random.Random
    numbers: Iterator[int] = field(default_factory=lambda: count(1000))

    def call(self) -> tuple[str, str, dict[str, Any], str]:
        """Model, path, body and steering of the next call."""
        model = f"gpt-image-{next(self.numbers)}"
        drawing = {"prompt": "a fox", "model": model, **LOOK}
        tool = {"type": "image_generation", "model": model, **LOOK}
        answer = {"model": "gpt-5", "input": "a fox", "tools": [tool]}
        partials = {"stream": True, "partial_images": self.chance.randrange(3)}
        path, body = self.chance.choice(
            (
                ("images/generations", drawing),
                ("images/generations", drawing | partials),
                ("responses", answer),
                ("responses", answer | {"stream": True}),
                ("responses", answer | {"background": True}),
                ("responses", answer | {"background": True, "stream": True}),
            )
        )
        faults = ("", "", "delay_ms=100", "delay_ms=400", "delay_ms=1500", "fail=500", "usage=omit")
        return model, path, body, self.chance.choice(faults)

    async def make(self, http: httpx2.AsyncClient) -> None:
        """One call to its end, or to that of the gateway."""
        model, path, body, steering = self.call()
        headers = {MARK: model} | ({"x-sandbox": steering} if steering else {})
        with suppress(httpx2.TransportError):
            await http.post(path, json=body, headers=headers)


@asynccontextmanager
async def client_of(gateway: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=f"{gateway.url}/v1",
        headers={"authorization": f"Bearer {KEY}"},
        trust_env=False,
        timeout=PATIENCE_S,
    ) as http:
        yield http


async def killed_in_traffic(gateway: Running, traffic: Traffic) -> None:
    """Ten calls at once, and the end of the process at some moment of theirs."""
    async with client_of(gateway) as http:
        calls = [asyncio.ensure_future(traffic.make(http)) for _ in range(CALLS)]
        await asyncio.wait(calls, timeout=traffic.chance.uniform(0, MOST_S))
        gateway.process.kill()
        await asyncio.gather(*calls)
    await asyncio.to_thread(gateway.process.wait)


async def test_a_streamed_background_response_costs_what_it_came_to_though_its_gateway_was_killed(
    tmp_path: Path,
) -> None:
    tool = {"type": "image_generation", "model": "gpt-image-1", **LOOK, "partial_images": 1}
    body = {"model": "gpt-5", "input": "a fox", "tools": [tool], "background": True, "stream": True}
    with sandbox_process(tmp_path) as sandbox:
        books = Books(tmp_path, sandbox.url)
        with gateway_process(f"{sandbox.url}/v1", tmp_path) as gateway:
            async with client_of(gateway) as http:
                marked = {MARK: "streamed", "x-sandbox": "delay_ms=1500"}
                with suppress(httpx2.TransportError):
                    async with http.stream("POST", "responses", json=body, headers=marked) as answer:
                        async for line in answer.aiter_lines():
                            if "response.created" in line:
                                # It is written down aside, while the stream goes on.
                                await eventually(lambda: _is_known(books), PATIENCE_S)
                                gateway.process.kill()
                                await asyncio.to_thread(gateway.process.wait)
        with gateway_process(f"{sandbox.url}/v1", tmp_path):
            await eventually(books.is_quiet, PATIENCE_S)
        charge = (await books.charges())["streamed"]
    (record,) = await books.records()
    assert (record.outcome, record.tokens_from) == (Outcome.COMPLETED, TokensFrom.REPORTED)
    assert record.cost_nusd == charge["nano_dollars"] < record.reserved_nusd


async def _is_known(books: Books) -> bool:
    return [call.record.response_id is not None for call in await books.open_calls()] == [True]


def model_of(record: Record) -> str | None:
    """The one by which the call is known."""
    return record.tool_model if record.route == "responses.create" else record.model


async def test_after_kill_9_every_call_that_went_up_has_exactly_one_record(
    tmp_path: Path, rounds: int, figure: Callable[[str, int], None]
) -> None:
    traffic, kills = Traffic(random.Random(SEED)), rounds if FULL else rounds // 2
    with sandbox_process(tmp_path) as sandbox:
        books = Books(tmp_path, sandbox.url)
        address = f"{sandbox.url}/v1"
        sent: dict[str, str] = {}
        left_behind: dict[str, bool] = {}
        for _ in range(kills):
            with gateway_process(address, tmp_path) as gateway:
                await killed_in_traffic(gateway, traffic)
            left = await books.open_calls()
            with gateway_process(address, tmp_path) as gateway:
                await _taken_over(books, left)
            left_behind |= {call.record.id: call.record.response_id is not None for call in left}
            sent |= {str(mark_of(one)): one["request_id"] for one in await books.visitors()}
        with gateway_process(address, tmp_path) as gateway:
            await eventually(books.is_quiet, PATIENCE_S)
            charges = await books.charges()
            # One moment more: somebody who settles a second time would do it in a round like this one.
            async with client_of(gateway) as http:
                assert (
                    await http.post("images/generations", json={"prompt": "x", **LOOK})
                ).status_code == 200
    records = await books.records()
    found = Counter(model_of(record) for record in records)
    assert {model: found[model] for model in sent} == dict.fromkeys(sent, 1), f"seed {SEED}"
    assert set(Counter(record.id for record in records).values()) == {1}
    responses = Counter(record.response_id for record in records if record.response_id is not None)
    assert all(times == 1 for times in responses.values())
    paid = {str(model_of(record)): record for record in records}
    below = [
        (paid[model], charge)
        for model, charge in charges.items()
        if paid[model].cost_nusd < charge["nano_dollars"]
    ]
    assert below == [], f"seed {SEED}"
    figure("kill -9 of the gateway in mixed traffic", kills)
    figure("calls that went up in it, each with one record", len(sent))
    figure("calls that a killed process left behind", len(left_behind))
    figure("of them background responses that a later process settled", sum(left_behind.values()))


async def _taken_over(books: Books, left: tuple[OpenCall, ...]) -> None:
    """The first round of a new process: nothing is left with the dead, what ran in the foreground is lost."""
    dead = {call.worker for call in left}

    async def is_over() -> bool:
        return not dead & {call.worker for call in await books.open_calls()}

    await eventually(is_over, PATIENCE_S)
    known = {record.id: record for record in await books.records()}
    still = {call.record.id: call for call in await books.open_calls()}
    for call in left:
        if call.record.response_id is None:
            assert known[call.record.id].outcome is Outcome.LOST
            assert known[call.record.id].cost_nusd == call.record.reserved_nusd
        else:
            assert (call.record.id in known) != (call.record.id in still), "settled, or looked after"
