"""
Calls whose answer may be given again: from the cache, from the air, or from the upstream for everybody who wants it.

    look up → hit
            → miss → join → lead: reserve, forward, keep
                          → follow: what the leader gets, from the first byte
                          → alone: as a leader whom nobody follows

Whoever is given what somebody else pays for takes a request and a place, and holds no money. A leader's call is read to
its end though its client leaves, if anybody still wants it or the operator wants calls finished: so a client that gave
up and asks again finds its picture, on the way or kept.

A call with an `Idempotency-Key` goes the same way, with its key in hand; one that has no place in the cache flies under
its key alone.

Not here: how an answer comes from the air (aboard.py) or from the cache (giving.py).
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from gateway.core import artefact, cachecontrol
from gateway.core.artefact import Form, Plan
from gateway.core.cachecontrol import Forward
from gateway.core.entry import CacheFilter, CacheStats, Entry
from gateway.core.errors import Code, Refusal, Refused
from gateway.core.flight import Duty, Entrance, name_of
from gateway.core.freshness import Verdict, judge
from gateway.core.headers import Header
from gateway.core.idempotency import Next, Once, State, under_way
from gateway.core.record import CacheUse
from gateway.core.spans import Stage
from gateway.flow.aboard import Aboard
from gateway.flow.account import Accounts
from gateway.flow.errand import Errand, Found
from gateway.flow.exchange import Client
from gateway.flow.flights import Flights, Lead
from gateway.flow.forward import Sender
from gateway.flow.giving import Hit, give, open_hit
from gateway.flow.orphans import Orphans
from gateway.flow.passage import Follow
from gateway.flow.relay import Telling
from gateway.flow.replays import Held, Replays, abandon
from gateway.flow.story import Story
from gateway.flow.tasks import WhilePresent
from gateway.flow.wanted import Terms, Wanted
from gateway.ports import Cache, Clock, StoreFailed

_log = logging.getLogger("imagegate.cache")
TIDY_S = 60.0
BOARDS_S = 5.0
"""From taking a key until its call is in the air, at most."""
SETTLES_S = 5.0
"""What a call that was cut has to be settled when the gateway stops."""
LOOK_S = 0.05
"""Between two looks whether it is."""
_SUCCESS = range(200, 300)


class _NobodyLeads(Exception):  # noqa: N818 - it is what happened, not a failure
    """Nobody who could be followed makes the call."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """
    What one worker shares.

    Args:
        cache: what is kept; None: nothing is, and only calls with an `Idempotency-Key` come here.
        flights: what is in the air.
        replays: what keys were used for.
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
    aboard: Aboard = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is in the air yet."""
        aboard = Aboard(self.cache, self.flights, self.replays, self.accounts, self.orphans, self.terms)
        object.__setattr__(self, "aboard", aboard)

    def takes(self, wanted: Wanted) -> bool:
        """Whether a call is answered here."""
        return wanted.key is not None or wanted.once is not None

    def passes(self, wanted: Wanted, story: Story) -> Telling | None:
        """
        A call that is not answered here goes past the cache. What its answer says of that.

        Raises:
            Refused: 504 `not_cached`: that is not what the client wants.
        """
        story.cache = self._use(wanted)
        if wanted.directives.only_if_cached:
            raise Refused(not_cached())
        if self.cache is None:
            return None
        detail = None if wanted.bypass is None else wanted.bypass.value

        async def telling(_is_whole: bool) -> Sequence[Header]:  # noqa: FBT001 - as the relay asks
            return (cachecontrol.forwarded(Forward.BYPASS, detail=detail),)

        return telling

    def forgets(self, story: Story, response_id: str) -> Telling:
        """A response is deleted upstream. Once it is, and before the client knows, its answer is kept no more."""

        async def telling(_is_whole: bool) -> Sequence[Header]:  # noqa: FBT001 - as the relay asks
            if story.head is not None and story.head.status in _SUCCESS:
                try:
                    await Kept(self.cache, self.replays.answers).purge(CacheFilter(response_id=response_id))
                except StoreFailed as failed:
                    _log.warning("the answer of a deleted response may still be kept: %s", failed)
            return ()

        return telling

    async def answer(self, wanted: Wanted, story: Story, client: Client, sender: Sender) -> None:
        """
        Answer a call that has a key, of the cache or of the client.

        Raises:
            Refused: 429, 503 by the accounts; 504 `not_cached`; 422, 409 of an `Idempotency-Key`.
            UpstreamFailed: as `relay`.
        """
        try:
            await self._answer(Errand(wanted, story, client, sender.open))
        finally:
            if not story.has_set_out:
                sender.close()

    async def _answer(self, errand: Errand) -> None:
        wanted, story = errand.wanted, errand.story
        story.cache = self._use(wanted)
        async with WhilePresent(errand.client.gone):
            await self.accounts.admit(story)
        if wanted.once is None:
            await self._share(errand, None)
        elif wanted.shares:
            await self._share_once(errand, wanted.once)
        else:
            await self._make_once(errand, wanted.once)

    def _use(self, wanted: Wanted) -> CacheUse:
        if self.cache is None:
            return CacheUse.OFF
        return CacheUse.BYPASS if wanted.key is None else CacheUse.MISS

    # Calls that the cache knows

    async def _share(self, errand: Errand, held: Held | None, *, may_lead: bool = True) -> None:
        """
        Look, join, follow or lead.

        Raises:
            _NobodyLeads: it would have to lead, and may not.
        """
        wanted, story = errand.wanted, errand.story
        has_looked_again = False
        while True:
            looked_at = self.accounts.clock.now()
            with story.during(Stage.LOOK_UP):
                found = await self._look(wanted, story, looked_at)
            if found.hit is not None:
                return await self._give(found.hit, errand, held)
            if wanted.directives.only_if_cached:
                raise Refused(not_cached())
            joined = await self._join(errand, looked_at)
            if joined is Entrance.LOOK_AGAIN and not has_looked_again:
                has_looked_again = True
                continue
            if isinstance(joined, Follow):
                duty = await self.aboard.follow(joined, found, errand, held)
                if duty is None:
                    return None
                story.forget_answer()
                if duty is Duty.ELECT:
                    continue
            if not may_lead:
                return await self._join_key(joined, found, errand)
            lead = joined if isinstance(joined, Lead) else await self._alone(held, errand)
            return await self.aboard.lead(lead, found, errand, held)

    async def _alone(self, held: Held | None, errand: Errand) -> Lead:
        """The right to go up without those who ask the same; whoever repeats the call by its key can still follow."""
        if held is not None:
            name = held.once.flight(errand.wanted.form)
            joined = await self.flights.join(
                name, looked_at=self.accounts.clock.now(), has_sent=errand.has_sent
            )
            if isinstance(joined, Lead):
                return joined
            if isinstance(joined, Follow):
                joined.leave()
        return self.flights.alone()

    async def _join_key(self, joined: Lead | Follow | Entrance, found: Found, errand: Errand) -> None:
        """Its key is another call's, which nobody can follow who asks the same: perhaps it flies under the key."""
        if isinstance(joined, Lead):
            joined.abandon()
        once = errand.wanted.once
        if once is not None:
            name = once.flight(errand.wanted.form)
            joined = await self.flights.join(
                name, looked_at=self.accounts.clock.now(), has_sent=errand.has_sent
            )
            if isinstance(joined, Follow) and await self.aboard.follow(joined, found, errand) is None:
                return
            if isinstance(joined, Lead):
                joined.abandon()
        errand.story.forget_answer()
        raise _NobodyLeads

    async def _look(self, wanted: Wanted, story: Story, now: float) -> Found:
        if wanted.key is None or self.cache is None or story.match is None:
            return Found(why=Forward.BYPASS)
        why = Forward.MISS
        fresh: dict[Form, Entry] = {}
        stale: dict[Form, Entry] = {}
        for entry in await self.cache.find(wanted.key):
            verdict = judge(
                entry.life, wanted.directives, now, stale_if_error_s=self.terms.life.stale_if_error_s
            )
            if verdict is Verdict.FRESH:
                fresh[entry.form] = entry
            elif verdict is Verdict.STALE:
                stale[entry.form] = entry
            if verdict is Verdict.UNWANTED:
                why = Forward.REQUEST
            elif verdict is not Verdict.FRESH and why is Forward.MISS:
                why = Forward.STALE
        route = story.match.route.name
        chosen = _chosen(fresh, wanted.form, route)
        hit = None if chosen is None else await open_hit(self.cache, *chosen)
        if hit is not None:
            return Found(hit, why)
        return Found(None, Forward.MISS if chosen else why, _chosen(stale, wanted.form, route))

    async def _give(self, hit: Hit, errand: Errand, held: Held | None) -> None:
        left_s = hit.entry.life.left_s(self.accounts.clock.now())
        if self.cache is not None:
            await self.cache.touch(hit.entry)
        says = (cachecontrol.hit(left_s),)
        form = errand.wanted.form
        copy = None if held is None else await self.replays.draft()
        try:
            await give(hit, form, says, errand.story, errand.client, self.accounts, copy=copy)
            if held is not None and copy is not None:
                await held.keep(hit.entry, form, copy)
        finally:
            if copy is not None:
                await copy.drop()

    async def _join(
        self, errand: Errand, looked_at: float
    ) -> Lead | Follow | Literal[Entrance.LOOK_AGAIN, Entrance.ALONE]:
        wanted = errand.wanted
        if wanted.key is None or not wanted.directives.may_follow:
            return Entrance.ALONE
        name = name_of(wanted.key, wanted.form)
        return await self.flights.join(name, looked_at=looked_at, has_sent=errand.has_sent)

    # Calls with an Idempotency-Key

    async def _share_once(self, errand: Errand, once: Once) -> None:
        """The cache has a place for it: whoever asks the same, with another key or with none, shares it."""
        for _ in range(round(BOARDS_S / LOOK_S)):
            with errand.story.during(Stage.LOOK_UP):
                async with WhilePresent(errand.client.gone):
                    held = await self.replays.begin(once, errand.story)
            match held:
                case Hit():
                    return await self._replay(held, errand)
                case Held():
                    return await self._share_held(errand, held)
                case Next.GO:
                    return await self._share(errand, None)
                case Next.JOIN:
                    with suppress(_NobodyLeads):
                        return await self._share(errand, None, may_lead=False)
            # Whoever has the key is about to.
            async with WhilePresent(errand.client.gone):
                await asyncio.sleep(LOOK_S)
        raise Refused(under_way())

    async def _share_held(self, errand: Errand, held: Held) -> None:
        try:
            await self._share(errand, held)
        except BaseException:
            if not held.is_cared_for:
                held.give_up()
            raise
        if not held.is_cared_for:
            # It was given what somebody else's call had brought, and that could not be kept under the key.
            await held.conclude(State.NOTED if errand.story.status in _SUCCESS else None)

    async def _make_once(self, errand: Errand, once: Once) -> None:
        """It goes past the cache: it flies under its key."""
        wanted, story = errand.wanted, errand.story
        found = Found(why=Forward.BYPASS if wanted.key is None else Forward.REQUEST)
        for _ in range(round(BOARDS_S / LOOK_S)):
            joined = await self.flights.join(
                once.flight(wanted.form),
                looked_at=self.accounts.clock.now(),
                has_sent=errand.has_sent,
            )
            if isinstance(joined, Follow):
                duty = await self.aboard.follow(joined, found, errand)
                if duty is None:
                    return
                story.forget_answer()
                if duty is Duty.ELECT:
                    continue
                break
            lead = joined if isinstance(joined, Lead) else self.flights.alone()
            if await self._begin_once(lead, found, errand, once):
                return
            # Whoever has the key is about to fly, or to give it back.
            async with WhilePresent(errand.client.gone):
                await asyncio.sleep(LOOK_S)
        raise Refused(under_way())

    async def _begin_once(self, lead: Lead, found: Found, errand: Errand, once: Once) -> bool:
        """False: the key is another call's, which is not in the air."""
        try:
            with errand.story.during(Stage.LOOK_UP):
                async with WhilePresent(errand.client.gone):
                    held = await self.replays.begin(once, errand.story)
        except BaseException:
            lead.abandon()
            raise
        if held is Next.JOIN:
            lead.abandon()
            return False
        if isinstance(held, Hit):
            lead.abandon()
            await self._replay(held, errand)
            return True
        mine = held if isinstance(held, Held) else None
        if errand.wanted.directives.only_if_cached:
            await abandon(lead, mine)
            raise Refused(not_cached())
        await self.aboard.lead(lead, found, errand, mine)
        return True

    async def _replay(self, hit: Hit, errand: Errand) -> None:
        says = self.replays.says(hit)
        await give(hit, errand.wanted.form, says, errand.story, errand.client, self.accounts)


