"""A ledger that somebody broke by hand, and one that is written to while it is looked at."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from gateway.adapters.redis import verify
from gateway.adapters.redis.acts import act, key
from gateway.adapters.redis.ledger import RedisLedger, RedisReader
from gateway.adapters.redis.rows import SEP
from gateway.core.ledger import OpenCall, Verdict
from gateway.core.limits import Unit, parse_limit
from gateway.core.quota import FIRST_DOOR, Amounts, Claim, Claimant, Standing
from gateway.core.record import Outcome, Record
from gateway.core.units import NanoUSD
from gateway.core.verify import Counter, What
from tests.support.clock import FakeClock
from tests.support.ledger import NOON, noted, record
from tests.support.redis import TAGS, shared_ledger, shared_server
from tests.support.redis_ledger import UTC

DAY_S = 86_400
TODAY_US = round(NOON // DAY_S * DAY_S) * 1_000_000
LIMITS = tuple(parse_limit(one) for one in ("5 images per minute", "$100 per hour", "9 concurrent"))
ASKED = FIRST_DOOR + Amounts(images=2, image_tokens=660, tokens=725, cost_nusd=NanoUSD(20_000_000))


def claim(one: Record, at: float, asked: Amounts = ASKED) -> Claim:
    scopes = (f"key:{one.key}", f"team:{one.team}", "org")
    claimants = tuple(Claimant(scope, LIMITS) for scope in scopes)
    return Claim(id=one.id, claimants=claimants, asked=asked, frames=UTC.frames(at))


@dataclass
class Case:
    """A ledger in which every kind of thing lies, and a way to break it."""

    tag: str
    clock: FakeClock
    ledger: RedisLedger

    async def begin(self, one: Record) -> None:
        call = OpenCall(record=noted(id=one.id, at=one.at, team=one.team, key=one.key), dispatched=True)
        found = await self.ledger.reserve(call, claim(one, self.clock.now()), force=True)
        assert isinstance(found, Standing)

    async def fill(self) -> None:
        """One settled, one open, one in the background, one lost, one that only came in."""
        for number in range(4):
            await self.begin(record(number))
        await self.ledger.settle(record(0, response_id="resp_0"), images=1)
        await self.ledger.entrust(record(2).id, "resp_2", NOON + 3600, None)
        await self.ledger.settle(record(3, outcome=Outcome.LOST), images=2)
        await self.ledger.admit(claim(record(9), NOON, FIRST_DOOR))

    def add(self, scope: str, grain: str, place: int, amount: int | None) -> None:
        """Change a number of the rows of a grain; None: they are gone."""
        with closing(shared_server("redis").client()) as client:
            for row, kept in _texts(client.hgetall(key(self.tag, "tally"))).items():
                if not row.startswith(scope) or f"{SEP}{grain}{SEP}" not in row:
                    continue
                numbers = kept.split()
                numbers[place] = str(int(numbers[place]) + (amount or 0))
                if amount is None:
                    client.hdel(key(self.tag, "tally"), row)
                    client.zrem(key(self.tag, "grain"), row)
                else:
                    client.hset(key(self.tag, "tally"), row, " ".join(numbers))

    def said(self, *command: str) -> None:
        """A command whose second word is the name of a key."""
        first, name, *rest = command
        shared_server("redis").said(first, key(self.tag, name), *rest)

    def swap(self, name: str, field: str, old: str, new: str) -> None:
        """Put other words into a value."""
        with closing(shared_server("redis").client()) as client:
            kept = str(client.hget(key(self.tag, name), field))
            assert old in kept
            client.hset(key(self.tag, name), field, kept.replace(old, new))

    def copy(self) -> None:
        """A second record that pays for a response."""
        with closing(shared_server("redis").client()) as client:
            kept = str(client.hget(key(self.tag, "record"), record(0).id))
            at = kept.split('"')[1]
            client.hset(key(self.tag, "record"), "igr_copy", kept)
            client.zadd(key(self.tag, "order"), {f"a{SEP}{at}igr_copy": 0})

    def move_inside(self) -> None:
        """Whoever is inside has his record."""
        with closing(shared_server("redis").client()) as client:
            kept = client.hget(key(self.tag, "inside"), record(9).id)
            client.hdel(key(self.tag, "inside"), record(9).id)
            client.hset(key(self.tag, "inside"), record(0).id, str(kept))
            for scope in ("key:design-1", "team:design", "org"):
                client.zrem(key(self.tag, "place"), f"{scope}{SEP}{record(9).id}")
                client.zadd(key(self.tag, "place"), {f"{scope}{SEP}{record(0).id}": 0})


def _texts(kept: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in kept.items()}


@pytest.fixture
async def case() -> AsyncIterator[Case]:
    tag, clock = f"verify-{next(TAGS)}", FakeClock()
    clock.seconds = NOON
    made = Case(tag, clock, shared_ledger(shared_server("redis").address, tag, clock.now))
    await made.fill()
    yield made
    await made.ledger.aclose()


async def test_what_was_never_touched_adds_up(case: Case) -> None:
    assert await case.ledger.verify() == ()
    assert await case.ledger.repair() == ()
    reader = RedisReader.open(shared_server("redis").address, tag=case.tag)
    assert await reader.verify() == ()
    await reader.aclose()


BREAKS: dict[str, tuple[Callable[[Case], None], set[What]]] = {
    "money that no record tells of": (lambda case: case.add("org", "day", 4, 5), {What.USED}),
    "a record that was not counted": (
        lambda case: case.swap("record", record(0).id, '"1","design"', '"7","design"'),
        {What.USED},
    ),
    "a day's counter that is gone": (
        lambda case: case.add("team:design", "day", 0, None),
        {What.USED},
    ),
    "more held than by open calls": (lambda case: case.add("", "day", 5, 1), {What.HELD}),
    "held below nothing": (lambda case: case.add("", "minute", 7, -9999), {What.HELD}),
    "requests below nothing": (lambda case: case.add("", "hour", 0, -99), {What.NEGATIVE}),
    "used below nothing": (lambda case: case.add("", "minute", 4, -(10**9)), {What.NEGATIVE}),
    "a hold without its call": (
        lambda case: case.said("HDEL", "open", record(1).id),
        {What.HOLD_WITHOUT_CALL, What.HELD},
    ),
    "a loss whose record knows of none": (
        lambda case: case.swap("record", record(3).id, '"LR', '"R'),
        {What.LOSS_WITHOUT_RECORD},
    ),
    "somebody inside in nobody's care": (
        lambda case: case.swap("inside", record(9).id, case.ledger.worker, "x"),
        {What.INSIDE_WITHOUT_WORKER},
    ),
    "a worker that was forgotten": (
        lambda case: case.said("DEL", "worker"),
        {What.INSIDE_WITHOUT_WORKER},
    ),
    "a call that is over and inside": (Case.move_inside, {What.INSIDE_AFTER_END}),
    "a place that is missing": (
        lambda case: case.said("ZREM", "place", f"org{SEP}{record(9).id}"),
        {What.PLACE_MISSING},
    ),
    "a place of nobody": (
        lambda case: case.said("ZADD", "place", "0", f"org{SEP}igr_x"),
        {What.PLACE_LEFT_OVER},
    ),
    "two records that pay for one response": (Case.copy, {What.PAID_TWICE, What.USED}),
}


@pytest.mark.parametrize(("broke", "expected"), BREAKS.values(), ids=list(BREAKS))
async def test_what_was_broken_by_hand_is_found_and_mended(
    case: Case, broke: Callable[[Case], None], expected: set[What]
) -> None:
    broke(case)
    found = await case.ledger.verify()
    assert {one.what for one in found} == expected
    assert set(found) <= set(await case.ledger.repair())
    assert await case.ledger.verify() == ()
    assert await case.ledger.repair() == (), "there is nothing left to do"


async def test_what_is_found_names_the_counter(case: Case) -> None:
    case.add("team:design", "day", 4, -1)
    (found,) = await case.ledger.verify()
    assert found.where == Counter("team:design", "day", TODAY_US, Unit.USD)
    assert found.expected - found.found == 1


async def test_days_whose_records_were_forgotten_are_not_judged_but_later_ones_are(case: Case) -> None:
    case.clock.seconds = later = NOON + DAY_S
    await case.begin(record(10, at=later))
    await case.ledger.settle(record(10, at=later), images=2)
    assert await case.ledger.prune(NOON + 1) == 1
    assert await case.ledger.verify() == ()
    case.add("org", "day", 1, 1)
    (found,) = await case.ledger.verify()
    assert found.where == Counter("org", "day", TODAY_US + DAY_S * 1_000_000, Unit.IMAGES)


async def test_days_that_were_made_one_are_not_judged_and_still_count(case: Case) -> None:
    for number in (1, 2):
        await case.ledger.settle(record(number), images=1)
    case.clock.seconds = NOON + 70 * DAY_S
    await case.ledger.prune(0)
    assert await case.ledger.verify() == ()
    total = (parse_limit("1000000 images total"),)
    (found,) = await case.ledger.limits(
        [Claimant("org", total)], UTC.frames(case.clock.now()), case.clock.now()
    )
    assert (found.used, found.held) == (5, 0)
    assert (await case.ledger.settle(record(3), images=1)).verdict is Verdict.CORRECTED
    assert await case.ledger.verify() == ()


async def test_a_ledger_that_is_written_to_meanwhile_adds_up_at_every_look(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records are read piece by piece, after the counters: those that have come or changed since do not count."""
    monkeypatch.setattr(verify, "AT_ONCE", 20)

    async def writing(first: int) -> None:
        for number in range(first, first + 160, 4):
            await case.begin(record(number))
            await case.ledger.settle(record(number, outcome=Outcome.LOST), images=2)
            if number % 3 == 0:
                await case.ledger.settle(record(number), images=1)

    tasks = [asyncio.get_running_loop().create_task(writing(100 + n)) for n in range(4)]
    looks = 0
    while not all(task.done() for task in tasks):
        assert await case.ledger.verify() == ()
        looks += 1
    await asyncio.gather(*tasks)
    assert looks > 3


async def test_what_is_mended_under_load_is_mended_by_as_much_as_was_wrong(case: Case) -> None:
    case.add("org", "day", 4, 12345)
    tasks = []
    for number in range(100, 140):
        await case.begin(record(number))
        tasks.append(asyncio.get_running_loop().create_task(case.ledger.settle(record(number), images=2)))
    mended = await case.ledger.repair()
    await asyncio.gather(*tasks)
    assert [one.expected - one.found for one in mended] == [-12345]
    assert await case.ledger.verify() == ()


async def test_mending_again_after_a_lost_answer_mends_once(case: Case) -> None:
    row = f"org{SEP}day{SEP}{TODAY_US:017d}"
    case.add("org", "day", 1, 2)
    todo = orjson.dumps([["add", row, ["0", "-2", *["0"] * 7]]])
    for _ in range(2):
        await case.ledger._store.write(act("mend"), "token", todo)
    assert await case.ledger.verify() == ()
