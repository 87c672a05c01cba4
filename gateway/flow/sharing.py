"""
Calls whose answer may be given again: from the cache, from the air, or from the upstream for everybody who wants it.

    look up → hit
            → miss → join → lead: reserve, forward, keep
                          → follow: what the leader gets, from the first byte
                          → alone: as a leader whom nobody follows

Whoever is given what somebody else pays for takes a request and a place, and holds no money. A leader's call is read to
its end though its client leaves, if anybody still wants it or the operator wants calls finished: so a client that gave
up and asks again finds its picture, on the way or kept.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from gateway.core import artefact, cachecontrol
from gateway.core.artefact import Cutter, Form, Plan
from gateway.core.cachecontrol import Forward
from gateway.core.contents import Contents, Reader
from gateway.core.entry import Entry, kept_headers, original_of
from gateway.core.errors import Code, Refusal, Refused, UpstreamFailed
from gateway.core.flight import Duty, Entrance, Landing, Stored, Withheld, landing_of, name_of
from gateway.core.freshness import Life, Reason, Verdict, judge, keep
from gateway.core.headers import STREAM_HEADERS, Header, cost, is_event_stream
from gateway.core.observation import Ending, unanswered
from gateway.core.record import CacheUse, Outcome
from gateway.core.units import NanoUSD
from gateway.flow.account import Accounts
from gateway.flow.exchange import Client
from gateway.flow.fetch import OpenReply
from gateway.flow.flights import Flights, Lead
from gateway.flow.forward import Sender
from gateway.flow.orphans import Orphans
from gateway.flow.passage import Follow, Passage, Stranded
from gateway.flow.relay import Telling, of_us, relay
from gateway.flow.story import Story
from gateway.flow.tape import Head, Tape
from gateway.flow.tasks import ClientGoneError, WhilePresent, spawn
from gateway.flow.wanted import Terms, Wanted
from gateway.ports import Cache, CacheBody, Draft, StoreFailed

_log = logging.getLogger("imagegate.cache")
TIDY_S = 60.0
_OK = 200


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer that may be given."""

    entry: Entry
    body: CacheBody
    plan: Plan