async def tidy(caches: Sequence[Cache], clock: Clock) -> None:
    """Keep what is kept in bounds, until cancelled."""
    while True:
        for cache in caches:
            await cache.tidy(clock.now())
        await asyncio.sleep(TIDY_S)


@dataclass(frozen=True, slots=True)
class Kept:
    """
    All answers that are kept, for those who forget them.

    Args:
        cache: what may be given to everybody who asks the same; None: nothing is.
        answers: what was promised to whoever repeats a call.
    """

    cache: Cache | None
    answers: Cache

    async def stats(self) -> CacheStats:
        """
        How full the cache is.

        Raises:
            StoreFailed: see there.
        """
        return CacheStats() if self.cache is None else await self.cache.stats()

    async def purge(self, which: CacheFilter) -> int:
        """
        Forget answers, of both. Returns how many.

        Raises:
            StoreFailed: see there.
        """
        kept = 0 if self.cache is None else await self.cache.purge(which)
        return kept + await self.answers.purge(which)


async def drain(flights: Flights, orphans: Orphans, limit_s: float) -> None:
    """
    Wait for the calls that go on though their clients have left; then cut them, and wait until they are settled.

    Args:
        flights: of this worker.
        orphans: likewise.
        limit_s: seconds until then.
    """
    for patience_s in (limit_s, SETTLES_S):
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while flights.tended or len(orphans):  # noqa: ASYNC110 - it ends seldom enough to be looked for
                    await asyncio.sleep(LOOK_S)
                return
        flights.cut()
        orphans.cut()


def not_cached() -> Refusal:
    """The client wants a kept answer or none, and there is none."""
    message = (
        "There is no kept answer to this request, and it asks for no other (Cache-Control: only-if-cached)."
    )
    return Refusal(Code.NOT_CACHED, message)


def _chosen(kept: dict[Form, Entry], wanted: Form, route: str) -> tuple[Entry, Plan] | None:
    chosen = artefact.choose({form: entry.contents for form, entry in kept.items()}, wanted, route)
    return None if chosen is None else (kept[chosen[0]], chosen[1])
