"""
How a request gets its answer from the air: it follows another call, or it leads one.

Where the upstream fails, an answer past its life is given if the operator lets it (`cache.stale_if_error_s`).

Not here: who leads and who follows (flights.py), and what is looked for before (sharing.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.core import cachecontrol
from gateway.core.cachecontrol import Forward
from gateway.core.errors import Code, Refusal, Refused
from gateway.core.flight import Duty, Stored, Withheld
from gateway.core.headers import Header
from gateway.core.record import CacheUse, Outcome
from gateway.core.spans import Stage
from gateway.flow.account import Accounts
from gateway.flow.crew import Crew, Drafts
from gateway.flow.errand import Errand, Found
from gateway.flow.flights import Flights, Lead
from gateway.flow.giving import Copying, Instead, Standby, give, open_hit
from gateway.flow.orphans import Orphans
from gateway.flow.passage import Follow, Passage, Stranded
from gateway.flow.relay import Source, Telling, relay
from gateway.flow.replays import Held, Replays, abandon
from gateway.flow.story import Story
from gateway.flow.tasks import ClientGoneError, WhilePresent, spawn
from gateway.flow.wanted import Terms, Wanted
from gateway.ports import Cache


@dataclass(frozen=True, slots=True)
class Aboard:
    """
    What one worker has in the air.

    Args:
        cache: what is kept; None: nothing is.
        flights: who leads, who follows.
        replays: what is kept under an `Idempotency-Key`.
        accounts: who pays.
        orphans: how calls go on whose client has left.
        terms: the operator's.
    """

    cache: Cache | None
    flights: Flights
    replays: Replays
    accounts: Accounts
    orphans: Orphans
    terms: Terms

    async def follow(
        self, follow: Follow, found: Found, errand: Errand, held: Held | None = None
    ) -> Literal[Duty.ELECT, Duty.ALONE] | None:
        """
        Give what somebody else's call brings.

        Args:
            follow: the right to it.
            found: why it is followed, and what may be given in place of an error.
            errand: whose answer it is.
            held: the key under which it is kept as well. Concluded here if the answer came.

        Returns:
            None: it has its answer. Else what it has to do to get one: nothing was sent.

        Raises:
            ClientGoneError: the client has left.
            UpstreamFailed: as `relay`.
        """
        story, client = errand.story, errand.client
        alone, story.cache = story.cache, CacheUse.COLLAPSED

        async def telling(_is_whole: bool) -> Sequence[Header]:  # noqa: FBT001 - as the relay asks
            return self._says(errand.wanted, found.why, collapsed=True)

        source: Source = self._standby(follow, found, errand)
        copy: Copying | None = None
        draft = None if held is None else await self.replays.draft()
        if draft is not None:
            source = copy = Copying(source, draft)
        try:
            with story.during(Stage.FOLLOW):
                async with WhilePresent(client.gone):
                    await relay(source, client, story, self.accounts, telling=telling)
            if held is not None and copy is not None:
                await self._land(held, copy, errand)
        except Instead as instead:
            story.forget_answer()
            await self._give_stale(instead, errand)
        except Stranded as stranded:
            story.cache = alone
            return stranded.duty
        finally:
            follow.leave()
            if draft is not None:
                await draft.drop()
        return None

    async def _land(self, held: Held, copy: Copying, errand: Errand) -> None:
        """A follower has all of its answer: it is its key's, too."""
        story, clock = errand.story, self.accounts.clock
        story.settled(clock.now(), clock.ticks(), self.accounts.catalog, self.accounts.rules)
        await held.land(story, errand.wanted.form, copy.head_, copy.draft, paid=False)

    async def lead(self, lead: Lead, found: Found, errand: Errand, held: Held | None) -> None:
        """
        Make the call, for everybody who wants its answer.

        Args:
            lead: the right to; abandoned if the call is not made.
            found: why it is made, and what may be given in place of an error.
            errand: whose answer it is first.
            held: the key that it is made under; concluded here.

        Raises:
            Refused: 429, 503 by the accounts.
            UpstreamFailed: as `relay`.
        """
        wanted, story, client = errand.wanted, errand.story, errand.client
        try:
            async with WhilePresent(client.gone):
                await self.accounts.begin(story)
                drafts = await self._drafts(wanted, held)
        except BaseException:
            spawn(f"abandon {story.arrival.id}", abandon(lead, held))
            raise
        story.set_out()
        if held is not None:
            held.is_cared_for = True
        crew = Crew(self.accounts, self.orphans, self.flights, self.terms, lead, wanted, story, drafts, held)
        passage = lead.take_off(errand.open_reply, crew, drafts.file)
        self.flights.tend(spawn(f"flight {story.arrival.id}", self._close(lead, story, drafts)))

        async def telling(is_whole: bool) -> Sequence[Header]:  # noqa: FBT001 - as the relay asks
            landing = await lead.over() if is_whole else None
            detail = landing.reason.value if isinstance(landing, Withheld) else None
            return self._says(wanted, found.why, stored=isinstance(landing, Stored), detail=detail)

        await self._ride(passage, lead, found, errand, telling)

    async def _drafts(self, wanted: Wanted, held: Held | None) -> Drafts:
        cached = None if wanted.key is None or self.cache is None else await self.cache.draft()
        try:
            promised = None if held is None else await self.replays.draft()
            if held is not None and promised is None:
                raise Refused(_no_room())  # noqa: TRY301 - as a failure of the draft itself
        except BaseException:
            if cached is not None:
                spawn("drop a draft", cached.drop())
            raise
        return Drafts(cached, promised)

    async def _ride(
        self, passage: Passage, lead: Lead, found: Found, errand: Errand, telling: Telling
    ) -> None:
        story, client = errand.story, errand.client
        try:
            try:
                async with WhilePresent(client.gone):
                    source = self._standby(passage, found, errand)
                    await relay(source, client, story, self.accounts, telling=telling, is_seen=True)
            except Instead as instead:
                await self._give_stale(instead, errand)
            # It has its answer, and may leave.
            await lead.over()
        except ClientGoneError:
            story.outcome = Outcome.CLIENT_GONE
            story.is_orphan = True
            self.accounts.leave(story)
        finally:
            passage.leave()

    async def _close(self, lead: Lead, story: Story, drafts: Drafts) -> None:
        try:
            await lead.over()
            if story.is_orphan:
                await self.accounts.conclude(story)
            await lead.closed()
        finally:
            await drafts.drop()

    def _says(
        self,
        wanted: Wanted,
        why: Forward,
        *,
        stored: bool = False,
        collapsed: bool = False,
        detail: str | None = None,
    ) -> tuple[Header, ...]:
        """What the cache says of an answer that came from the upstream."""
        if self.cache is None:
            return ()
        if wanted.bypass is not None:
            detail = wanted.bypass.value
        return (cachecontrol.forwarded(why, stored=stored, collapsed=collapsed, detail=detail),)

    # What is given in place of an error

    def _standby(self, source: Source, found: Found, errand: Errand) -> Source:
        cache, stale = self.cache, found.stale
        if cache is None or stale is None or errand.has_sent():
            return source
        return Standby(source, lambda: open_hit(cache, *stale))

    async def _give_stale(self, instead: Instead, errand: Errand) -> None:
        left_s = instead.hit.entry.life.left_s(self.accounts.clock.now())
        says = cachecontrol.forwarded(
            Forward.STALE, status=instead.status, ttl_s=left_s, detail="stale-if-error"
        )
        await give(instead.hit, errand.wanted.form, (says,), errand.story, errand.client, self.accounts)


def _no_room() -> Refusal:
    """An answer that is promised to whoever repeats the call has to be kept."""
    message = (
        "The gateway has no room to keep the answer to this call, as its Idempotency-Key asks for. Nothing was sent; "
        "please try again later, or without the key."
    )
    return Refusal(Code.STORE_UNAVAILABLE, message, retry_after_ms=5000)
