"""
A hundred callers at once on a limit that fits exactly k: exactly k pass, over two worker processes.

The upstream lets nobody in until every caller has been let through or refused, so that nothing is settled meanwhile and
the number does not depend on who is faster.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx2
import pytest

from gateway.core.limits import Unit, parse_limit
from tests.conftest import FULL, SEED
from tests.support.books import Books, eventually
from tests.support.limits import (
    IMAGE_TOKENS,
    NUSD,
    TOKENS,
    Answer,
    Tenant,
    Upstream,
    client_of,
    configured,
    dollars,
    guarded_sandbox,
    state,
)
from tests.support.process import Running, gateway_process
from tests.support.race import cases, check_books, check_refusal, rush
from tests.support.workers import sockets_of, workers_of

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("limits-race"), pytest.mark.timeout(600)]

AT_ONCE = 100
MOST = 30
"""That fit: pictures take time to draw."""
ROUNDS = 10 if FULL else 1
chance = random.Random(SEED)


CASES = cases(chance)
FITS = {(unit, number): chance.randint(1, MOST) for unit in CASES for number in range(ROUNDS)}
LIMITED = {
    (unit, number): Tenant(f"{unit.replace('_', '-')}-{number}", [CASES[unit].text(fits)])
    for (unit, number), fits in FITS.items()
}
# Whatever is let through fills one of these: what is refused must name one that is full.
MIXED = {
    "red-1": Tenant("red-1", ["5 images per day", "20 requests per minute"], "red"),
    "red-2": Tenant("red-2", [f"{dollars(6 * NUSD)} per month"], "red"),
    "blue-1": Tenant("blue-1", ["4 concurrent", "100 images total"], "blue"),
    "blue-2": Tenant("blue-2", [f"{8 * TOKENS} tokens per hour"], "blue"),
}
TEAMS = {"red": ["9 images per week"], "blue": [f"{9 * IMAGE_TOKENS} image_tokens per day"]}


@dataclass(frozen=True)
class Shop:
    """Two workers before an upstream with a turnstile."""

    gateway: Running
    upstream: Upstream
    books: Books

    @asynccontextmanager
    async def crowd(self) -> AsyncIterator[list[httpx2.AsyncClient]]:
        """A hundred clients with a connection each, some to either worker."""
        shares = [0]
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(client_of(self.gateway.url)) for _ in range(AT_ONCE)]

            async def are_shared() -> bool:
                shares[:] = await self._shares(clients)
                return len(shares) == 2 and min(shares) > 0

            # Without a share of the calls for either, nothing is proved of two; at first one may not be up yet.
            await eventually(are_shared, told=lambda: shares)
            yield clients

    async def _shares(self, clients: Sequence[httpx2.AsyncClient]) -> list[int]:
        """Connect each anew; how many each worker got."""
        for client in clients:
            await client.get(f"{self.gateway.url}/livez", headers={"connection": "close"})
        workers = workers_of(self.gateway)
        before = [sockets_of(pid) for pid in workers]
        for client in clients:  # One after the other: of many at once one worker may take all.
            await client.get(f"{self.gateway.url}/livez")
        return [sockets_of(pid) - had for pid, had in zip(workers, before, strict=True)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("race")
    tenants = configured([*LIMITED.values(), *MIXED.values()], teams=TEAMS, workers=2)
    with (
        guarded_sandbox() as upstream,
        gateway_process(f"{upstream.url}/v1", folder, rest=tenants) as gateway,
    ):
        yield Shop(gateway, upstream, Books(folder, upstream.url))


@pytest.mark.parametrize("unit", CASES)
async def test_exactly_as_many_pass_as_the_limit_fits(
    shop: Shop, unit: str, figure: Callable[[str, int], None]
) -> None:
    case = CASES[unit]
    async with shop.crowd() as crowd:
        for number in range(ROUNDS):
            tenant, fits, name = LIMITED[unit, number], FITS[unit, number], f"{unit}-{number}"
            limit = parse_limit(tenant.limits[0])
            answers = await rush(shop.upstream, crowd, [tenant] * AT_ONCE, name)
            told = Counter(answer.status for answer in answers)
            assert told == {200: fits, 429: AT_ONCE - fits}, f"{limit.text}, seed {SEED}"
            for answer in answers:
                if answer.status == 429:
                    check_refusal(answer, case, limit.text, tenant)
            await check_books(shop.books, [tenant], name, answers)
            found = (await state(shop.books, tenant.scope)).used
            assert (found[Unit.REQUESTS], found[Unit.IMAGES]) == (fits, fits), "the refused took nothing"
    figure("calls on a limit that fits k of a hundred at once, over two workers", ROUNDS * AT_ONCE)


async def test_limits_of_keys_teams_and_the_organisation_all_hold_and_the_one_that_stops_is_named(
    shop: Shop, figure: Callable[[str, int], None]
) -> None:
    callers = [*MIXED.values()] * (AT_ONCE // len(MIXED))
    chance.shuffle(callers)
    async with shop.crowd() as crowd:
        answers = await rush(shop.upstream, crowd, callers, "mixed")
    passed = Counter(
        tenant.name for tenant, answer in zip(callers, answers, strict=True) if answer.status == 200
    )
    full = {
        "key 'red-1': 5 images per day": passed["red-1"] == 5,
        f"key 'red-2': {dollars_said(6 * NUSD)} per month": passed["red-2"] == 6,
        "team 'red': 9 images per week": passed["red-1"] + passed["red-2"] == 9,
        "key 'blue-1': 4 concurrent": passed["blue-1"] == 4,
        f"key 'blue-2': {8 * TOKENS} tokens per hour": passed["blue-2"] == 8,
        f"team 'blue': {9 * IMAGE_TOKENS} image_tokens per day": passed["blue-1"] + passed["blue-2"] == 9,
    }
    assert passed["red-1"] <= 5
    assert passed["red-2"] <= 6
    assert passed["blue-1"] <= 4
    assert passed["blue-2"] <= 8
    # Each of them was asked for 25 times: as long as neither a key nor its team is full, somebody passes.
    assert passed["red-1"] + passed["red-2"] == 9
    assert passed["blue-1"] + passed["blue-2"] == 9
    for tenant, answer in zip(callers, answers, strict=True):
        if answer.status == 200:
            continue
        named = next((name for name in full if scope_and_limit(name, answer)), None)
        assert named is not None, answer.error
        assert full[named], f"{answer.error['message']}, with {passed}, seed {SEED}"
        assert named.startswith((f"key '{tenant.name}'", f"team '{tenant.team}'"))
    await check_books(shop.books, [*MIXED.values()], "mixed", answers)
    figure("calls at once on limits of keys and teams, mixed", len(answers))


def scope_and_limit(name: str, answer: Answer) -> bool:
    scope, _, limit = name.partition(": ")
    return scope in answer.error["message"] and limit in answer.error["message"]


def dollars_said(nusd: int) -> str:
    return parse_limit(f"{dollars(nusd)} total").text.removesuffix(" total")
