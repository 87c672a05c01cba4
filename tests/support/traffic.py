"""
Rounds of calls with limits, in the middle of which somebody dies, and what has to hold of them whatever happened.

Each call names a model of its own (`gpt-image-1000`, `-1001`, …: models of a known family that the catalogue does not
know), so that its record is found even where no answer came that could tell an id.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import httpx2

from gateway.core.limits import parse_limit
from gateway.core.record import Outcome, Record
from tests.conftest import SEED
from tests.support.books import Books, mark_of
from tests.support.limits import NUSD, PICTURE, TOKENS, Answer, Tenant, ask, dollars, state

CALLS = 30
"""Of each round, all at once."""
MOST_S = 0.8
"""After the first call of a round, somebody is dead by then."""


@dataclass
class Traffic:
    """Calls of plain and streamed pictures, each with a model of its own by which its record is known."""

    chance: random.Random
    numbers: Iterator[int] = field(default_factory=lambda: count(1000))
    answers: list[Answer] = field(default_factory=list)
    """Of all calls that had any."""
    cut: list[tuple[str, httpx2.TransportError]] = field(default_factory=list)
    """Of the others: whom they asked, and what became of them."""

    async def make(self, http: httpx2.AsyncClient, tenant: Tenant) -> None:
        """One call to its end, or to that of its worker."""
        model = f"gpt-image-{next(self.numbers)}"
        streamed = {"stream": True, "partial_images": self.chance.randrange(3)}
        body = PICTURE | {"model": model} | self.chance.choice(({}, {}, streamed))
        steering = self.chance.choice(("", "delay_ms=100", "delay_ms=400", "delay_ms=1500", "fail=500"))
        try:
            self.answers.append(await ask(http, tenant, model, body=body, steering=steering))
        except httpx2.TransportError as error:
            self.cut.append((str(http.base_url), error))


def limited(number: int, chance: random.Random) -> Tenant:
    """A fresh key, each of whose limits fits a part of a round's calls."""
    fits = chance.randint(CALLS // 3, CALLS)
    limits = [
        f"{fits} images per day",
        f"{dollars(chance.randint(CALLS // 3, CALLS) * 2 * NUSD)} per month",
        f"{chance.randint(CALLS // 3, CALLS) * 2 * TOKENS} tokens total",
        f"{chance.randint(5, CALLS)} concurrent",
        f"{chance.randint(CALLS // 2, CALLS)} requests per hour",
    ]
    return Tenant(f"k{number}", limits, "all")


async def check_limits(books: Books, tenant: Tenant) -> None:
    """What was used in all, by what was answered and by what was lost, lies within every limit."""
    found = await state(books, tenant.scope)
    for text in tenant.limits:
        limit = parse_limit(text)
        assert found.used[limit.unit] <= limit.amount, f"{tenant.name}: {text}, seed {SEED}"


async def check_books(books: Books, traffic: Traffic) -> tuple[list[Record], set[str]]:
    """One record of each call that went up, which says no less than its bill."""
    records = await books.records()
    sent = {str(mark_of(one)) for one in await books.visitors()}
    paid = {str(one.model): one for one in records if one.outcome is not Outcome.REFUSED}
    assert Counter(one.model for one in records).most_common(1)[0][1] == 1, f"seed {SEED}"
    assert sent <= paid.keys(), f"seed {SEED}"
    below = [
        (paid[mark], charge)
        for mark, charge in (await books.charges()).items()
        if paid[mark].cost_nusd < charge["nano_dollars"]
    ]
    assert below == [], f"seed {SEED}"
    by_model = {str(one.model): one for one in records}
    for answer in traffic.answers:
        assert answer.status in {200, 429, 500, 503}, answer
        if answer.status == 503:
            assert answer.error["code"] == "store_unavailable"
            assert answer.mark not in sent, "what nobody could count did not go up"
        if answer.status == 429:
            # Its record is written behind the answer: who is killed in between leaves none, and nothing was spent.
            told = by_model.get(answer.mark)
            assert told is None or (told.outcome, told.cost_nusd) == (Outcome.REFUSED, 0)
            assert answer.mark not in sent, "what was refused did not go up"
    return records, sent
