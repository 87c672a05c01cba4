"""
Many callers at once on a limit that fits exactly k, while the upstream lets nobody in.

What such limits say, and what both books have to say when it is over.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx2

from gateway.core.limits import Unit
from gateway.core.record import Outcome
from tests.support.books import Books, eventually
from tests.support.limits import (
    IMAGE_TOKENS,
    NUSD,
    TOKENS,
    Answer,
    Tenant,
    Upstream,
    all_given_back,
    ask,
    dollars,
)

BUDGET, RATE = "insufficient_quota", "rate_limit_exceeded"


@dataclass(frozen=True)
class Case:
    """One kind of limit, and what its refusals say."""

    unit: Unit
    text: Callable[[int], str]
    """The limit that fits so many calls, and a part of one more."""
    code: str
    waits: bool = True
    """Whether it tells when to come back."""


def cases(chance: random.Random) -> dict[str, Case]:
    """A limit of each unit, by its name."""
    return {
        case.unit.value: case
        for case in (
            Case(Unit.TOKENS, lambda k: f"{k * TOKENS + chance.randrange(TOKENS)} tokens per hour", RATE),
            Case(
                Unit.IMAGE_TOKENS,
                lambda k: f"{k * IMAGE_TOKENS + chance.randrange(IMAGE_TOKENS)} image_tokens per week",
                BUDGET,
            ),
            Case(Unit.IMAGES, lambda k: f"{k} images total", BUDGET, waits=False),
            Case(Unit.USD, lambda k: f"{dollars(k * NUSD + chance.randrange(NUSD))} per month", BUDGET),
            Case(Unit.REQUESTS, lambda k: f"{k} requests per minute", RATE),
            Case(Unit.CONCURRENT, lambda k: f"{k} concurrent", RATE),
        )
    }


async def rush(
    upstream: Upstream, crowd: Sequence[httpx2.AsyncClient], callers: Sequence[Tenant], name: str
) -> list[Answer]:
    """
    One call of each at once, and the answers; the upstream opens when all of them are decided.

    Args:
        upstream: of all of them.
        crowd: a client for each.
        callers: whose calls.
        name: their marks begin with it.
    """
    turnstile = upstream.turnstile
    before, answered = len(turnstile.came), Counter[str]()

    async def one(tenant: Tenant, number: int) -> Answer:
        got = await ask(crowd[number], tenant, f"{name}-{number}")
        answered[tenant.name] += 1
        return got

    async def are_decided() -> bool:
        return len(turnstile.came) - before + answered.total() == len(callers)

    turnstile.shut()
    calls = [asyncio.ensure_future(one(tenant, number)) for number, tenant in enumerate(callers)]
    try:
        await eventually(
            are_decided, told=lambda: f"{len(turnstile.came) - before} came, answered {answered}"
        )
    finally:
        turnstile.open()
    return await asyncio.gather(*calls)


async def check_books(books: Books, tenants: Sequence[Tenant], name: str, answers: Sequence[Answer]) -> None:
    """The ledger says what the upstream bills, call by call, and nothing is held any more."""
    ids = {answer.mark: answer.headers["x-imagegate-id"] for answer in answers}
    records = {one.id: one for one in await books.settled(ids.values())}
    charges = {
        mark: charge for mark, charge in (await books.charges()).items() if mark.startswith(f"{name}-")
    }
    passed = {answer.mark for answer in answers if answer.status == 200}
    assert charges.keys() == passed, "the upstream saw those that were answered and no others"
    for mark, record_id in ids.items():
        found = records[record_id]
        if mark in passed:
            assert (found.outcome, found.cost_nusd) == (Outcome.COMPLETED, charges[mark]["nano_dollars"])
        else:
            assert (found.outcome, found.cost_nusd) == (Outcome.REFUSED, 0)
    scopes = {one.scope for one in tenants} | {f"team:{one.team or one.name}" for one in tenants} | {"org"}
    await all_given_back(books, scopes)


def check_refusal(answer: Answer, case: Case, limit: str, tenant: Tenant) -> None:
    """Who is refused is told by what, and when to come back."""
    assert (answer.error["type"], answer.error["code"]) == (
        "insufficient_quota" if case.code == BUDGET else "rate_limit_error",
        case.code,
    )
    assert f"key '{tenant.name}'" in answer.error["message"]
    assert limit in answer.error["message"]
    wait_ms = answer.headers.get("retry-after-ms")
    assert (wait_ms is not None, "retry-after" in answer.headers) == (case.waits, case.waits)
    if wait_ms is not None:
        assert int(answer.headers["retry-after"]) == -(-int(wait_ms) // 1000) > 0
    helps = case.code == RATE and wait_ms is not None and int(wait_ms) <= 60_000
    assert answer.headers["x-should-retry"] == ("true" if helps else "false")
