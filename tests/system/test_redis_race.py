"""
A hundred callers at once on a limit that fits exactly k, over three gateways on one Redis: exactly k pass.

As over the workers of one machine (test_limits_race.py), the upstream lets nobody in until every caller has been let through
or refused. A gateway gives its store a second; where so many processes share a few cores that this is not enough, callers
are told so, or what they were refused is not written down, and nothing can be said of that round but that no more passed
than fit: it is made again, with a key of its own.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from gateway.core.limits import Unit, parse_limit
from tests.conftest import FULL, SEED
from tests.support.books import Books, eventually
from tests.support.limits import (
    PATIENCE_S,
    Answer,
    Tenant,
    Upstream,
    client_of,
    configured,
    guarded_sandbox,
    state,
)
from tests.support.many import books_of, gateways
from tests.support.process import Running
from tests.support.race import cases, check_books, check_refusal, rush
from tests.support.redis import Server, redis_server

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("redis-race"), pytest.mark.timeout(600)]

AT_ONCE = 100
GATEWAYS = 3
MOST = 30
"""That fit: pictures take time to draw."""
ROUNDS = 10 if FULL else 1
TRIES = 5
chance = random.Random(SEED)
CASES = cases(chance)
FITS = {(unit, number): chance.randint(1, MOST) for unit in CASES for number in range(ROUNDS * TRIES)}
LIMITED = {
    (unit, number): Tenant(f"{unit.replace('_', '-')}-{number}", [CASES[unit].text(fits)])
    for (unit, number), fits in FITS.items()
}


@dataclass(frozen=True)
class House:
    """Three gateways on one Redis, before an upstream with a turnstile."""

    folder: Path
    gateways: list[Running]
    upstream: Upstream
    server: Server

    def stumbles(self) -> int:
        """How often a gateway has found that its store does not answer in time."""
        return sum(one.log.read_text().count("Until it is back") for one in self.gateways)

    async def is_judged(self, books: Books, answers: list[Answer], stumbles: int) -> bool:
        """Whether every call has its record, as the store has answered all the time; `stumbles`: of before the round."""
        ids = {answer.headers["x-imagegate-id"] for answer in answers}

        async def is_known() -> bool:
            return self.stumbles() > stumbles or ids <= {one.id for one in await books.records()}

        await eventually(is_known, PATIENCE_S)
        return self.stumbles() == stumbles


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("race")
    with (
        redis_server(folder) as server,
        guarded_sandbox() as upstream,
        gateways(
            folder, upstream.url, server.url, count=GATEWAYS, rest=configured(LIMITED.values())
        ) as several,
    ):
        yield House(folder, several, upstream, server)


@asynccontextmanager
async def crowd_of(house: House) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """A hundred clients with a connection each, a third of them to either gateway."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(client_of(house.gateways[number % GATEWAYS].url))
            for number in range(AT_ONCE)
        ]
        for client in clients:
            await client.get(str(client.base_url).replace("/v1/", "/livez"))
        yield clients


@pytest.mark.parametrize("unit", CASES)
async def test_exactly_as_many_pass_as_the_limit_fits(
    house: House, unit: str, figure: Callable[[str, int], None]
) -> None:
    case, judged = CASES[unit], 0
    async with (
        crowd_of(house) as crowd,
        books_of(house.folder, house.upstream.url, house.server.address) as books,
    ):
        for number in range(ROUNDS * TRIES):
            tenant, fits, name = LIMITED[unit, number], FITS[unit, number], f"{unit}-{number}"
            limit = parse_limit(tenant.limits[0])
            stumbles = house.stumbles()
            answers = await rush(house.upstream, crowd, [tenant] * AT_ONCE, name)
            told = Counter(answer.status for answer in answers)
            assert told[200] <= fits, f"{limit.text}, seed {SEED}"
            if not await house.is_judged(books, answers, stumbles):
                continue
            assert told == {200: fits, 429: AT_ONCE - fits}, f"{limit.text}, seed {SEED}"
            for answer in answers:
                if answer.status == 429:
                    check_refusal(answer, case, limit.text, tenant)
            await check_books(books, [tenant], name, answers)
            found = (await state(books, tenant.scope)).used
            assert (found[Unit.REQUESTS], found[Unit.IMAGES]) == (fits, fits), "the refused took nothing"
            judged += 1
            if judged == ROUNDS:
                break
    assert judged == ROUNDS, "a store that answers in time, at last"
    figure(
        "calls on a limit that fits k of a hundred at once, over three gateways on one Redis",
        ROUNDS * AT_ONCE,
    )
