"""A ledger that somebody broke by hand, and any that nobody did."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.connection import FILE, writing
from gateway.adapters.sqlite.ledger import SqliteLedger, SqliteReader
from gateway.core.ledger import OpenCall, Verdict
from gateway.core.limits import Unit, parse_limit
from gateway.core.quota import FIRST_DOOR, Amounts, Claim, Claimant, Standing
from gateway.core.record import Outcome, Record, TokensFrom
from gateway.core.units import NanoUSD
from gateway.core.verify import Counter, What
from gateway.ports import DEAD_AFTER_S
from tests.conftest import EXAMPLES
from tests.support.clock import FakeClock
from tests.support.ledger import NOON, failing_disk, noted, record

DAY_S = 86_400
TODAY_US = round(NOON // DAY_S * DAY_S) * 1_000_000
CALENDAR = ZoneCalendar("UTC")
LIMITS = tuple(parse_limit(one) for one in ("5 images per minute", "$100 per hour", "9 concurrent"))
ASKED = FIRST_DOOR + Amounts(images=2, image_tokens=660, tokens=725, cost_nusd=NanoUSD(20_000_000))


def claim(one: Record, at: float, asked: Amounts = ASKED) -> Claim:
    scopes = (f"key:{one.key}", f"team:{one.team}", "org")
    claimants = tuple(Claimant(scope, LIMITS) for scope in scopes)
    return Claim(id=one.id, claimants=claimants, asked=asked, frames=CALENDAR.frames(at))


class Case:
    """A ledger in which every kind of row lies, and a way to break it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.clock.seconds = NOON
        self.ledger = SqliteLedger.open(folder, self.clock.now)

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

    def sql(self, statement: str) -> None:
        with closing(writing(self.folder / FILE)) as db:
            db.execute(statement)
            assert db.total_changes() or "INDEX" in statement


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    made = Case(tmp_path)
    await made.fill()
    yield made
    await made.ledger.aclose()


async def test_what_was_never_touched_adds_up(case: Case) -> None:
    assert await case.ledger.verify() == ()
    assert await case.ledger.repair() == ()
    assert await SqliteReader.open(case.folder).verify() == ()


async def test_an_empty_ledger_adds_up(tmp_path: Path) -> None:
    ledger = SqliteLedger.open(tmp_path, lambda: NOON)
    assert await ledger.verify() == ()
    await ledger.aclose()


OVER_AND_INSIDE = """
    UPDATE admission SET id = 'igr_00000000' WHERE id = 'igr_00000009';
    UPDATE place SET id = 'igr_00000000' WHERE id = 'igr_00000009';
"""
PAID_TWICE = """
    DROP INDEX record_response;
    CREATE TEMP TABLE copy AS SELECT * FROM record WHERE response_id = 'resp_0';
    UPDATE copy SET id = 'igr_copy';
    INSERT INTO record SELECT * FROM copy;
"""
RECORDED_TWICE = """
    ALTER TABLE record RENAME TO other;
    CREATE TABLE record AS SELECT * FROM other;
    DROP TABLE other;
    INSERT INTO record SELECT * FROM (SELECT * FROM record WHERE outcome = 'lost');
"""
BREAKS: dict[str, tuple[str, set[What]]] = {
    "money that no record tells of": (
        "UPDATE tally SET cost_nusd = cost_nusd + 5 WHERE scope = 'org' AND grain = 'day'",
        {What.USED},
    ),
    "a record that was not counted": ("UPDATE record SET images = 7, charged_images = 7", {What.USED}),
    "a day's counter that is gone": (
        "DELETE FROM tally WHERE scope = 'team:design' AND grain = 'day'",
        {What.USED},
    ),
    "more held than by open calls": ("UPDATE tally SET held_images = held_images + 1", {What.HELD}),
    "held below nothing": ("UPDATE tally SET held_tokens = -1 WHERE grain = 'minute'", {What.HELD}),
    "requests below nothing": ("UPDATE tally SET requests = -1 WHERE grain = 'hour'", {What.NEGATIVE}),
    "used below nothing": ("UPDATE tally SET cost_nusd = -1 WHERE grain = 'minute'", {What.NEGATIVE}),
    "a hold without its call": (
        "DELETE FROM open_call WHERE response_id IS NULL",
        {What.HOLD_WITHOUT_CALL, What.HELD},
    ),
    "a loss whose record knows of none": (
        "UPDATE record SET outcome = 'failed' WHERE outcome = 'lost'",
        {What.LOSS_WITHOUT_RECORD},
    ),
    "a loss without a record": (
        "DELETE FROM record WHERE outcome = 'lost'",
        {What.LOSS_WITHOUT_RECORD, What.USED},
    ),
    "somebody inside in nobody's care": ("UPDATE admission SET worker = 'x'", {What.INSIDE_WITHOUT_WORKER}),
    "a worker that was forgotten": ("DELETE FROM worker", {What.INSIDE_WITHOUT_WORKER}),
    "a call that is over and inside": (OVER_AND_INSIDE, {What.INSIDE_AFTER_END}),
    "a place that is missing": ("DELETE FROM place WHERE scope = 'org'", {What.PLACE_MISSING}),
    "a place of nobody": ("INSERT INTO place VALUES ('org', 'igr_x')", {What.PLACE_LEFT_OVER}),
    "two records that pay for one response": (PAID_TWICE, {What.PAID_TWICE, What.USED}),
    "two records of one request": (RECORDED_TWICE, {What.RECORDED_TWICE, What.USED}),
}


