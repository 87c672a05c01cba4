"""What is noted of a call while it goes up, over the real ledger."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.call import Call
from gateway.core.errors import Code, Refused
from gateway.core.kept import Due, Entrusted, Passed
from gateway.core.ledger import OpenCall, lost
from gateway.core.limits import parse_limit
from gateway.core.meter import Meter
from gateway.core.observation import Ending
from gateway.core.quota import Claimant
from gateway.core.record import Outcome, TokensFrom
from gateway.core.routes import match
from gateway.core.windows import Frames
from gateway.flow.account import BACKGROUND_S, Accounts
from gateway.flow.background import Background
from gateway.flow.exchange import Arrival
from gateway.flow.fetch import Head
from gateway.flow.keep import Keeper
from gateway.flow.story import Story
from tests.support.clock import FakeClock
from tests.support.gateway import ListJournal, principal
from tests.support.outbox import ListOutbox, Moody
from tests.support.replies import (
    CATALOG,
    RULES,
    call_of,
    drawing,
    event,
    generation,
    images_body,
    response,
    usage,
)
from tests.support.scripted import JSON, Reply, Scripted


class Desk:
    """The accounts of one worker."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.ledger = SqliteLedger.open(folder, self.clock.now)
        self.upstream = Scripted([])
        background = Background(
            self.ledger, self.upstream, ListJournal(), self.clock, CATALOG, RULES, retention_s=1e9
        )
        self.store: Any = Moody(self.ledger)
        self.outbox, self.journal = ListOutbox(), ListJournal()
        calendar = ZoneCalendar("UTC")
        self.keeper = Keeper(self.store, self.outbox, self.journal, self.clock, calendar)
        self.accounts = Accounts(self.keeper, self.journal, background, self.clock, calendar, CATALOG, RULES)

    def story(self, call: Call) -> Story:
        """A call that wants to go up."""
        story = Story(Arrival("igr_1", "POST", call.match.path, b"", JSON, self.clock.ticks()))
        story.match, story.principal, story.call = call.match, principal(), call
        story.reserved, story.credential = self.accounts.estimate(call), "default"
        return story

    def frames(self) -> Frames:
        return ZoneCalendar("UTC").frames(self.clock.now())

    async def begun(self, call: Call) -> tuple[Story, OpenCall]:
        """A call that goes up now, and what the ledger knows of it."""
        story = self.story(call)
        await self.accounts.begin(story)
        (known,) = await self.ledger.open_calls()
        return story, known


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path)
    yield made
    await made.ledger.aclose()


@pytest.mark.parametrize(
    "call",
    [generation(2), generation(n=4), drawing(3, service_tier="priority", max_tool_calls=2)],
    ids=["streamed", "several", "response"],
)
async def test_what_is_noted_is_what_the_call_costs_if_it_is_lost_now(desk: Desk, call: Call) -> None:
    story, known = await desk.begun(call)
    assert story.reserved is not None
    found = lost(known, desk.clock.now())
    assert (found.outcome, found.tokens_from) == (Outcome.LOST, TokensFrom.ESTIMATED)
    assert found.cost_nusd == found.reserved_nusd == story.reserved.cost_nusd
    assert sum(line.cost_nusd for line in found.lines) == found.cost_nusd
    assert found.output_image_tokens == story.reserved.image_tokens
    assert (found.images, found.partial_image_tokens, found.partial_images_delivered) == (0, 0, 0)
    assert found.partial_images_requested == call.images[0].partial_images


async def test_a_response_in_the_background_is_left_with_what_was_asked(desk: Desk) -> None:
    call = drawing(2, background=True, stream=False)
    story, _ = await desk.begun(call)
    story.has_set_out = True
    story.came(Head(200, JSON, 0.0))
    story.saw(b'{"object":"response","id":"resp_1","status":"queued","model":"gpt-5"}')
    story.ended()
    await desk.accounts.conclude(story)
    (known,) = await desk.ledger.open_calls()
    assert (known.record.response_id, known.call) == ("resp_1", call)
    assert known.deadline == desk.clock.now() + BACKGROUND_S


CREATED = event("response.created", response=response(status="in_progress", main=None))


