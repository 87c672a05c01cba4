"""
How a store is asked that may not answer, and what becomes of what it should have been told.

Decided here, and by `core.breaker`: how long anybody waits for it, when nobody asks it any more, and that what is spent
is never forgotten. A settlement that does not land is kept in the outbox, and lands when the store is back, in the order
of keeping: this process does that or, if it dies, whichever finds what it left. If not even the outbox can be written
to, it is kept in memory, and both are tried again.

What is refused meanwhile takes nothing and is not kept, unless it may have taken something in the moment when the store
went away: its line in the log is all there is of it.

Where the operator wants calls to pass all the same, they are written down in the outbox before they go up, and the store
catches up. What cannot be written down does not pass.

What happens to the store is in the log once when it goes away, and once when it is back.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar, assert_never

from gateway.core.breaker import Breaker
from gateway.core.call import Call
from gateway.core.errors import Code
from gateway.core.kept import Due, Entrusted, Entry, Passed, dumps
from gateway.core.ledger import OpenCall, Settlement, Verdict, lost, settles
from gateway.core.quota import Claim, Exceeded, Standing
from gateway.core.record import Outcome, Record
from gateway.ports import Calendar, Clock, Journal, Ledger, Outbox, Pile, StoreFailed

T = TypeVar("T")
ANSWER_S: Final = 1.0
"""How long a client's call waits for the store."""
LANDING_S: Final = 3.0
"""How long a settlement does, for which no client waits."""
PROBE_S: Final = 2.0
"""Between two looks whether it is back."""
STUMBLES: Final = 3
"""Attempts at an entry that breaks its landing, which is a bug; then it is left out."""

_log = logging.getLogger("imagegate.store")


