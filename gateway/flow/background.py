"""
Responses that run in the background upstream: looked after until it is known what they cost.

Money does not wait for the client to come back: this worker asks on its own, soon at first and then less often. Who
else sees the end of a response (a GET of its client, a cancel) settles it too; the ledger takes the first.

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
from gateway.core.ledger import OpenCall, Verdict
from gateway.core.meter import Meter
from gateway.core.observation import Ending, Observation, unanswered
from gateway.core.pricing import AccountingRules
from gateway.core.record import Record
from gateway.core.routes import ID
from gateway.core.settle_later import settle_later
from gateway.flow.tasks import spawn
from gateway.ports import Clock, Journal, Ledger, StoreFailed, Upstream, UpstreamRequest

ROUND_S = 5.0
"""Between two beats; a worker is dead after four missed ones."""
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Before each look at a response; the last one repeats."""

_OK = 200
_NOT_FOUND = 404
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
        Somebody saw a response: if it has come to its end and is open in the ledger, settle it.

        Raises:
            StoreFailed: the ledger could not be asked, or written to.
        """
        if observation.response_id is None or observation.pending:
            return
        known = await self.ledger.response(observation.response_id)
        if isinstance(known, OpenCall):
            await self._settle(known, observation)

    async def _round(self) -> None:
        # Who was silent while the store was down is not dead for that: the silence of all begins anew.
        await self.ledger.beat(pardon=self._is_unsure)
        self._is_unsure = False
        await self.ledger.prune(self.clock.now() - self.retention_s)
        for record in await self.ledger.reap():
            self.journal.write(record)
        for call in await self.ledger.adopt(self._watched):
            name = call.record.id
            self._watched[name] = spawn(f"background {name}", self._watch(call))

    async def _watch(self, call: OpenCall) -> None:
        try:
            for pause_s in chain(PAUSES_S, repeat(PAUSES_S[-1])):
                await asyncio.sleep(pause_s)
                if await self._is_settled(call):
                    return
        finally:
            del self._watched[call.record.id]

    async def _is_settled(self, call: OpenCall) -> bool:
        """Look once; whether it is over."""
        try:
            observation = await self._look(call.record)
            if observation is not None and not observation.pending:
                await self._settle(call, observation)
                return True
            # Somebody else may have seen its end, or it was lost at its deadline.
            return not isinstance(await self.ledger.response(call.record.response_id or ""), OpenCall)
        except UpstreamFailed as failed:
            _log.warning("%s: %s", call.record.id, failed)
            return False
        except StoreFailed as failed:
            self.failed(failed)
            return False

    async def _look(self, record: Record) -> Observation | None:
        """What the upstream says of the response now; None: nothing that could be settled by."""
        response_id = record.response_id or ""
        if not ID.match(response_id) or record.credential is None:
            return None
        reply = await self.upstream.open(
            UpstreamRequest("GET", f"/responses/{response_id}", b"", (), None, record.credential)
        )
        try:
            if reply.status == _NOT_FOUND:
                # It was deleted: nobody will learn any more what it came to.
                return unanswered(sent=True)
            if reply.status != _OK:
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
        settlement = await self.ledger.settle(record, settled.charged_images)
        if settlement.verdict is not Verdict.REPEATED:
            self.journal.write(settlement.record)
