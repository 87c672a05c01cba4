"""
Responses that run in the background upstream: looked after until it is known what they cost.

Money does not wait for the client to come back: this worker asks on its own, soon at first and then less often. Who
else sees the end of a response (a GET of its client, a cancel) settles it too; the ledger takes the first, and replaces
one that was estimated by what is reported later.

Only an end settles: a terminal status, or a terminal event, of this very response. Whatever else the upstream says (a
page of a proxy, a status that nobody knows, an error) is asked again, until the deadline. That there is no such
response is believed when it was said `MISSES` times in a row.

A response whose stream this worker still reads is in its hands: it is written down, but not asked for.

Also here, as the same round does it: the beat by which other workers know that this one lives, the calls that dead
workers left behind, and the records that have grown too old.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain, repeat

from gateway.core.catalog import Catalog
from gateway.core.errors import UpstreamFailed
from gateway.core.ledger import OpenCall, Verdict, is_provisional
from gateway.core.meter import Meter
from gateway.core.observation import End, Ending, Observation, unanswered
from gateway.core.pricing import AccountingRules
from gateway.core.record import Outcome, Record, TokensFrom
from gateway.core.routes import ID
from gateway.core.settle_later import as_recorded, settle_later
from gateway.flow.keep import warn_if_shared
from gateway.flow.tasks import spawn
from gateway.ports import Clock, Journal, Ledger, StoreFailed, Upstream, UpstreamRequest

ROUND_S = 5.0
"""Between two beats; a worker is dead after four missed ones."""
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Before each look at a response; the last one repeats."""
MISSES = 3
"""Times in a row that the upstream does not know a response, until that is believed: then it was deleted."""
LAST_LOOK_S = 1.5
"""How long a client that ends a response waits while it is looked at."""

_OK = 200
_NOT_FOUND = 404
_ENDED = frozenset({"completed", "incomplete", "failed", "cancelled"})
_FOREGROUND_ENDS = frozenset({Outcome.CLIENT_GONE, Outcome.UPSTREAM_CUT})
_log = logging.getLogger("imagegate.background")


