"""
What a call costs, from before it goes up until it is settled.

A call that can cost something is in the ledger before a byte of it goes up: if this process dies, it is not forgotten.
Its record is written once, last, whatever happened.
"""

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial

from gateway.core.allowance import refusal
from gateway.core.call import Call
from gateway.core.catalog import Catalog
from gateway.core.errors import Code, Refusal, Refused
from gateway.core.estimate import Estimate, estimate
from gateway.core.ledger import OpenCall, Verdict
from gateway.core.pricing import AccountingRules
from gateway.core.principal import Principal
from gateway.core.quota import FIRST_DOOR, Amounts, Claim, Exceeded, Standing, claimants_of
from gateway.core.record import CacheUse, Record
from gateway.core.settle import lost
from gateway.core.spans import Stage
from gateway.flow.background import Background
from gateway.flow.keep import Keeper
from gateway.flow.notices import Notices
from gateway.flow.stages import Stages
from gateway.flow.story import Story
from gateway.flow.tasks import spawn
from gateway.ports import Calendar, Clock, Journal, StoreFailed, Traces

BACKGROUND_S = 32 * 3600.0
"""How long a background response may take: the longest completion window (8 h) and a day's grace."""

_END_RESPONSES = frozenset({"responses.delete", "responses.cancel"})
_SHOW_RESPONSES = frozenset({"responses.retrieve", "responses.cancel"})


