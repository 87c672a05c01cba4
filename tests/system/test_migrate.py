"""A house that outgrows its machine: its gateway ends, its ledger is moved to a Redis, and budgets go on where they were."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from gateway.core.limits import Unit
from gateway.core.record import Outcome
from tests.support.books import Books, eventually
from tests.support.limits import PICTURE, Answer, Tenant, ask, client_of, configured, state
from tests.support.many import books_of, gateways, one_gateway
from tests.support.process import Running, sandbox_process
from tests.support.redis import redis_server

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("migrate"), pytest.mark.timeout(240)]

FITS = 9
USED = 5
PATIENCE_S = 60.0
ONE = Tenant("one", [f"{FITS} images per month", "100 requests per hour"])


async def replayed(gateway: Running) -> httpx2.Response:
    async with client_of(gateway.url) as http:
        headers = {"authorization": f"Bearer {ONE.secret}", "idempotency-key": "once"}
        return await http.post("images/generations", json=PICTURE, headers=headers)


async def asked(several: list[Running], times: int) -> list[Answer]:
    async def one(number: int) -> Answer:
        async with client_of(several[number % len(several)].url) as http:
            return await ask(http, ONE, str(number))

    return await asyncio.gather(*(one(number) for number in range(times)))


async def test_budgets_and_promises_go_on_where_they_were(tmp_path: Path) -> None:
    here, rest = f"sqlite:///{tmp_path}/old", configured([ONE])
    with sandbox_process(tmp_path) as sandbox, redis_server(tmp_path) as server:
        with one_gateway(tmp_path, sandbox.url, here, rest=rest) as old:
            first = await replayed(old)
            assert {answer.status for answer in await asked([old], USED - 1)} == {200}
            async with client_of(old.url) as http:
                left = asyncio.ensure_future(ask(http, ONE, steering="delay_ms=20000"))
                books = Books(tmp_path, sandbox.url)

                async def has_gone_up() -> bool:
                    return len(await books.visitors()) == USED + 1

                await eventually(has_gone_up, PATIENCE_S)
                old.process.kill()  # one call is under way
                with pytest.raises(httpx2.TransportError):
                    await left
        command = [sys.executable, "-m", "gateway", "migrate", "--from", here, "--to", server.url]
        said = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
        assert f"{USED} records, 1 open call" in said.stdout
        assert "1 key, 1 answer." in said.stdout

        with gateways(tmp_path, sandbox.url, server.url, rest=rest) as several:
            async with books_of(tmp_path, sandbox.url, server.address) as books:
                await eventually(books.is_quiet, PATIENCE_S)
                [lost] = [one for one in await books.records() if one.outcome is Outcome.LOST]
                assert lost.cost_nusd == lost.reserved_nusd > 0
                answers = await asked(several, 20)
                told = [answer.status for answer in answers]
                assert told.count(200) == FITS - USED - 1, "the call that was lost counts as well"
                assert told.count(429) == 20 - told.count(200)
                again = await replayed(several[0])
                assert (again.status_code, again.content) == (200, first.content)
                await eventually(books.is_quiet, PATIENCE_S)
                assert (await state(books, ONE.scope)).used[Unit.IMAGES] == FITS
                assert await books.ledger.verify() == ()
                bill = await books.invoice()
                records = await books.records()
                assert sum(one.cost_nusd for one in records) >= bill["nano_dollars"]
                assert len({one.id for one in records}) == len(records)