@dataclass(slots=True)
class Background:
    """
    One worker's care.

    Args:
        ledger: knows the open calls.
        upstream: is asked.
        journal: is told of what ended.
        clock: for the end of a call.
        catalog: prices and rules.
        rules: the operator's.
        retention_s: of records.
        failed: is told when the ledger fails.
    """

    ledger: Ledger
    upstream: Upstream
    journal: Journal
    clock: Clock
    catalog: Catalog
    rules: AccountingRules
    retention_s: float
    """How long records are kept."""
    failed: Callable[[StoreFailed], None] = lambda failed: _log.warning("%s", failed)
    """Is told when the ledger fails."""
    _watched: dict[str, asyncio.Task[object]] = field(default_factory=dict)
    _in_hand: set[str] = field(default_factory=set)
    """Calls whose streams this worker reads: it will see their ends."""
    _is_unsure: bool = True
    """Whether others may be silent because nobody could beat: this worker could not, or has only just started."""

    async def run(self) -> None:
        """Round after round, until cancelled. A store that is down is asked again in the next one."""
        try:
            while True:
                try:
                    await self._round()
                except StoreFailed as failed:
                    self._is_unsure = True
                    self.failed(failed)
                await asyncio.sleep(ROUND_S)
        finally:
            for watching in self._watched.values():
                watching.cancel()

    async def seen(self, observation: Observation) -> None:
        """
        Somebody saw a response: if it has come to its end, settle it if it is open in the ledger.

        One that was estimated there, or lost, is corrected by what is reported.

        Raises:
            StoreFailed: the ledger could not be asked, or written to.
        """
        response_id = observation.response_id
        if response_id is None or not _has_ended(observation, response_id):
            return
        match await self.ledger.response(response_id):
            case OpenCall() as call:
                await self._settle(call, observation)
            case Record() as known if is_provisional(known):
                await self._correct(known, observation)
            case _:
                pass

    async def look_first(self, response_id: str) -> None:
        """
        A client is about to end a response, after which nobody may learn what it came to: look at it before.

        It waits `LAST_LOOK_S` at most, and never raises.
        """
        looking = spawn(f"look at {response_id}", self._look_at(response_id))
        await asyncio.wait([looking], timeout=LAST_LOOK_S)

    def hold(self, call_id: str) -> None:
        """This worker reads the stream of a call: it is not asked for."""
        self._in_hand.add(call_id)

    def let_go(self, call_id: str) -> None:
        """It does no more: if the call is still open, it is asked for."""
        self._in_hand.discard(call_id)

    async def _round(self) -> None:
        # Who was silent while the store was down is not dead for that: the silence of all begins anew.
        await self.ledger.beat(pardon=self._is_unsure)
        self._is_unsure = False
        await self.ledger.prune(self.clock.now() - self.retention_s)
        for record in await self.ledger.reap():
            self.journal.write(record)
        for call in await self.ledger.adopt(self._watched.keys() | self._in_hand):
            name = call.record.id
            self._watched[name] = spawn(f"background {name}", self._watch(call))

    async def _watch(self, call: OpenCall) -> None:
        try:
            misses = 0
            for pause_s in chain(PAUSES_S, repeat(PAUSES_S[-1])):
                await asyncio.sleep(pause_s)
                try:
                    seen = await self._look(call.record)
                    misses = misses + 1 if seen is not None and seen.status == _NOT_FOUND else 0
                    if await self._is_settled(call, unanswered(sent=True) if misses >= MISSES else seen):
                        return
                except UpstreamFailed as failed:
                    _log.warning("%s: %s", call.record.id, failed)
                except StoreFailed as failed:
                    self.failed(failed)
        finally:
            del self._watched[call.record.id]

    async def _is_settled(self, call: OpenCall, seen: Observation | None) -> bool:
        """Whether it is over, by what was seen now."""
        if seen is not None and (seen.status is None or _has_ended(seen, call.record.response_id)):
            # Without a status: it was deleted, and nobody will learn any more what it came to.
            await self._settle(call, seen)
            return True
        # Somebody else may have seen its end, or it was lost at its deadline.
        return await self.ledger.record(call.record.id) is not None

    async def _look_at(self, response_id: str) -> None:
        try:
            known = await self.ledger.response(response_id)
            if isinstance(known, OpenCall):
                seen = await self._look(known.record)
            elif known is not None and is_provisional(known):
                seen = await self._look(known)
            else:
                return
            if seen is not None and seen.response_id == response_id:
                await self.seen(seen)
        except (UpstreamFailed, StoreFailed) as failed:
            _log.warning("%s could not be looked at before its end: %s", response_id, failed)

    async def _look(self, record: Record) -> Observation | None:
        """What the upstream says of the response now; None: it cannot be asked for, or it failed to say."""
        response_id = record.response_id or ""
        if not ID.match(response_id) or record.credential is None:
            return None
        asking = UpstreamRequest("GET", f"/responses/{response_id}", b"", (), None, record.credential)
        try:
            reply = await self.upstream.open(asking)
        except LookupError:
            # Its credential is configured no more. If nobody brings it back, the call is lost at its deadline.
            return None
        try:
            if reply.status not in {_OK, _NOT_FOUND}:
                return None
            meter = Meter(reply.status, reply.headers)
            async for chunk in reply.chunks():
                meter.feed(chunk)
            return meter.close(Ending.CLEAN)
        finally:
            await reply.aclose()

    async def _settle(self, call: OpenCall, observation: Observation) -> None:
        known, now = call.record, self.clock.now()
        settled = settle_later(observation, call, self.catalog, self.rules)
        record = replace(
            settled.into(known),
            outcome=settled.outcome,
            # What was noted with it is that it passed uncounted.
            code=settled.code or known.code,
            duration_ms=round((now - known.at) * 1000, 3),
        )
        await self._write(record, settled.charged_images)

    async def _correct(self, known: Record, observation: Observation) -> None:
        """What is reported takes the place of a guess; nothing else does."""
        noted = OpenCall(record=known, dispatched=True, call=as_recorded(known))
        settled = settle_later(observation, noted, self.catalog, self.rules)
        if settled.tokens_from is TokensFrom.REPORTED:
            # That its client left, or the answer broke off, stays true.
            outcome = known.outcome if known.outcome in _FOREGROUND_ENDS else settled.outcome
            record = replace(settled.into(known), outcome=outcome, code=settled.code or known.code)
            await self._write(record, settled.charged_images)

    async def _write(self, record: Record, images: int) -> None:
        found = await self.ledger.settle(record, images)
        warn_if_shared(record, found)
        if found.verdict is not Verdict.REPEATED:
            self.journal.write(found.record, counts=found.verdict is Verdict.WRITTEN)


def _has_ended(seen: Observation, response_id: str | None) -> bool:
    """Whether this is the end of that response. An `error` alone ends a stream, not what runs in the background."""
    if response_id is None or seen.response_id != response_id:
        return False
    return seen.response_status in _ENDED or (seen.end is not End.NONE and not seen.pending)
