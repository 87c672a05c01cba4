"""
Who looks after a call that is made here, for whoever wants its answer: its story, its account, and what is kept of it.

An answer may be kept in two places: in the cache, and under the client's `Idempotency-Key`. It is read once, and what is
kept lies in a draft of each.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gateway.core.contents import Contents, Reader
from gateway.core.entry import Entry, kept_headers, original_of
from gateway.core.errors import UpstreamFailed
from gateway.core.flight import Landing, Lost, landing_of
from gateway.core.freshness import Life, Reason, keep
from gateway.core.headers import first, is_event_stream
from gateway.core.observation import Ending
from gateway.flow.account import Accounts
from gateway.flow.flights import Flights, Lead
from gateway.flow.orphans import Orphans
from gateway.flow.replays import Held
from gateway.flow.story import Story
from gateway.flow.tape import Filing, Head, Tape
from gateway.flow.wanted import Terms, Wanted
from gateway.ports import Draft, StoreFailed

_OK = 200
KEEP_S: Final = 2.0
"""What the cache has to take in an answer: those who follow wait for that, and the head of a plain answer."""


@dataclass(frozen=True, slots=True)
class Drafts:
    """Where an answer is written while it comes."""

    cached: Draft | None = None
    promised: Draft | None = None
    """Under its key."""

    @property
    def file(self) -> Filing | None:
        """What a tape writes to; None: it is not to be kept."""
        if self.cached is not None and self.promised is not None:
            return _Both(self.cached, self.promised)
        return self.promised if self.cached is None else self.cached

    async def drop(self) -> None:
        """Let go of all."""
        for draft in (self.cached, self.promised):
            if draft is not None:
                await draft.drop()


class _Both:
    """Two drafts of one answer, one of which may die."""

    def __init__(self, first: Draft, second: Draft) -> None:
        self._drafts = (first, second)

    @property
    def alive(self) -> bool:
        return any(one.alive for one in self._drafts)

    async def write(self, chunk: bytes) -> None:
        for one in self._drafts:
            await one.write(chunk)

    async def read(self, start: int, end: int) -> bytes:
        return await next((one for one in self._drafts if one.alive), self._drafts[0]).read(start, end)


@dataclass(slots=True)
class Crew:
    """
    The crew of one flight.

    Args:
        accounts: who pays.
        orphans: for how long it goes on with nobody aboard.
        flights: how many do already.
        terms: the operator's.
        lead: the right to lead it.
        wanted: what was asked for.
        story: of the request that leads.
        drafts: take its answer.
        held: the key that it is made under.
    """

    accounts: Accounts
    orphans: Orphans
    flights: Flights
    terms: Terms
    lead: Lead
    wanted: Wanted
    story: Story
    drafts: Drafts
    held: Held | None = None
    reader: Reader | None = None
    head: Head | None = None
    size: int = 0

    def came(self, head: Head) -> None:
        """The upstream's head is there."""
        self.head = head
        self.story.came(head)
        if head.status == _OK and self.wanted.key is not None:
            self.reader = Reader(stream=is_event_stream(head.headers))

    def saw(self, chunk: bytes) -> None:
        """A chunk has come."""
        self.size += len(chunk)
        self.story.saw(chunk)
        if self.reader is not None:
            self.reader.feed(chunk)

    def stay_s(self) -> float | None:
        """For how long it may go on with nobody aboard."""
        return self.orphans.stay_s(self.story, self.flights.unattended)

    async def land(self, tape: Tape) -> Landing:
        """The read has ended: keep what is to be kept."""
        story, accounts = self.story, self.accounts
        failed = tape.failure if isinstance(tape.failure, UpstreamFailed) and not tape.is_left else None
        if failed is not None:
            story.failed(failed)
        elif not tape.is_left:
            story.ended()
        clock = accounts.clock
        story.settled(clock.now(), clock.ticks(), accounts.catalog, accounts.rules)
        seen = story.observation
        kept: Life | Reason = Reason.CUT
        if seen is not None and seen.ending is Ending.CLEAN:
            # Both drafts have what the tape's file took.
            is_filed = await tape.filed()
            kept = await self._kept(is_filed=is_filed)
            if self.held is not None:
                promised = self.drafts.promised if is_filed else None
                await self.held.land(story, self.wanted.form, self.head, promised)
        elif self.held is not None:
            await self.held.land(story, self.wanted.form, self.head, None)
        if seen is None or tape.is_left:
            return Lost()
        return landing_of(seen, kept, failed)

    async def _kept(self, *, is_filed: bool) -> Life | Reason:
        """The life of the answer, once it is kept; or why it is not."""
        story, head, key = self.story, self.head, self.wanted.key
        if key is None:
            return self.wanted.bypass or Reason.ROUTE
        if story.call is None or story.observation is None or head is None:
            return Reason.ROUTE
        accounts, now = self.accounts, self.accounts.clock.now()
        contents = self._contents(head)
        life = keep(
            story.call,
            story.observation,
            contents,
            rules=self.terms.life,
            catalog=accounts.catalog,
            now=now,
        )
        if isinstance(life, Reason):
            return life
        if first(head.headers, b"content-encoding") not in {None, b"identity"}:
            # It was not asked for, and would be given without its name.
            return Reason.UNREADABLE
        if self.drafts.cached is None or not is_filed:
            return Reason.STORE
        entry = Entry(
            key=key,
            form=self.wanted.form,
            status=head.status,
            headers=kept_headers(head.headers),
            life=life,
            contents=contents,
            original=original_of(story.record(now, accounts.clock.ticks(), accounts.catalog, accounts.rules)),
        )
        with suppress(StoreFailed, TimeoutError):
            async with asyncio.timeout(KEEP_S):
                if await self.lead.leads() and await self.drafts.cached.commit(entry):
                    return life
        return Reason.STORE

    def _contents(self, head: Head) -> Contents:
        route = "" if self.story.match is None else self.story.match.route.name
        if self.reader is None or not route.startswith("images."):
            return Contents(self.size, is_event_stream(head.headers))
        return self.reader.close()
