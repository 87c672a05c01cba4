"""A worker's care for responses that run on, over the real ledger and a scripted upstream."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.call import Call
from gateway.core.errors import Failure, UpstreamFailed
from gateway.core.estimate import Estimate, estimate
from gateway.core.ledger import OpenCall
from gateway.core.observation import Ending, Observation
from gateway.core.record import Outcome, Record, TokensFrom
from gateway.core.settle import Settlement, lost, settle
from gateway.flow import background
from gateway.flow.background import Background
from gateway.ports import DEAD_AFTER_S, StoreFailed
from tests.support.clock import FakeClock
from tests.support.gateway import ListJournal
from tests.support.ledger import record
from tests.support.outbox import Moody
from tests.support.replies import CATALOG, RULES, call_of, drawing, item, observed, response
from tests.support.scripted import Reply, Scripted
from tests.support.waiting import until

FAILED = UpstreamFailed(Failure.UNREACHABLE, phase="connect", sent=False)


def body(status: str) -> Reply:
    usage = b'{"input_tokens":100,"output_tokens":50}' if status == "completed" else b"null"
    text = b'{"object":"response","id":"resp_1","model":"gpt-5","status":"%s","usage":%s}' % (
        status.encode(),
        usage,
    )
    return Reply(script=[text])


WORDS = call_of("responses", model="gpt-5", input="x", background=True)
DRAWING = drawing(2, stream=False, background=True, max_output_tokens=500, service_tier="priority")


class Care:
    """One worker."""

    def __init__(self, ledger: SqliteLedger, clock: FakeClock, upstream: Scripted) -> None:
        self.ledger, self.clock, self.upstream = ledger, clock, upstream
        self.journal = ListJournal()
        self.background = Background(
            ledger, upstream, self.journal, clock, CATALOG, RULES, retention_s=86_400.0
        )

    def held(self, call: Call) -> Estimate:
        """What was reserved for it."""
        found = estimate(call, CATALOG, RULES, at_s=self.clock.now())
        assert isinstance(found, Estimate)
        return found

    def foreground(self, seen: Observation, call: Call) -> Settlement:
        """What a call in the foreground with this answer is charged."""
        return settle(seen, call, self.held(call), CATALOG, RULES, at_s=self.clock.now())

    async def begun(
        self, name: str = "igr_1", response_id: str = "resp_1", call: Call = WORDS, asked: Call | None = WORDS
    ) -> None:
        """A call in the background; `asked`: what is known of it."""
        held = self.held(call)
        record = Record(
            id=name,
            at=self.clock.now(),
            method="POST",
            outcome=Outcome.FAILED,
            route="responses.create",
            model="gpt-5",
            credential="default",
            reserved_nusd=held.cost_nusd,
            duration_ms=0.0,
        )
        noted = lost(held, at_s=record.at).into(record)
        await self.ledger.reserve(OpenCall(record=noted, dispatched=True))
        await self.ledger.entrust(name, response_id, self.clock.now() + 3600, asked)


@pytest.fixture
async def care(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Care]:
    monkeypatch.setattr(background, "ROUND_S", 0.0)
    monkeypatch.setattr(background, "PAUSES_S", (0.0,))
    clock = FakeClock()
    ledger = SqliteLedger.open(tmp_path, clock.now)
    yield Care(ledger, clock, Scripted([]))
    await ledger.aclose()


async def settled(care: Care, name: str = "igr_1") -> Record:
    """Run rounds until the call has its record."""
    running = asyncio.get_running_loop().create_task(care.background.run())
    try:
        # It is told last: whoever stops earlier stops in the middle.
        while not (told := [one for one in care.journal.records if one.id == name]):  # noqa: ASYNC110 - written in a thread
            await asyncio.sleep(0)
        assert await care.ledger.record(name) == told[0]
        return told[0]
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_response_nobody_comes_back_for_is_settled_at_its_end(care: Care) -> None:
    care.upstream.script = [body("queued"), FAILED, Reply(status=500), body("in_progress"), body("completed")]
    await care.begun()
    record = await settled(care)
    assert (record.outcome, record.response_id) == (Outcome.COMPLETED, "resp_1")
    assert record.cost_nusd == 100 * 1_250 + 50 * 10_000
    assert {(one.method, one.path, one.credential) for one in care.upstream.requests} == {
        ("GET", "/responses/resp_1", "default")
    }
    assert await care.ledger.open_calls() == ()


async def test_whoever_sees_the_end_first_settles_it_and_nobody_again(care: Care) -> None:
    await care.begun()
    ended = Observation(
        ending=Ending.CLEAN, status=200, response_id="resp_1", response_status="completed", model="gpt-5"
    )
    for _ in range(3):
        await care.background.seen(ended)
    assert [record.id for record in care.journal.records] == ["igr_1"]
    record = await care.ledger.record("igr_1")
    assert record is not None
    assert record.outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    ("status", "known"), [("in_progress", "resp_1"), ("completed", "resp_2"), ("completed", None)]
)
async def test_what_has_not_ended_or_is_not_ours_is_left_alone(
    care: Care, status: str, known: str | None
) -> None:
    await care.begun()
    await care.background.seen(
        Observation(ending=Ending.CLEAN, status=200, response_id=known, response_status=status)
    )
    assert await care.ledger.record("igr_1") is None


async def test_it_costs_as_much_as_in_the_foreground_though_another_process_sees_its_end(
    care: Care, tmp_path: Path
) -> None:
    await care.begun(call=DRAWING, asked=DRAWING)
    await care.ledger.aclose()
    care.clock.seconds += DEAD_AFTER_S + 1
    after = Care(SqliteLedger.open(tmp_path, care.clock.now), care.clock, care.upstream)
    await after.background._round()
    assert after.upstream.requests == [], "one that has just started does not know yet who is silent"
    care.clock.seconds += DEAD_AFTER_S + 1
    end = json.dumps(response([item(1)], main=None)).encode()
    care.upstream.script = [Reply(script=[end])]
    record = await settled(after)
    expected = care.foreground(observed(end), DRAWING)
    assert (record.tokens_from, record.outcome) == (TokensFrom.ESTIMATED, Outcome.COMPLETED)
    assert expected.into(record) == record, "every figure is what it had been in the foreground"
    await after.ledger.aclose()


async def test_a_response_that_was_deleted_costs_what_was_reserved(care: Care) -> None:
    await care.begun(call=DRAWING, asked=DRAWING)
    care.upstream.script = [Reply(status=404)] * background.MISSES
    record = await settled(care)
    assert record.cost_nusd == record.reserved_nusd == sum(line.cost_nusd for line in record.lines)
    assert (record.output_image_tokens, record.outcome) == (272, Outcome.FAILED)


GARBAGE = {
    "a body that is no JSON": Reply(script=[b"<html>"]),
    "an empty body": Reply(),
    "a status nobody knows": body("some_new_status"),
    "another response": Reply(script=[b'{"object":"response","id":"resp_2","status":"completed"}']),
    "an error": Reply(status=500),
    "not found, for once": Reply(status=404),
}


@pytest.mark.parametrize("said", GARBAGE.values(), ids=GARBAGE.keys())
async def test_what_is_no_end_is_asked_again(care: Care, said: Reply) -> None:
    care.upstream.script = [said, body("in_progress"), said, said.__class__(503), body("completed")]
    await care.begun()
    record = await settled(care)
    assert (record.outcome, record.tokens_from) == (Outcome.COMPLETED, TokensFrom.REPORTED)
    assert record.cost_nusd == 100 * 1_250 + 50 * 10_000
    assert care.upstream.script == []


async def test_one_whose_credential_is_configured_no_more_is_asked_for_when_it_is_back(care: Care) -> None:
    care.upstream.script = [KeyError("default"), KeyError("default"), body("completed")]
    await care.begun()
    assert (await settled(care)).tokens_from is TokensFrom.REPORTED


async def test_misses_count_in_a_row_only(care: Care) -> None:
    miss = Reply(status=404)
    care.upstream.script = [miss, miss, body("queued"), miss, miss, body("completed")]
    await care.begun()
    assert (await settled(care)).tokens_from is TokensFrom.REPORTED


@pytest.mark.parametrize("status", [None, "some_new_status", "queued"])
async def test_what_a_client_sees_that_is_no_end_settles_nothing(care: Care, status: str | None) -> None:
    await care.begun()
    await care.background.seen(
        Observation(ending=Ending.CLEAN, status=200, response_id="resp_1", response_status=status)
    )
    assert await care.ledger.record("igr_1") is None


async def test_a_guess_gives_way_once_to_what_a_client_is_shown_later(care: Care) -> None:
    care.upstream.script = [Reply(status=404)] * background.MISSES
    await care.begun()
    guess = await settled(care)
    assert guess.tokens_from is TokensFrom.ESTIMATED
    for words in (50, 60):
        await care.background.seen(observed(json.dumps(response(main=(100, words), tool=None)).encode()))
    record = await care.ledger.record("igr_1")
    assert record is not None
    assert (record.tokens_from, record.outcome) == (TokensFrom.REPORTED, Outcome.COMPLETED)
    assert (record.cost_nusd, record.at) == (100 * 1_250 + 50 * 10_000, guess.at)
    assert care.journal.records == [guess, record]
    assert care.journal.counted == [guess], "it is one request"


async def test_a_guess_stays_where_a_client_is_shown_no_report(care: Care) -> None:
    care.upstream.script = [Reply(status=404)] * background.MISSES
    await care.begun()
    guess = await settled(care)
    await care.background.seen(observed(json.dumps(response(main=None, tool=None)).encode()))
    assert await care.ledger.record("igr_1") == guess


async def test_a_response_whose_stream_is_read_here_is_not_asked_for(care: Care) -> None:
    await care.begun()
    care.background.hold("igr_1")
    await care.background._round()
    assert care.background._watched == {}
    care.background.let_go("igr_1")
    care.upstream.script = [body("completed")]
    assert (await settled(care)).outcome is Outcome.COMPLETED


class TestALookBeforeItIsDeleted:
    async def test_settles_what_has_ended(self, care: Care) -> None:
        await care.begun(call=DRAWING, asked=DRAWING)
        care.upstream.script = [body("completed")]
        await care.background.look_first("resp_1")
        record = await care.ledger.record("igr_1")
        assert record is not None
        assert record.cost_nusd < record.reserved_nusd

    @pytest.mark.parametrize("said", [body("in_progress"), Reply(status=404), FAILED])
    async def test_leaves_what_has_not(self, care: Care, said: Reply | UpstreamFailed) -> None:
        await care.begun()
        care.upstream.script = [said]
        await care.background.look_first("resp_1")
        assert len(await care.ledger.open_calls()) == 1

    async def test_does_not_ask_for_what_nobody_waits_for(self, care: Care) -> None:
        await care.background.look_first("resp_9")
        assert care.upstream.requests == []

    async def test_does_not_wait_for_long(self, care: Care, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(background, "LAST_LOOK_S", 0.0)
        await care.begun()
        answer = asyncio.Event()
        care.upstream.script = [answer, body("completed")]
        await care.background.look_first("resp_1")
        assert len(await care.ledger.open_calls()) == 1
        answer.set()
        while not care.journal.records:  # noqa: ASYNC110 - written in a thread
            await asyncio.sleep(0)
        assert await care.ledger.open_calls() == (), "the look goes on by itself"

    async def test_never_fails(self, care: Care) -> None:
        ledger: Any = Moody(care.ledger)
        care.background.ledger = ledger
        ledger.goes_away()
        await care.background.look_first("resp_1")
        assert ledger.asked == ["response"]


async def test_two_calls_with_one_response_are_both_charged(
    care: Care, caplog: pytest.LogCaptureFixture
) -> None:
    await care.begun()
    await care.begun("igr_2", "resp_1")
    care.upstream.script = [body("completed")] * 3
    await settled(care, "igr_2")
    records = [await care.ledger.record(name) for name in ("igr_1", "igr_2")]
    assert [one and (one.cost_nusd, one.response_id) for one in records] == [
        (625_000, "resp_1"),
        (625_000, None),
    ]
    (said,) = [text for text in caplog.messages if "gave this id twice" in text]
    assert said.startswith("igr_2 shows response resp_1, which another call pays for")


async def test_records_grow_old(care: Care) -> None:
    await care.begun("igr_old", "resp_old")
    await care.background.seen(
        Observation(ending=Ending.CLEAN, status=200, response_id="resp_old", response_status="completed")
    )
    care.clock.seconds += 2 * 86_400
    care.upstream.script = [body("completed")]
    await care.begun()
    await settled(care)
    assert await care.ledger.record("igr_old") is None


@pytest.mark.parametrize("asked", [DRAWING, None], ids=["known", "noted by an older version"])
async def test_one_that_was_deleted_is_settled_once_as_reserved_and_not_asked_for_again(
    care: Care, asked: Call | None
) -> None:
    another = json.dumps(response(tool=None, id="resp_2")).encode()
    gone = [Reply(status=404)] * background.MISSES
    care.upstream.script = [body("in_progress"), *gone, Reply(script=[another])]
    await care.begun(call=DRAWING, asked=asked)
    record = await settled(care)
    assert (record.outcome, record.tokens_from) == (Outcome.FAILED, TokensFrom.ESTIMATED)
    assert record.cost_nusd == record.reserved_nusd == care.held(DRAWING).cost_nusd
    # Another one is looked after, round after round: of the deleted one there is no more talk.
    await care.begun("igr_2", "resp_2")
    await settled(care, "igr_2")
    assert [one.path for one in care.upstream.requests] == ["/responses/resp_1"] * 4 + ["/responses/resp_2"]
    assert [one.id for one in care.journal.records] == ["igr_1", "igr_2"]
    assert await care.ledger.open_calls() == ()
    assert await care.ledger.record("igr_1") == record


async def test_who_was_silent_while_the_store_was_down_is_not_taken_for_dead(
    care: Care, tmp_path: Path
) -> None:
    other = SqliteLedger.open(tmp_path, care.clock.now)
    await other.beat()
    await other.reserve(OpenCall(record=record(1), dispatched=True))
    ledger: Any = Moody(care.ledger)
    care.background.ledger = ledger
    await care.background._round()
    running = asyncio.get_running_loop().create_task(care.background.run())
    ledger.goes_away()
    told: list[StoreFailed] = []
    care.background.failed = told.append
    await until(lambda: len(told) > 1)
    care.clock.seconds += 10 * DEAD_AFTER_S
    ledger.comes_back()
    rounds = ledger.asked.count("adopt")
    await until(lambda: ledger.asked.count("adopt") > rounds)
    assert len(await other.open_calls()) == 1
    care.clock.seconds += DEAD_AFTER_S + 1
    await until(lambda: bool(care.journal.records))
    assert [one.outcome for one in care.journal.records] == [Outcome.LOST]
    running.cancel()
    await asyncio.wait([running])
    await other.aclose()