@dataclass(frozen=True, slots=True)
class Sharing:
    """
    What one worker shares.

    Args:
        cache: what is kept.
        flights: what is in the air.
        accounts: who pays.
        orphans: how calls go on whose client has left.
        terms: the operator's.
    """

    cache: Cache
    flights: Flights
    accounts: Accounts
    orphans: Orphans
    terms: Terms

    async def tidy(self) -> None:
        """Keep the cache in bounds, until cancelled."""
        while True:
            await self.cache.tidy(self.accounts.clock.now())
            await asyncio.sleep(TIDY_S)

    def passes(self, wanted: Wanted, story: Story) -> Telling:
        """
        A call that has no key goes past the cache. What its answer says of that.

        Raises:
            Refused: 504 `not_cached`: that is not what the client wants.
        """
        if wanted.directives.only_if_cached:
            raise Refused(not_cached())
        story.cache = CacheUse.BYPASS
        detail = None if wanted.bypass is None else wanted.bypass.value

        async def telling(_is_whole: bool) -> Sequence[Header]:  # noqa: FBT001 - as the relay asks
            return (cachecontrol.forwarded(Forward.BYPASS, detail=detail),)

        return telling

    async def answer(self, wanted: Wanted, story: Story, client: Client, sender: Sender) -> None:
        """
        Answer a call that has a key.

        Raises:
            Refused: 429, 503 by the accounts; 504 `not_cached`.
            UpstreamFailed: as `relay`.
        """
        try:
            await self._answer(wanted, story, client, sender.open)
        finally:
            if not story.has_set_out:
                sender.close()

    async def _answer(self, wanted: Wanted, story: Story, client: Client, open_reply: OpenReply) -> None:
        story.cache = CacheUse.MISS
        async with WhilePresent(client.gone):
            await self.accounts.admit(story)
        while True:
            looked_at = self.accounts.clock.now()
            hit, why = await self._look(wanted, story, looked_at)
            if hit is not None:
                return await self._give(hit, wanted, story, client, looked_at)
            if wanted.directives.only_if_cached:
                raise Refused(not_cached())
            joined = await self._join(wanted, story, looked_at)
            if joined is Entrance.LOOK_AGAIN:
                continue
            if isinstance(joined, Follow):
                duty = await self._follow(joined, why, story, client)
                if duty is None:
                    return None
                story.forget_answer()
                if duty is Duty.ELECT:
                    continue
            lead = joined if isinstance(joined, Lead) else self.flights.alone()
            return await self._lead(lead, wanted, why, story, client, open_reply)

    async def _look(self, wanted: Wanted, story: Story, now: float) -> tuple[Hit | None, Forward]:
        if wanted.key is None or story.match is None:
            return None, Forward.BYPASS
        found = await self.cache.find(wanted.key)
        why = Forward.MISS
        fresh = {}
        for entry in found:
            verdict = judge(
                entry.life, wanted.directives, now, stale_if_error_s=self.terms.life.stale_if_error_s
            )
            if verdict is Verdict.FRESH:
                fresh[entry.form] = entry
            elif verdict is Verdict.UNWANTED:
                why = Forward.REQUEST
            elif why is Forward.MISS:
                why = Forward.STALE
        kept = {form: entry.contents for form, entry in fresh.items()}
        chosen = artefact.choose(kept, wanted.form, story.match.route.name)
        if chosen is None:
            return None, why
        form, plan = chosen
        body = await self.cache.open(fresh[form])
        return (None, Forward.MISS) if body is None else (Hit(fresh[form], body, plan), why)

    async def _give(self, hit: Hit, wanted: Wanted, story: Story, client: Client, now: float) -> None:
        entry, clock = hit.entry, self.accounts.clock
        try:
            story.hit(entry)
            headers = _head_of(hit, wanted.form, story)
            headers.append((b"content-length", str(artefact.length(hit.plan)).encode("ascii")))
            headers.append(cachecontrol.hit(entry.life.left_s(now)))
            headers.append(cachecontrol.age(entry.life.age_s(now)))
            headers.extend(cost(NanoUSD(0), 0))
            headers.extend(of_us(story, None, clock))
            await self.cache.touch(entry)
            async with WhilePresent(client.gone):
                story.answered(clock.ticks())
                await client.start(entry.status, headers)
                cutter = Cutter(hit.plan)
                async for chunk in hit.body.chunks():
                    for piece in cutter.feed(chunk):
                        await client.send(piece)
                        story.passed(piece)
                    if cutter.done:
                        break
                await self.accounts.make_room(story)
                await client.end()
                story.outcome = Outcome.COMPLETED
        finally:
            hit.body.close()

    async def _join(
        self, wanted: Wanted, story: Story, looked_at: float
    ) -> Lead | Follow | Literal[Entrance.LOOK_AGAIN, Entrance.ALONE]:
        if wanted.key is None or not wanted.directives.may_follow:
            return Entrance.ALONE
        name = name_of(wanted.key, wanted.form)
        return await self.flights.join(
            name, looked_at=looked_at, has_sent=lambda: story.first_byte_at is not None
        )

    async def _follow(
        self, follow: Follow, why: Forward, story: Story, client: Client
    ) -> Literal[Duty.ELECT, Duty.ALONE] | None:
        """None: it has its answer."""
        story.cache = CacheUse.COLLAPSED

        async def telling(_is_whole: bool) -> Sequence[Header]:  # noqa: FBT001 - as the relay asks
            return (cachecontrol.forwarded(why, collapsed=True),)

        try:
            async with WhilePresent(client.gone):
                await relay(follow, client, story, self.accounts, telling=telling)
        except Stranded as stranded:
            story.cache = CacheUse.MISS
            return stranded.duty
        finally:
            follow.leave()
        return None

    async def _lead(
        self, lead: Lead, wanted: Wanted, why: Forward, story: Story, client: Client, open_reply: OpenReply
    ) -> None:
        try:
            async with WhilePresent(client.gone):
                await self.accounts.begin(story)
                draft = await self.cache.draft()
        except BaseException:
            lead.abandon()
            raise
        story.has_set_out = True
        passage = lead.take_off(open_reply, _Crew(self, lead, wanted, story, draft), draft)
        spawn(f"flight {story.arrival.id}", self._close(lead, story, draft))

        async def telling(is_whole: bool) -> Sequence[Header]:  # noqa: FBT001 - as the relay asks
            landing = await lead.over() if is_whole else None
            detail = landing.reason.value if isinstance(landing, Withheld) else None
            return (cachecontrol.forwarded(why, stored=isinstance(landing, Stored), detail=detail),)

        await self._ride(passage, lead, story, client, telling)

    async def _ride(
        self,
        passage: Passage,
        lead: Lead,
        story: Story,
        client: Client,
        telling: Telling,
    ) -> None:
        try:
            async with WhilePresent(client.gone):
                await relay(passage, client, story, self.accounts, telling=telling, is_seen=True)
                await lead.over()
        except ClientGoneError:
            story.outcome = Outcome.CLIENT_GONE
            story.is_orphan = True
            self.accounts.leave(story)
        finally:
            passage.leave()

    async def _close(self, lead: Lead, story: Story, draft: Draft | None) -> None:
        try:
            await lead.over()
            if story.is_orphan:
                await self.accounts.conclude(story)
            await lead.closed()
        finally:
            if draft is not None:
                await draft.drop()