async def streamed(desk: Desk) -> tuple[Story, Call]:
    """A streamed background response that has begun, and is written down."""
    call = drawing(2, background=True)
    story, _ = await desk.begun(call)
    story.has_set_out = True
    story.came(Head(200, ((b"content-type", b"text/event-stream"),), 0.0))
    story.saw(CREATED[:40])
    assert desk.accounts.background._in_hand == set()
    story.saw(CREATED[40:])
    story.saw(event("response.in_progress", response=response(status="in_progress", main=None)))
    assert story.noting is not None
    await story.noting
    return story, call


class TestAStreamedResponseInTheBackground:
    async def test_is_known_by_its_id_while_it_is_streamed_and_not_asked_for(self, desk: Desk) -> None:
        _, call = await streamed(desk)
        (known,) = await desk.ledger.open_calls()
        assert (known.record.response_id, known.call) == ("resp_1", call)
        await desk.accounts.background._round()
        assert desk.accounts.background._watched == {}

    async def test_is_settled_once_when_its_stream_ends(self, desk: Desk) -> None:
        story, _ = await streamed(desk)
        story.saw(event("response.completed", response=response(tool=None)))
        story.ended()
        await desk.accounts.conclude(story)
        assert await desk.ledger.open_calls() == ()
        record = await desk.ledger.record("igr_1")
        assert [record] == desk.journal.records == desk.journal.counted
        assert record is not None
        assert (record.outcome, record.response_id) == (Outcome.COMPLETED, "resp_1")

    async def test_is_asked_for_once_its_stream_is_left(self, desk: Desk) -> None:
        story, _ = await streamed(desk)
        story.outcome = Outcome.CLIENT_GONE
        await desk.accounts.conclude(story)
        assert len(await desk.ledger.open_calls()) == 1
        await desk.accounts.background._round()
        (watching,) = desk.accounts.background._watched.values()
        watching.cancel()
        await asyncio.wait([watching])

    async def test_keeps_its_place_until_then(self, desk: Desk) -> None:
        story, _ = await streamed(desk)
        scopes = [Claimant("org", (parse_limit("1 concurrent"),))]
        (reading,) = await desk.ledger.limits(scopes, desk.frames(), desk.clock.now())
        assert reading.used == 1
        await desk.accounts.conclude(story)
        (reading,) = await desk.ledger.limits(scopes, desk.frames(), desk.clock.now())
        assert reading.used == 0

    async def test_is_written_down_aside_where_the_store_is_away(self, desk: Desk) -> None:
        desk.keeper.is_open = True
        desk.store.goes_away()
        story = desk.story(drawing(2, background=True))
        await desk.accounts.begin(story)
        story.came(Head(200, ((b"content-type", b"text/event-stream"),), 0.0))
        story.saw(CREATED)
        assert story.noting is not None
        await story.noting
        desk.store.comes_back()
        await desk.keeper.catch_up()
        (known,) = await desk.ledger.open_calls()
        assert known.record.response_id == "resp_1"
        scopes = [Claimant("org", (parse_limit("1 concurrent"),))]
        (reading,) = await desk.ledger.limits(scopes, desk.frames(), desk.clock.now())
        assert reading.used == 1, "its client is still being answered"
        assert desk.keeper.told(known.record).code == "store_unavailable"


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/responses/resp_1"), ("POST", "/responses/resp_1/cancel")]
)
async def test_a_response_is_looked_at_before_its_client_ends_it(desk: Desk, method: str, path: str) -> None:
    story, _ = await streamed(desk)
    await desk.accounts.conclude(story)
    shown = json.dumps(response(tool=None)).encode()
    desk.upstream.script = [Reply(script=[shown])]
    ending = Story(Arrival("igr_2", method, path, b"", JSON, desk.clock.ticks()))
    ending.match = match(method, path)
    await desk.accounts.look_first(ending)
    record = await desk.ledger.record("igr_1")
    assert record is not None
    assert (record.outcome, record.tokens_from) == (Outcome.COMPLETED, TokensFrom.REPORTED)


async def test_nothing_is_looked_at_before_other_calls(desk: Desk) -> None:
    story, _ = await streamed(desk)
    await desk.accounts.look_first(story)
    assert desk.upstream.requests == []


def answered(story: Story) -> None:
    """The upstream has answered with a picture."""
    story.has_set_out = True
    story.came(Head(200, JSON, 0.0))
    story.answered(story.arrival.at)
    story.saw(images_body(usage(272, text=10)))
    story.ended()


