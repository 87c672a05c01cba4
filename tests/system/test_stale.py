"""`cache.stale_if_error_s`: an answer past its life in place of the upstream's error, through a real process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from gateway.core.record import CacheUse, Outcome
from tests.support.books import Books
from tests.support.process import KEY, gateway_process
from tests.support.raw import RawUpstream, Wire, raw_upstream
from tests.support.replies import images_body, usage

pytestmark = pytest.mark.system
ASK = {"model": "gpt-image-1", "prompt": "a fox", "size": "1024x1024", "quality": "low"}
FRESH_S = 1.0
BODY = images_body(usage(272))

Does = Callable[[Wire], Awaitable[None]]


def says(status: int, body: bytes = BODY) -> Does:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    async def act(wire: Wire) -> None:
        await wire.write(head.encode(), body)

    return act


async def resets(wire: Wire) -> None:
    wire.reset()


async def breaks_off(wire: Wire) -> None:
    await wire.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n{")
    wire.reset()


ERROR = b'{"error": {"message": "over", "type": "server_error", "param": null, "code": null}}'


@dataclass
class Stage:
    """A gateway whose kept answers are fresh for a second, and an upstream that does as it is told."""

    url: str
    books: Books
    upstream: RawUpstream
    does: Does = field(default=says(200))
    visits: int = 0

    async def ask(self, **headers: str) -> httpx2.Response:
        async with httpx2.AsyncClient(timeout=30, trust_env=False) as http:
            sent = {"Authorization": f"Bearer {KEY}", **{k.replace("_", "-"): v for k, v in headers.items()}}
            return await http.post(f"{self.url}/v1/images/generations", json=ASK, headers=sent)

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._serve(await self.upstream.arrivals.get()))

    async def _serve(self, wire: Wire) -> None:
        while True:
            try:
                await wire.read_request()
                self.visits += 1
                await self.does(wire)
            except (EOFError, ConnectionError, TimeoutError):
                return


@asynccontextmanager
async def stage_in(folder: Path, stale_s: int) -> AsyncIterator[Stage]:
    rest = f'\n[store]\nurl = "sqlite:///{folder}/data"\n'
    cache = f"ttl_s = {FRESH_S:.0f}\nalias_ttl_s = {FRESH_S:.0f}\nstale_if_error_s = {stale_s}\n"
    async with raw_upstream() as upstream:
        with gateway_process(upstream.base_url, folder, rest=rest, cached=True, cache=cache) as gateway:
            stage = Stage(gateway.url, Books(folder, ""), upstream)
            serving = asyncio.create_task(stage.serve())
            yield stage
            serving.cancel()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage_in(tmp_path, 600) as made:
        first = await made.ask()
        assert first.headers["cache-status"] == "imagegate; fwd=miss; stored"
        await asyncio.sleep(FRESH_S)  # Until it is fresh no more.
        yield made


@pytest.mark.parametrize(
    ("does", "forward"),
    [
        (says(500, ERROR), "fwd=stale; fwd-status=500; ttl=-"),
        (says(503, b"no JSON"), "fwd=stale; fwd-status=503; ttl=-"),
        (says(504, ERROR), "fwd=stale; fwd-status=504; ttl=-"),
        (resets, "fwd=stale; ttl=-"),
    ],
    ids=["500", "503", "504", "no answer"],
)
async def test_an_old_answer_stands_in_for_an_error(stage: Stage, does: Does, forward: str) -> None:
    stage.does = does
    answers = await asyncio.gather(*(stage.ask() for _ in range(3)))
    for answer in answers:
        assert (answer.status_code, answer.content) == (200, BODY)
        assert answer.headers["cache-status"].startswith(f"imagegate; {forward}")
        assert answer.headers["cache-status"].endswith("; detail=stale-if-error")
        assert int(answer.headers["age"]) >= FRESH_S
        assert answer.headers["x-imagegate-cost-usd"] == "0"
    records = await stage.books.settled(answer.headers["x-imagegate-id"] for answer in answers)
    assert {one.outcome for one in records} == {Outcome.COMPLETED}
    assert {(one.cache, one.images) for one in records} == {(CacheUse.HIT, 1)}
    assert all(one.saved_nusd for one in records)
    assert await stage.books.ledger.verify() == ()


async def test_what_the_failed_attempt_may_have_cost_is_counted(stage: Stage) -> None:
    """A generation may have been carried out behind a 504: who led pays for it, though it was given the old answer."""
    stage.does = says(504, ERROR)
    answer = await stage.ask()
    [record] = await stage.books.settled([answer.headers["x-imagegate-id"]])
    assert record.cost_nusd > 0
    assert record.saved_nusd > 0
    assert sum(line.cost_nusd for line in record.lines) == record.cost_nusd
    stage.does = says(500, ERROR)
    answer = await stage.ask()
    [record] = await stage.books.settled([answer.headers["x-imagegate-id"]])
    assert record.cost_nusd == 0


async def test_an_error_of_the_clients_own_is_the_clients(stage: Stage) -> None:
    stage.does = says(400, ERROR)
    answer = await stage.ask()
    assert (answer.status_code, answer.content) == (400, ERROR)


async def test_an_answer_that_has_begun_is_not_replaced(stage: Stage) -> None:
    """A plain answer's head is held, and what broke off is an error as it is without a cache."""
    stage.does = breaks_off
    answer = await stage.ask()
    assert answer.status_code == 502


@pytest.mark.parametrize("directive", ["no-cache", "no-store", "max-age=0"])
async def test_who_wants_none_is_given_none(stage: Stage, directive: str) -> None:
    stage.does = says(500, ERROR)
    assert (await stage.ask(cache_control=directive)).status_code == 500


async def test_a_good_answer_takes_its_place(stage: Stage) -> None:
    stage.does = says(500, ERROR)
    assert (await stage.ask()).status_code == 200
    body = images_body(usage(272), created=2)
    stage.does = says(200, body)
    answer = await stage.ask()
    assert (answer.content, answer.headers["cache-status"]) == (body, "imagegate; fwd=stale; stored")
    assert (await stage.ask()).content == body


async def test_without_the_operators_word_an_error_is_an_error(tmp_path: Path) -> None:
    async with stage_in(tmp_path, 0) as stage:
        await stage.ask()
        await asyncio.sleep(FRESH_S)
        stage.does = says(500, ERROR)
        answer = await stage.ask()
        assert (answer.status_code, answer.content) == (500, ERROR)