@dataclass(slots=True)
class _Crew:
    """Looks after a call that is made here, for whoever wants its answer."""

    sharing: Sharing
    lead: Lead
    wanted: Wanted
    story: Story
    draft: Draft | None
    reader: Reader | None = None
    head: Head | None = None
    size: int = 0

    def came(self, head: Head) -> None:
        self.head = head
        self.story.came(head)
        if head.status == _OK:
            self.reader = Reader(stream=is_event_stream(head.headers))

    def saw(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.story.saw(chunk)
        if self.reader is not None:
            self.reader.feed(chunk)

    def stay_s(self) -> float | None:
        return self.sharing.orphans.stay_s(self.story, self.sharing.flights.unattended)

    async def land(self, tape: Tape) -> Landing:
        failed = tape.failure if isinstance(tape.failure, UpstreamFailed) else None
        story, accounts = self.story, self.sharing.accounts
        if failed is not None:
            story.failed(failed)
        elif not tape.is_left:
            story.ended()
        clock = accounts.clock
        story.settled(clock.now(), clock.ticks(), accounts.catalog, accounts.rules)
        seen = story.observation
        if seen is None:
            # It was left before it went up.
            return landing_of(unanswered(sent=False), Reason.CUT, failed)
        kept: Life | Reason = Reason.CUT
        if seen.ending is Ending.CLEAN:
            kept = await self._kept(tape)
        return landing_of(seen, kept, failed)

    async def _kept(self, tape: Tape) -> Life | Reason:
        """The life of the answer, once it is kept; or why it is not."""
        story, head, key = self.story, self.head, self.wanted.key
        if story.call is None or story.observation is None or head is None or key is None:
            return Reason.ROUTE
        accounts, now = self.sharing.accounts, self.sharing.accounts.clock.now()
        contents = self._contents(head)
        life = keep(
            story.call,
            story.observation,
            contents,
            rules=self.sharing.terms.life,
            catalog=accounts.catalog,
            now=now,
        )
        if isinstance(life, Reason) or self.draft is None:
            return life if isinstance(life, Reason) else Reason.STORE
        entry = Entry(
            key=key,
            form=self.wanted.form,
            status=head.status,
            headers=kept_headers(head.headers),
            life=life,
            contents=contents,
            original=original_of(story.record(now, accounts.clock.ticks(), accounts.catalog, accounts.rules)),
        )
        with suppress(StoreFailed):
            if await tape.filed() and await self.lead.leads() and await self.draft.commit(entry):
                return life
        return Reason.STORE

    def _contents(self, head: Head) -> Contents:
        route = "" if self.story.match is None else self.story.match.route.name
        if self.reader is None or not route.startswith("images."):
            return Contents(self.size, is_event_stream(head.headers))
        return self.reader.close()


def not_cached() -> Refusal:
    """The client wants a kept answer or none, and there is none."""
    message = (
        "There is no kept answer to this request, and it asks for no other (Cache-Control: only-if-cached)."
    )
    return Refusal(Code.NOT_CACHED, message)


def _head_of(hit: Hit, wanted: Form, story: Story) -> list[Header]:
    """The head of an answer from the cache, as far as the cache knows it."""
    entry = hit.entry
    headers = [
        (name, value) for name, value in entry.headers if wanted == entry.form or name != b"content-type"
    ]
    if wanted != entry.form:
        headers.append((b"content-type", artefact.content_type(wanted)))
    if is_event_stream(headers):
        headers.extend(STREAM_HEADERS)
    headers.append((b"x-request-id", story.arrival.id.encode("ascii")))
    return headers