async def test_a_request_whose_end_somebody_else_saw_first_is_not_counted_again(desk: Desk) -> None:
    """A client asked for the response by its id while its stream still went on."""
    story, _ = await streamed(desk)
    ended = response(tool=None)
    seen = Meter(200, JSON)
    seen.feed(json.dumps(ended).encode())
    await desk.accounts.background.seen(seen.close(Ending.CLEAN))
    story.saw(event("response.completed", response=ended))
    story.ended()
    await desk.accounts.conclude(story)
    assert (len(desk.journal.records), desk.journal.counted) == (1, [])


class TestAStoreThatIsAway:
    async def test_lets_nothing_pass_and_says_when_to_come_again(self, desk: Desk) -> None:
        desk.store.goes_away()
        story = desk.story(generation())
        with pytest.raises(Refused) as refused:
            await desk.accounts.begin(story)
        refusal = refused.value.refusal
        assert (refusal.code, refusal.retry_after_ms) == (Code.STORE_UNAVAILABLE, 1000)
        story.refused(refusal)
        await desk.accounts.conclude(story)
        assert (desk.outbox.entries, [one.code for one in desk.journal.records]) == (
            [],
            ["store_unavailable"],
        ), "it took nothing: its line in the log is all"

    async def test_keeps_the_truth_of_a_call_that_may_have_been_reserved(self, desk: Desk) -> None:
        desk.store.goes_away(unknown=True)
        story = desk.story(generation())
        with pytest.raises(Refused) as refused:
            await desk.accounts.begin(story)
        story.refused(refused.value.refusal)
        await desk.accounts.conclude(story)
        (due,) = desk.outbox.entries
        assert isinstance(due, Due)
        assert (due.record.outcome, due.record.cost_nusd) == (Outcome.REFUSED, 0)

    async def test_does_not_stop_a_call_under_way(self, desk: Desk) -> None:
        story, _ = await desk.begun(generation())
        desk.store.goes_away()
        answered(story)
        await desk.accounts.conclude(story)
        (record,) = desk.journal.records
        assert desk.journal.counted == [record]
        assert desk.outbox.entries == [Due(record, 1)]
        desk.store.comes_back()
        await desk.keeper.catch_up()
        assert await desk.ledger.record("igr_1") == record
        assert (record.outcome, record.code) == (Outcome.COMPLETED, None)

    async def test_learns_later_that_a_response_runs_on(self, desk: Desk) -> None:
        call = drawing(2, background=True, stream=False)
        story, _ = await desk.begun(call)
        desk.store.goes_away()
        story.has_set_out = True
        story.came(Head(200, JSON, 0.0))
        story.saw(b'{"object":"response","id":"resp_1","status":"queued","model":"gpt-5"}')
        story.ended()
        await desk.accounts.conclude(story)
        assert [type(one) for one in desk.outbox.entries] == [Entrusted]
        desk.store.comes_back()
        await desk.keeper.catch_up()
        (known,) = await desk.ledger.open_calls()
        assert (known.record.response_id, known.call) == ("resp_1", call)

    async def test_lets_calls_pass_where_the_operator_wants_that_and_the_record_says_so(
        self, desk: Desk
    ) -> None:
        desk.keeper.is_open = True
        desk.store.goes_away()
        story = desk.story(generation())
        await desk.accounts.begin(story)
        assert story.standing is None
        answered(story)
        await desk.accounts.conclude(story)
        assert [type(one) for one in desk.outbox.entries] == [Passed, Due]
        desk.store.comes_back()
        await desk.keeper.catch_up()
        record = await desk.ledger.record("igr_1")
        assert record is not None
        assert (record.outcome, record.status, record.code) == (
            Outcome.COMPLETED,
            200,
            "store_unavailable",
        )
        assert [record] == desk.journal.records
        assert await desk.ledger.open_calls() == ()

    @pytest.mark.parametrize("is_open", [False, True])
    async def test_counts_no_request_that_costs_nothing(self, desk: Desk, *, is_open: bool) -> None:
        desk.keeper.is_open = is_open
        desk.store.goes_away()
        story = desk.story(call_of("responses/input_tokens", model="gpt-5", input="x"))
        if is_open:
            await desk.accounts.begin(story)
        else:
            with pytest.raises(Refused, match="cannot be written to"):
                await desk.accounts.begin(story)
        assert story.standing is None
        assert desk.outbox.entries == []