@pytest.mark.parametrize(("statement", "expected"), BREAKS.values(), ids=list(BREAKS))
async def test_what_was_broken_by_hand_is_found_and_mended(
    case: Case, statement: str, expected: set[What]
) -> None:
    case.sql(statement)
    found = await case.ledger.verify()
    assert {one.what for one in found} == expected
    assert set(found) <= set(await case.ledger.repair())
    assert await case.ledger.verify() == ()
    assert await case.ledger.repair() == (), "there is nothing left to do"


async def test_what_is_mended_counts_as_if_it_had_never_been_broken(case: Case) -> None:
    async def stand() -> list[tuple[int, int]]:
        every = tuple(
            parse_limit(f"1000000 {unit} {window}")
            for unit in Unit
            for window in ["per day", "total"]
            if unit is not Unit.CONCURRENT
        )
        claimants = [Claimant(scope, every) for scope in ("org", "team:design", "key:design-1")]
        found = await case.ledger.limits(claimants, CALENDAR.frames(NOON), NOON)
        return [(one.used, one.held) for one in found if one.limit.unit is not Unit.REQUESTS]

    before = await stand()
    case.sql("DELETE FROM tally WHERE grain = 'day'")
    assert await stand() != before
    case.sql("INSERT INTO tally VALUES ('org', 'day', 0, 0, 0, 0, 0, 0, 9, 9, 9, 9)")
    await case.ledger.repair()
    assert await case.ledger.verify() == ()
    assert await stand() == before


async def test_what_is_found_names_the_counter(case: Case) -> None:
    case.sql("UPDATE tally SET cost_nusd = 0 WHERE scope = 'team:design' AND grain = 'day'")
    (found,) = await case.ledger.verify()
    assert found.where == Counter("team:design", "day", TODAY_US, Unit.USD)
    assert (found.found, found.expected) == (0, 2 * record().cost_nusd)


async def test_days_whose_records_were_forgotten_are_not_judged_but_later_ones_are(case: Case) -> None:
    case.clock.seconds = later = NOON + DAY_S
    await case.begin(record(10, at=later))
    await case.ledger.settle(record(10, at=later), images=2)
    assert await case.ledger.prune(NOON + 1) == 1
    assert await case.ledger.verify() == ()
    case.sql("UPDATE tally SET images = images + 1 WHERE scope = 'org' AND grain = 'day'")
    (found,) = await case.ledger.verify()
    assert found.where == Counter("org", "day", TODAY_US + DAY_S * 1_000_000, Unit.IMAGES)


async def test_a_loss_may_outlive_its_record_where_that_was_forgotten(case: Case) -> None:
    assert await case.ledger.prune(NOON + 60) == 2
    assert await case.ledger.verify() == ()


async def test_days_that_were_made_one_are_not_judged(case: Case) -> None:
    for number in (1, 2):
        await case.ledger.settle(record(number))
    case.clock.seconds += 70 * DAY_S
    await case.ledger.prune(NOON - 1)
    assert await case.ledger.verify() == ()
    case.sql("UPDATE tally SET images = -1 WHERE scope = 'org' AND grain = 'day' AND start = 0")
    assert {one.what for one in await case.ledger.repair()} == {What.NEGATIVE}


async def test_a_repair_whose_commit_failed_tells_what_it_did(tmp_path: Path) -> None:
    with failing_disk("repaired") as disk:
        case = Case(tmp_path)
        await case.fill()
        await case.ledger.aclose()
        case.sql("INSERT INTO place VALUES ('org', 'igr_x')")
        fragile = SqliteLedger(tmp_path, case.clock.now, vfs="repaired")
        disk.fails = lambda name: name.endswith("-wal") and not disk.failures
        found = await fragile.repair()
        assert [one.what for one in found] == [What.PLACE_LEFT_OVER]
        assert disk.failures
        assert await fragile.verify() == ()
        await fragile.aclose()


calls = st.integers(0, 5)
amounts = st.builds(
    lambda images, tokens, cost: Amounts(
        images=images, image_tokens=tokens, tokens=tokens + 11, cost_nusd=NanoUSD(cost)
    ),
    st.integers(0, 4),
    st.integers(0, 500),
    st.integers(0, 10**9),
)


