"""
The store goes away while calls run: another process locks the ledger of a real gateway.

Nothing that runs is disturbed, nothing new is spent that cannot be counted, and when the lock is gone the ledger and the
sandbox's invoice agree to the last token: also where the gateway is killed meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.core.record import Outcome, Record
from tests.support.books import Books, eventually, invoice_sums, ledger_sums
from tests.support.locker import locked
from tests.support.process import KEY, Running, gateway_process, sandbox_process

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("store-down"), pytest.mark.timeout(180)]

PATIENCE_S = 60.0
SOON_S = 5.0
"""No measure of speed: the answer to a refused call does not wait for the lock."""
LOOK: dict[str, Any] = {"size": "1024x1024", "quality": "low"}
DRAWING = ("images/generations", {"model": "gpt-image-2", "prompt": "a fox", **LOOK})
STREAM = (
    "images/generations",
    {"model": "gpt-image-1", "prompt": "a fox", "stream": True, "partial_images": 2, **LOOK},
)
ANSWER = (
    "responses",
    {
        "model": "gpt-5",
        "input": "a fox",
        "tools": [{"type": "image_generation", "model": "gpt-image-1", **LOOK}],
    },
)
SLOW = ("delay_ms=1500", "delay_ms=2000", "delay_ms=2500")
OPEN = '[store]\non_failure = "open"\n'


@dataclass(frozen=True)
class Scene:
    """A sandbox, and where a gateway before it keeps its books."""

    folder: Path
    sandbox: Running
    books: Books

    def gateway(self, rest: str = "") -> Any:
        return gateway_process(f"{self.sandbox.url}/v1", self.folder, rest=rest)

    @property
    def ledger(self) -> Path:
        return self.folder / "data" / "ledger.db"

    async def have_gone_up(self, count: int) -> None:
        async def are_there() -> bool:
            return len(await self.books.visitors()) >= count

        await eventually(are_there, PATIENCE_S)

    def kept(self) -> int:
        """Settlements that wait in outboxes; those that have landed may still lie there."""
        files = (self.folder / "data" / "outbox").glob("*.wal")
        return sum(file.read_bytes().count(b'{"due":') for file in files)

    async def agree(self, ids: list[str]) -> list[Record]:
        """The records of these calls, once all have landed and both books say the same."""
        await eventually(self.books.is_quiet, PATIENCE_S)
        found = await self.books.settled(ids, PATIENCE_S)
        records = await self.books.records()
        assert await self.books.ledger.verify() == ()
        assert len({one.id for one in records}) == len(records)
        bill = await self.books.invoice()
        assert ledger_sums(records) == invoice_sums(bill["lines"])
        assert sum(one.cost_nusd for one in records) == bill["nano_dollars"]
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Any:
    with sandbox_process(tmp_path) as sandbox:
        yield Scene(tmp_path, sandbox, Books(tmp_path, sandbox.url))


@asynccontextmanager
async def client_of(gateway: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=f"{gateway.url}/v1",
        headers={"authorization": f"Bearer {KEY}"},
        trust_env=False,
        timeout=PATIENCE_S,
    ) as http:
        yield http


def begun(http: httpx2.AsyncClient) -> "list[asyncio.Task[httpx2.Response]]":
    """Calls that take a while."""
    return [
        asyncio.ensure_future(http.post(path, json=body, headers={"x-sandbox": steering}))
        for (path, body), steering in zip((DRAWING, STREAM, ANSWER), SLOW, strict=True)
    ]


async def ids_of(calls: Awaitable[list[httpx2.Response]]) -> list[str]:
    answers = await calls
    assert [one.status_code for one in answers] == [200] * len(answers)
    return [one.headers["x-imagegate-id"] for one in answers]


async def is_refused(http: httpx2.AsyncClient) -> None:
    path, body = DRAWING
    async with asyncio.timeout(SOON_S):
        answer = await http.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-should-retry"] == "true"


def said(gateway: Running, words: str) -> Callable[[], Awaitable[bool]]:
    async def is_said() -> bool:
        return words in await asyncio.to_thread(gateway.log.read_text)

    return is_said


async def test_calls_under_way_end_well_new_ones_are_told_to_wait_and_everything_lands(scene: Scene) -> None:
    with scene.gateway() as gateway:
        async with client_of(gateway) as http:
            calls = begun(http)
            await scene.have_gone_up(3)
            with locked(scene.ledger):
                for _ in range(8):
                    await is_refused(http)
                await asyncio.gather(*(is_refused(http) for _ in range(20)))
                ids = await ids_of(asyncio.gather(*calls))
                await eventually(said(gateway, "are refused"), PATIENCE_S)
                assert len(await scene.books.visitors()) == 3, "nothing else went up"

            async def passes() -> bool:
                path, body = DRAWING
                answer = await http.post(path, json=body)
                ids.extend([answer.headers["x-imagegate-id"]] if answer.status_code == 200 else [])
                return answer.status_code == 200

            await eventually(passes, PATIENCE_S)
        records = await scene.agree(ids)
        assert {one.outcome for one in records} == {Outcome.COMPLETED}
        log = gateway.log.read_text()
        assert log.count("Until it is back") == log.count("the store answers again") == 1


async def test_what_a_killed_gateway_had_kept_lands_with_the_next_one(scene: Scene) -> None:
    with scene.gateway() as gateway:
        async with client_of(gateway) as http:
            calls = begun(http)
            await scene.have_gone_up(3)
            with locked(scene.ledger):
                ids = await ids_of(asyncio.gather(*calls))

                async def are_kept() -> bool:
                    return scene.kept() >= 3

                await eventually(are_kept, PATIENCE_S)
                gateway.process.kill()
                await asyncio.to_thread(gateway.process.wait)
                with scene.gateway() as impatient:
                    async with client_of(impatient) as again:
                        await is_refused(again)
                    impatient.process.kill()
                    await asyncio.to_thread(impatient.process.wait)
    with scene.gateway():
        records = await scene.agree(ids)
    assert {one.outcome for one in records} == {Outcome.COMPLETED}
    assert scene.kept() == 0


async def test_where_the_operator_wants_it_calls_pass_and_the_ledger_catches_up(scene: Scene) -> None:
    with scene.gateway(OPEN) as gateway:
        async with client_of(gateway) as http:
            with locked(scene.ledger):
                path, body = DRAWING
                answers = [await http.post(path, json=body) for _ in range(3)]
                answers += await asyncio.gather(*begun(http))
                assert {one.status_code for one in answers} == {200}
                await eventually(said(gateway, "pass uncounted"), PATIENCE_S)
        records = await scene.agree([one.headers["x-imagegate-id"] for one in answers])
        assert {(one.outcome, one.code) for one in records} == {(Outcome.COMPLETED, "store_unavailable")}


async def test_a_call_that_passed_and_whose_gateway_was_killed_is_charged_as_lost(scene: Scene) -> None:
    with scene.gateway(OPEN) as gateway:
        async with client_of(gateway) as http:
            with locked(scene.ledger):
                path, body = DRAWING
                headers = {"x-sandbox": "delay_ms=20000"}
                calls = [asyncio.ensure_future(http.post(path, json=body, headers=headers)) for _ in range(2)]
                await scene.have_gone_up(2)
                gateway.process.kill()
                await asyncio.to_thread(gateway.process.wait)
                ended = await asyncio.gather(*calls, return_exceptions=True)
                assert all(isinstance(one, httpx2.TransportError) for one in ended)
    with scene.gateway(OPEN):

        async def are_lost() -> bool:
            return len(await scene.books.records()) == 2

        await eventually(are_lost, PATIENCE_S)
    for record in await scene.books.records():
        assert (record.outcome, record.code) == (Outcome.LOST, "store_unavailable")
        assert record.cost_nusd == record.reserved_nusd > 0
    assert await scene.books.is_quiet()