@dataclass(frozen=True, slots=True)
class Accounts:
    """
    The accounts of all calls.

    Args:
        keeper: tells the ledger of them.
        journal: tells of them.
        background: looks after those that run on upstream.
        clock: for their times.
        calendar: for the windows of limits.
        catalog: prices and rules.
        rules: the operator's.
        traces: take what happened; None: nobody wants to know.
    """

    keeper: Keeper
    journal: Journal
    background: Background
    clock: Clock
    calendar: Calendar
    catalog: Catalog
    rules: AccountingRules
    traces: Traces | None = None
    notices: Notices = field(init=False)

    def __post_init__(self) -> None:
        """Nothing has been said yet."""
        object.__setattr__(self, "notices", Notices(self.catalog))

    def watch(self) -> Stages | None:
        """What a request's stages are noted in; None: nobody wants to know."""
        return None if self.traces is None else Stages(self.clock.ticks)

    def estimate(self, call: Call) -> Estimate:
        """
        What the call can cost at most.

        Raises:
            Refused: 403 `not_allowed`, a model without a price: nothing passes unpriced.
        """
        now = self.clock.now()
        found = estimate(call, self.catalog, self.rules, at_s=now)
        if isinstance(found, Refusal):
            raise Refused(found)
        self.notices.of(call, now)
        self.notices.of_prices(call, found, now)
        return found

    async def admit(self, story: Story) -> None:
        """
        Pass the first door: what is asked for may have been answered already.

        Raises:
            Refused: as `begin`.
        """
        await self._enter(story, first_only=True)

    async def begin(self, story: Story) -> None:
        """
        Pass both doors, or the second where the first has been passed: take what the limits of the caller count, hold what the call can cost, and note it.

        Raises:
            Refused: 429, a limit stands in the way; 503 `store_unavailable`: nothing is spent that cannot be counted.
        """
        await self._enter(story, first_only=False)
        if story.is_kept and story.call is not None and story.call.background:
            story.heard = partial(self._note, story)

    async def _enter(self, story: Story, *, first_only: bool) -> None:
        if story.principal is None or story.match is None or not story.match.route.counted:
            return
        with story.during(Stage.ADMIT if first_only else Stage.RESERVE):
            try:
                found = await self._pass(story, story.principal, first_only=first_only)
            except StoreFailed as failed:
                raise Refused(unavailable(self.keeper)) from failed
            if isinstance(found, Exceeded):
                raise Refused(refusal(found))
        story.standing = found

    async def _pass(
        self, story: Story, principal: Principal, *, first_only: bool
    ) -> Standing | Exceeded | None:
        """None: uncounted, as the operator wants it while the store does not answer."""
        now, held = self.clock.now(), story.reserved or Estimate()
        claim = Claim(
            id=story.arrival.id,
            claimants=claimants_of(principal),
            asked=FIRST_DOOR,
            frames=self.calendar.frames(now),
        )
        if first_only or not story.is_kept:
            return await self._admit(claim)
        # What was taken at the first door already is not taken again.
        claim = replace(claim, asked=FIRST_DOOR + _amounts(held))
        known = story.so_far(now, self.clock.ticks(), self.catalog)
        # If this process dies, that is what stands.
        known = lost(held, at_s=known.at).into(known)
        noted = OpenCall(record=known, dispatched=True)
        try:
            return await self.keeper.reserve(noted, claim)
        except StoreFailed:
            if not self.keeper.is_open:
                raise
            await self.keeper.let_pass(noted, claim)
            return None

    async def _admit(self, claim: Claim) -> Standing | Exceeded | None:
        try:
            return await self.keeper.admit(claim)
        except StoreFailed as failed:
            if failed.unknown:
                # It may have taken a place.
                spawn(f"leave {claim.id}", self.keeper.leave(claim.id))
            if not self.keeper.is_open:
                raise
            return None

    async def make_room(self, story: Story) -> None:
        """
        The answer is complete, and the client about to know it: its place is free, where places are counted.

        Whoever calls again at once is not stopped by its own predecessor.
        """
        if story.standing is not None and any(one.limit.window is None for one in story.standing.readings):
            await self.keeper.leave(story.arrival.id)

    async def look_first(self, story: Story) -> None:
        """If the call ends a response, see first what that came to: nobody may be told later. Never raises."""
        if story.match is not None and story.match.route.name in _END_RESPONSES:
            await self.background.look_first(story.match.ids[0])

    def leave(self, story: Story) -> None:
        """The client has left a call that goes on: its place is free."""
        if story.standing is not None:
            spawn(f"leave {story.arrival.id}", self.keeper.leave(story.arrival.id))

    async def conclude(self, story: Story) -> None:
        """Make the record: for the journal, and for the ledger where it belongs there. Never raises what a store does."""
        record = None
        try:
            record = self.keeper.told(
                story.record(self.clock.now(), self.clock.ticks(), self.catalog, self.rules)
            )
            if story.noting is not None:
                await asyncio.wait([story.noting])
            if story.is_kept and await self._runs_on(story):
                # Its record, and its line in the log, come when it has ended.
                return
            await self._tell(story, record)
        finally:
            self.background.let_go(story.arrival.id)
            if self.traces is not None and record is not None:
                self.traces.tell(story.trace(record, self.clock.ticks()))

    async def _tell(self, story: Story, record: Record) -> None:
        self.journal.write(record, counts=not story.is_kept)
        if story.is_kept:
            settled = None if story.cache is CacheUse.COLLAPSED else story.settlement
            with story.during(Stage.SETTLE):
                found = await self.keeper.settle(record, 0 if settled is None else settled.charged_images)
            # Another worker may have taken this one for dead, or seen the end of the response first.
            if found is None or found.verdict is Verdict.WRITTEN:
                self.journal.count(record)
            return
        if story.standing is not None:
            await self.keeper.leave(record.id)
        if story.observation is not None and record.route in _SHOW_RESPONSES:
            try:
                await self.background.seen(story.observation)
            except StoreFailed as failed:
                # Whoever looks after the response sees its end too.
                self.keeper.failed(failed)

    async def _runs_on(self, story: Story) -> bool:
        """Whether the call goes on in the background upstream, in the care of this worker."""
        seen = story.observation
        if story.call is None or not story.call.background:
            # The end of a foreground response is what was seen of it, whatever its last status said.
            return False
        if seen is None or not seen.pending or seen.response_id is None:
            return False
        return await self._entrust(story, seen.response_id, leaves=True)

    async def _entrust(self, story: Story, response_id: str, *, leaves: bool) -> bool:
        deadline = self.clock.now() + BACKGROUND_S
        return await self.keeper.entrust(story.arrival.id, response_id, deadline, story.call, leaves=leaves)

    def _note(self, story: Story, response_id: str) -> None:
        """
        The id of a background response has come, and its stream goes on.

        It is written down aside, and no byte waits for that: if this process dies, another one asks for its end.
        """
        name = story.arrival.id
        self.background.hold(name)
        story.noting = spawn(f"note {name}", self._entrust(story, response_id, leaves=False))


def unavailable(keeper: Keeper) -> Refusal:
    """The store does not answer, and nothing is spent that cannot be counted."""
    message = "The gateway's ledger cannot be written to. Nothing was sent; please try again."
    return Refusal(Code.STORE_UNAVAILABLE, message, retry_after_ms=round(keeper.pause_s * 1000))


def _amounts(held: Estimate) -> Amounts:
    return Amounts(
        images=held.images, image_tokens=held.image_tokens, tokens=held.tokens, cost_nusd=held.cost_nusd
    )