class History:
    """What a few workers do with a few calls, some of whom die."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.clock.seconds = NOON
        self.folder = folder
        self.workers = [SqliteLedger.open(folder, self.clock.now) for _ in range(2)]
        self.over: set[str] = set()

    def record(self, number: int, amounts: Amounts) -> Record:
        return record(
            number,
            team="ab"[number % 2],
            key=f"k{number % 3}-{number % 2}",
            output_image_tokens=amounts.image_tokens,
            input_text_tokens=amounts.tokens - amounts.image_tokens,
            cost_nusd=amounts.cost_nusd,
        )

    async def do(self, worker: int, step: str, number: int, amounts: Amounts, *, flag: bool) -> None:
        ledger, one = self.workers[worker], self.record(number, amounts)
        match step:
            case "leave":
                await ledger.leave(one.id)
            case "entrust":
                await ledger.entrust(one.id, f"resp_{number}", self.clock.now() + 7200, None)
            case "reap":
                self.over |= {lost.id for lost in await ledger.reap()}
            case "adopt":
                await ledger.adopt()
            case "prune":
                await ledger.prune(self.clock.now() - number * DAY_S)
            case "limit":
                await ledger.set_limits(f"team:{one.team}", LIMITS[: number % 4] if flag else None)
            case "wait":
                self.clock.seconds += (0.01, 1, 70, 4000, DAY_S, 20 * DAY_S)[number]
            case "die":
                await ledger.aclose()
                self.workers[worker] = SqliteLedger.open(self.folder, self.clock.now)
                self.clock.seconds += DEAD_AFTER_S + 1
            case _:
                await self._call(ledger, step, number, amounts, flag=flag)

    async def _call(
        self, ledger: SqliteLedger, step: str, number: int, amounts: Amounts, *, flag: bool
    ) -> None:
        one, now = self.record(number, amounts), self.clock.now()
        if step == "reserve":
            asked = claim(one, now, amounts + FIRST_DOOR if flag else amounts)
            call = OpenCall(record=noted(id=one.id, team=one.team, key=one.key), dispatched=flag)
            await ledger.reserve(call, asked, force=amounts.images == 0)
        elif step == "settle":
            outcome = Outcome.COMPLETED if flag else Outcome.REFUSED
            response = f"resp_{number}" if amounts.images % 2 else None
            await ledger.settle(replace(one, outcome=outcome, response_id=response), amounts.images)
            self.over.add(one.id)
        elif step == "fetch":
            stranger = f"igr_get_{number}"
            await ledger.settle(
                replace(one, id=stranger, response_id=f"resp_{number}"),
                amounts.images,
            )
            self.over |= {one.id, stranger}
        elif one.id not in self.over:  # nobody comes who has gone
            await ledger.admit(claim(one, now, FIRST_DOOR))


STEPS = [
    "admit",
    "reserve",
    "reserve",
    "leave",
    "entrust",
    "settle",
    "settle",
    "fetch",
    "die",
    "reap",
    "adopt",
    "prune",
    "limit",
    "wait",
]
"""What happens most is there twice."""


@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from(STEPS), calls, amounts, st.booleans()), max_size=25)
)
@settings(max_examples=EXAMPLES // 2)
def test_whatever_happens_adds_up(history: list[tuple[int, str, int, Amounts, bool]]) -> None:
    async def live() -> None:
        with TemporaryDirectory() as folder:
            made = History(Path(folder))
            for worker, step, number, asked, flag in history:
                await made.do(worker, step, number, asked, flag=flag)
                assert await made.workers[0].verify() == ()
            for ledger in made.workers:
                await ledger.aclose()

    asyncio.run(live())


async def test_a_guess_that_is_corrected_is_counted_anew_and_adds_up(case: Case) -> None:
    guess = record(1, response_id="resp_1", tokens_from=TokensFrom.ESTIMATED, cost_nusd=NanoUSD(9_000_000))
    await case.ledger.settle(guess, images=2)
    assert await case.ledger.verify() == ()
    truth = record(1, response_id="resp_1", cost_nusd=NanoUSD(1_000_000))
    assert (await case.ledger.settle(truth, images=1)).verdict is Verdict.CORRECTED
    assert await case.ledger.verify() == ()


async def test_a_guess_of_which_nobody_knows_where_it_is_counted_stays(case: Case) -> None:
    """An older version kept no hold of it: its counters could not follow."""
    guess = record(1, response_id="resp_1", tokens_from=TokensFrom.ESTIMATED)
    await case.ledger.settle(guess, images=2)
    case.sql("DELETE FROM hold WHERE lost AND id LIKE '%1'")
    found = await case.ledger.settle(record(1, response_id="resp_1", cost_nusd=NanoUSD(1)), images=1)
    assert (found.verdict, found.record) == (Verdict.REPEATED, guess)
    assert await case.ledger.verify() == ()
