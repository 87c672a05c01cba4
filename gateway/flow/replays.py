"""
Calls with an `Idempotency-Key`: what a key was used for, and the answers that are given again under it.

What a key stands for is decided by core/idempotency.py. Here it is asked of the store, in bounded time, and told to it
until it knows: a key that is not concluded stays taken, so that nothing is paid twice.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Final, Literal

from gateway.core import cachecontrol
from gateway.core.artefact import Form
from gateway.core.contents import Contents, Span
from gateway.core.entry import Entry, kept_headers, original_of
from gateway.core.errors import Refused
from gateway.core.freshness import Life
from gateway.core.headers import Header, is_event_stream
from gateway.core.idempotency import LIFE_S, Next, Once, State, fate, next_of, outcome_unknown
from gateway.core.units import NanoUSD
from gateway.flow.account import Accounts, unavailable
from gateway.flow.flights import Lead
from gateway.flow.giving import Hit, headers_in, open_hit
from gateway.flow.story import Story
from gateway.flow.tape import Head
from gateway.flow.tasks import spawn
from gateway.ports import Cache, Draft, IdempotencyKeys, StoreFailed

DETAIL: Final = "idempotency-key"
"""What `Cache-Status` says of an answer that is given again under its key."""
TELL_S: Final = 3.0
"""What the store has to take in what became of a key, at each attempt."""
KEEP_S: Final = 10.0
"""What the store has to take in an answer that was promised: its clients wait for that."""
PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Between attempts; the last one again and again, for as long as the key would be remembered."""

_log = logging.getLogger("imagegate.idempotency")


@dataclass(frozen=True, slots=True)
class Replays:
    """
    What one worker does for keys.

    Args:
        keys: what they were used for.
        answers: what is given again: a cache of its own, whose entries are not evicted.
        accounts: know the store, and its clock.
    """

    keys: IdempotencyKeys
    answers: Cache
    accounts: Accounts

    async def begin(self, once: Once, story: Story) -> "Held | Hit | Literal[Next.JOIN, Next.GO]":
        """
        What a request with a key has to do.

        Returns:
            The key, if the call may be made: to be concluded. Or what it is answered with; or `JOIN`: the same call is
            under way. `GO`: the store does not answer, and the operator wants calls to pass all the same.

        Raises:
            Refused: 422, 409; 503 `store_unavailable`: who cannot remember a key must not use it.
        """
        held = Held(self, once, story.arrival.id)
        try:
            known = await self.accounts.keeper.ask(lambda: self.keys.begin(once, held.call_id))
        except asyncio.CancelledError:
            held.give_up()
            raise
        except StoreFailed as failed:
            held.give_up()
            if self.accounts.keeper.is_open:
                return Next.GO
            raise Refused(unavailable(self.accounts.keeper)) from failed
        match next_of(known, once):
            case Next.GO:
                return held
            case Next.REPLAY:
                return await self._kept(once)
            case Next.JOIN:
                return Next.JOIN

    async def draft(self) -> Draft | None:
        """What an answer is copied to; None: there is no room for one."""
        return await self.answers.draft()

    def says(self, hit: Hit) -> tuple[Header, ...]:
        """What is said of an answer that is given again."""
        left_s = hit.entry.life.left_s(self.accounts.clock.now())
        return (cachecontrol.hit(left_s, detail=DETAIL),)

    async def _kept(self, once: Once) -> Hit:
        for entry in await self.answers.find(once.answer):
            hit = await open_hit(self.answers, entry, (Span(0, entry.size),))
            if hit is not None:
                return hit
        # It was made and paid for, and is not there: to make another one is not for us to decide.
        raise Refused(outcome_unknown())


class Held:
    """
    A key that a call of this worker has.

    Args:
        replays: where it is concluded.
        once: the key.
        call_id: of the call.
    """

    def __init__(self, replays: Replays, once: Once, call_id: str) -> None:
        self.once = once
        self.call_id = call_id
        self.is_cared_for = False
        """It is concluded, or will be, by whoever looks after its call."""
        self._replays = replays

    async def land(
        self, story: Story, form: Form, head: Head | None, draft: Draft | None, *, paid: bool = True
    ) -> None:
        """
        The call has ended, as its story says: keep its answer if that may be given again, and conclude the key.

        Args:
            story: of the call; what was seen of its answer is known.
            form: of the answer.
            head: of the answer.
            draft: has it; None: it could not be written.
            paid: the call went up. False: somebody else's did.
        """
        route = "" if story.match is None else story.match.route.name
        state = fate(story.observation, draws=route.startswith("images."))
        if state is State.KEPT and not await self._keep_new(story, form, head, draft):
            state = State.CUT if paid else State.NOTED
        if state is State.CUT and not paid:
            state = None
        await self.conclude(state)

    async def keep(self, entry: Entry, form: Form, draft: Draft) -> None:
        """It was answered with a kept answer, of which the draft has a copy in this form: that is the key's, too."""
        kept = replace(
            entry,
            key=self.once.answer,
            form=form,
            headers=headers_in(entry, form),
            life=self._life(),
            contents=Contents(draft.size, form.stream),
        )
        await self.conclude(State.KEPT if await self._committed(draft, kept) else State.NOTED)

    async def conclude(self, state: State | None) -> None:
        """Tell what the key stands for now: as soon as the store takes it. Never raises what a store does."""
        self.is_cared_for = True
        if not await self._tell(state):
            _log.warning("%s: what became of its Idempotency-Key could not be written down yet", self.call_id)
            spawn(f"conclude the key of {self.call_id}", self._go_on_telling(state))

    def give_up(self) -> None:
        """The call is not made; it may have the key, or not."""
        spawn(f"free the key of {self.call_id}", self.conclude(None))

    def _life(self) -> Life:
        return Life(kept_at=self._replays.accounts.clock.now(), ttl_s=LIFE_S)

    async def _keep_new(self, story: Story, form: Form, head: Head | None, draft: Draft | None) -> bool:
        if head is None or draft is None:
            return False
        accounts = self._replays.accounts
        now = accounts.clock.now()
        record = story.record(now, accounts.clock.ticks(), accounts.catalog, accounts.rules)
        if story.is_pending:
            # What it costs is not known yet, nor what it saves to be shown it again.
            record = replace(record, cost_nusd=NanoUSD(0))
        entry = Entry(
            key=self.once.answer,
            form=form,
            status=head.status,
            headers=kept_headers(head.headers),
            life=self._life(),
            contents=Contents(draft.size, is_event_stream(head.headers)),
            original=original_of(record),
        )
        return await self._committed(draft, entry)

    @staticmethod
    async def _committed(draft: Draft, entry: Entry) -> bool:
        try:
            async with asyncio.timeout(KEEP_S):
                return await draft.commit(entry)
        except (StoreFailed, TimeoutError):
            return False

    async def _tell(self, state: State | None) -> bool:
        try:
            async with asyncio.timeout(TELL_S):
                await self._replays.keys.conclude(self.once, self.call_id, state)
        except (StoreFailed, TimeoutError):
            return False
        return True

    async def _go_on_telling(self, state: State | None) -> None:
        waited_s, pauses = 0.0, list(PAUSES_S)
        while waited_s < LIFE_S:
            pause_s = pauses.pop(0) if len(pauses) > 1 else pauses[0]
            await asyncio.sleep(pause_s)
            waited_s += pause_s
            if await self._tell(state):
                return


async def abandon(lead: Lead, held: Held | None) -> None:
    """A call is not made after all: its key is free first, so that whoever is elected in its place finds it free."""
    if held is not None:
        await held.conclude(None)
    lead.abandon()