@dataclass(slots=True)
class Keeper:
    """
    One worker's.

    Args:
        ledger: is asked.
        outbox: keeps what it cannot be told.
        journal: is told what became of calls that a dead worker let pass.
        clock: for the breaker, and for what is counted late.
        calendar: for the windows of what is counted late.
        is_open: whether calls pass while the store does not answer.
    """

    ledger: Ledger
    outbox: Outbox
    journal: Journal
    clock: Clock
    calendar: Calendar
    is_open: bool = False
    _breaker: Breaker = field(default_factory=Breaker)
    _is_away: bool = False
    _failures: int = 0
    """How often it has failed: whoever has just heard that it answers sees whether others have not."""
    _landed: int = 0
    """Settlements that have landed since it went away."""
    _due: set[str] = field(default_factory=set)
    """Calls whose settlements wait for it."""
    _doubtful: set[str] = field(default_factory=set)
    """Calls that were refused and may have taken something all the same."""
    _passing: set[str] = field(default_factory=set)
    """Calls under way that were let through uncounted."""
    _uncounted: set[str] = field(default_factory=set)
    """Those of which the ledger does not know yet."""
    _streamed: set[str] = field(default_factory=set)
    """Calls in the background whose clients are still being answered."""
    _leaving: set[str] = field(default_factory=set)
    """Calls whose place could not be given back."""
    _held: list[Entry] = field(default_factory=list)
    """What the outbox could not take."""
    _stumbles: Counter[str] = field(default_factory=Counter)
    """How often the landing of a call's entry broke, though the store answered."""
    _aside: set[str] = field(default_factory=set)
    """Calls of which what the store holds is damaged: theirs wait behind all others."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_away(self) -> bool:
        """Whether the store did not do what it was asked, and has not been seen to answer since."""
        return self._is_away

    @property
    def waiting(self) -> int:
        """Settlements that wait for the store, as far as this process has them in its care."""
        return len(self._due)

    @property
    def pause_s(self) -> float:
        """When to try again: a second at least."""
        return max(ANSWER_S, self._breaker.pause_s(self.clock.ticks()))

    async def admit(self, claim: Claim) -> Standing | Exceeded:
        """
        As `Ledger.admit`, within a second.

        Raises:
            StoreFailed: it did not answer, or is not asked at the moment.
        """
        return await self._ask(claim.id, lambda: self.ledger.admit(claim))

    async def reserve(self, call: OpenCall, claim: Claim) -> Standing | Exceeded:
        """
        As `Ledger.reserve`, within a second.

        Raises:
            StoreFailed: likewise. What it may have taken is given back when the call's record is settled.
        """
        return await self._ask(claim.id, lambda: self.ledger.reserve(call, claim))

    async def ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        """
        What the store answers within a second, whatever lies beside the ledger.

        Raises:
            StoreFailed: it did not answer, or is not asked at the moment.
        """
        return await self._ask(None, ask)

    async def let_pass(self, call: OpenCall, claim: Claim) -> None:
        """
        Write a call down that passes uncounted. Its record will say so by its code, where it has no other.

        Raises:
            StoreFailed: it cannot be written down, and must not pass.
        """
        known = replace(call.record, code=Code.STORE_UNAVAILABLE.code)
        await self.outbox.keep(Passed(known, claim.claimants, claim.asked))
        self._doubtful.discard(known.id)
        self._passing.add(known.id)
        self._uncounted.add(known.id)

    def told(self, record: Record) -> Record:
        """The record, with what is to be said of a call that passed uncounted."""
        if record.id in self._passing and record.code is None:
            return replace(record, code=Code.STORE_UNAVAILABLE.code)
        return record

    async def leave(self, call_id: str) -> None:
        """As `Ledger.leave`, sooner or later."""
        self._doubtful.discard(call_id)
        if not self._is_away:
            try:
                async with _within(LANDING_S):
                    return await self.ledger.leave(call_id)
            except StoreFailed as failed:
                self.failed(failed)
        self._leaving.add(call_id)
        return None

    async def entrust(
        self, record_id: str, response_id: str, deadline: float, asked: Call | None, *, leaves: bool = True
    ) -> bool:
        """As `Ledger.entrust`, sooner or later."""
        if leaves:
            self._streamed.discard(record_id)
        else:
            self._streamed.add(record_id)
        if not self._is_away and record_id not in self._uncounted:
            try:
                async with _within(LANDING_S):
                    return await self.ledger.entrust(record_id, response_id, deadline, asked, leaves=leaves)
            except StoreFailed as failed:
                self.failed(failed)
        await self._keep(Entrusted(record_id, response_id, deadline, asked))
        if leaves:
            self._passing.discard(record_id)
        return True

    async def settle(self, record: Record, images: int) -> Settlement | None:
        """As `Ledger.settle`, sooner or later. None: later, or never, as it was refused while the store was away."""
        is_doubtful = record.id in self._doubtful
        self._doubtful.discard(record.id)
        self._passing.discard(record.id)
        self._streamed.discard(record.id)
        if not self._is_away and record.id not in self._uncounted:
            try:
                async with _within(LANDING_S):
                    found = await self.ledger.settle(record, images)
            except StoreFailed as failed:
                self.failed(failed)
            else:
                warn_if_shared(record, found)
                return found
        if record.outcome is not Outcome.REFUSED or is_doubtful:
            await self._keep(Due(record, images))
        return None

    def failed(self, failed: StoreFailed) -> None:
        """The store did not do what it was asked."""
        if failed.damaged:
            _log.error("%s. Others are not concerned; imagegate verify tells of it.", failed)
            return
        self._breaker = self._breaker.failed(self.clock.ticks())
        self._failures += 1
        if self._is_away:
            return
        self._is_away = True
        self._landed = 0
        calls = "pass uncounted" if self.is_open else "are refused"
        _log.error("%s. Until it is back calls %s, and settlements are kept in the outbox.", failed, calls)
        self._news.set()

    async def run(self) -> None:
        """Look after what waits, until cancelled."""
        while True:
            await self.catch_up()
            # While it is away there is news all the time, and all of it waits for the same.
            if self._is_away:
                await asyncio.sleep(PROBE_S)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(PROBE_S):
                        await self._news.wait()

    async def catch_up(self) -> None:
        """Tell the store what it was not told; if it does not answer, it is away, or still is."""
        self._news.clear()
        failures = self._failures
        try:
            await self._keep_held()
            if self._is_away:
                # A write like any other: a look, or a transaction without one, proves nothing of a disk that is full.
                async with _within(LANDING_S):
                    await self.ledger.beat()
            await self._land_all()
        except StoreFailed as failed:
            self.failed(failed)
            return
        except Exception:  # noqa: BLE001 - the task that brings settlements home must not end
            _log.exception("what waits for the store could not be landed")
            return
        if self._failures != failures:
            # It failed somebody else meanwhile: it is asked again.
            return
        if self._is_away:
            self._is_away = False
            self._breaker = self._breaker.succeeded()
            _log.warning("the store answers again; %d settlements that were kept have landed", self._landed)
        elif self._landed:
            _log.warning("%d settlements that were kept earlier have landed", self._landed)
        self._landed = 0

    async def aclose(self) -> None:
        """Once more what could not be kept on the disk; the rest waits for the next start."""
        if self._held:
            await self.catch_up()
        for entry in self._held:
            _log.error("lost with this process: %s", dumps(entry).decode())
        await self.outbox.aclose()

    async def _ask(self, call_id: str | None, ask: Callable[[], Awaitable[T]]) -> T:
        now = self.clock.ticks()
        if not self._breaker.lets_pass(now):
            raise StoreFailed("it has not answered for a while, and is not asked now", unknown=False)
        self._breaker = self._breaker.asked(now)
        try:
            async with _within(ANSWER_S):
                found = await ask()
        except StoreFailed as failed:
            if failed.unknown and call_id is not None:
                self._doubtful.add(call_id)
            self.failed(failed)
            raise
        self._breaker = self._breaker.succeeded()
        return found

    async def _keep(self, entry: Entry) -> None:
        if isinstance(entry, Due):
            self._due.add(entry.call_id)
        try:
            await self.outbox.keep(entry)
        except StoreFailed as failed:
            if not self._held:
                _log.error("%s; what is settled now is in memory only, until the store is back", failed)
            self._held.append(entry)
        if not self._is_away:
            self._news.set()

    async def _land_all(self) -> None:
        for pile in await self.outbox.waiting():
            await self._land_pile(pile)
        while self._held:
            await self._land_or_set_aside(self._held[0])
            del self._held[0]
        for call_id in tuple(self._leaving):
            try:
                async with _within(LANDING_S):
                    await self.ledger.leave(call_id)
            except StoreFailed as failed:
                if not failed.damaged:
                    raise
                self.failed(failed)
            self._leaving.discard(call_id)

    async def _land_pile(self, pile: Pile) -> None:
        known = {entry.call_id for entry in pile.entries if not isinstance(entry, Passed)}
        self._due.update(entry.call_id for entry in pile.entries if isinstance(entry, Due))
        count = 0
        try:
            for entry in pile.entries:
                await self._land_or_set_aside(entry)
                if isinstance(entry, Passed) and not pile.is_own and entry.call_id not in known:
                    await self._lose(entry)
                count += 1
        finally:
            # Landing twice is harmless: not to be able to say so is no reason to stop.
            with suppress(StoreFailed):
                await self.outbox.landed(pile.worker, count)

    async def _land_or_set_aside(self, entry: Entry) -> None:
        """One that the store cannot take would stand in the way, and may be mended one day: it waits behind all others."""
        try:
            await self._land(entry)
        except StoreFailed as failed:
            if not failed.damaged:
                raise
            await self.outbox.keep(entry)
            if entry.call_id not in self._aside:
                self._aside.add(entry.call_id)
                _log.error("%s is kept in the outbox until that is mended: %s", entry.call_id, failed)

    async def _keep_held(self) -> None:
        """What the outbox could not take, perhaps it can now."""
        with suppress(StoreFailed):
            while self._held:
                await self.outbox.keep(self._held[0])
                del self._held[0]

    async def _land(self, entry: Entry) -> None:
        try:
            async with _within(LANDING_S):
                await self._tell(entry)
        except StoreFailed:
            raise
        except Exception as error:
            self._stumbles[entry.call_id] += 1
            if self._stumbles[entry.call_id] < STUMBLES:
                raise StoreFailed(f"{entry.call_id} could not be landed: {error!r}", unknown=True) from error
            # It would stand in the way of all others for ever. This is a bug, and the log has all that is known.
            _log.exception("it cannot be landed, and is left out: %s", dumps(entry).decode())
        if isinstance(entry, Due):
            self._landed += 1
            self._due.discard(entry.call_id)
        if isinstance(entry, Passed):
            self._uncounted.discard(entry.call_id)

    async def _tell(self, entry: Entry) -> None:
        match entry:
            case Due():
                warn_if_shared(entry.record, await self.ledger.settle(entry.record, entry.images))
            case Entrusted():
                leaves = entry.call_id not in self._streamed
                await self.ledger.entrust(
                    entry.call_id, entry.response_id, entry.deadline, entry.asked, leaves=leaves
                )
            case Passed():
                claim = entry.claim(self.calendar.frames(self.clock.now()))
                await self.ledger.reserve(entry.noted, claim, force=True)
            case _:
                assert_never(entry)

    async def _lose(self, entry: Passed) -> None:
        """Its worker died before it was over: most likely the upstream did the work."""
        record = lost(entry.noted, self.clock.now())
        async with _within(LANDING_S):
            await self.ledger.settle(record, entry.asked.images)
        self.journal.write(record)


def warn_if_shared(record: Record, found: Settlement) -> None:
    """Say that the upstream gave the id of a response twice: the call that was given to the ledger keeps its own charge."""
    given = settles(record)
    if found.verdict is Verdict.WRITTEN and given is not None and found.record.response_id is None:
        _log.warning(
            "%s shows response %s, which another call pays for: the upstream gave this id twice. Both calls are charged.",
            record.id,
            given,
        )


@asynccontextmanager
async def _within(limit_s: float) -> AsyncIterator[None]:
    """
    A block that the store has to answer in.

    A loop that stood still for a while (a large body was parsed) is not the store's fault: time is counted in two halves,
    of which a pause takes one at most, and an answer that lies there when time is up is taken.

    Raises:
        StoreFailed: it did not, or failed.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None
    try:
        async with asyncio.timeout(None) as limit:

            def half() -> None:
                nonlocal timer
                timer = loop.call_later(limit_s / 2, end)

            def end() -> None:
                limit.reschedule(loop.time())

            timer = loop.call_later(limit_s / 2, half)
            try:
                yield
            finally:
                timer.cancel()
    except TimeoutError as error:
        raise StoreFailed(f"no answer in {limit_s:g} s", unknown=True) from error
