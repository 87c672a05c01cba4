"""
What a call costs, from before it goes up until it is settled.

A call that can cost something is in the ledger before a byte of it goes up: if this process dies, it is not forgotten.
Its record is written once, last, whatever happened.
"""

import logging
from dataclasses import dataclass

from gateway.core.call import Call
from gateway.core.catalog import Catalog
from gateway.core.errors import Code, Refusal, Refused
from gateway.core.estimate import Estimate, estimate
from gateway.core.ledger import OpenCall
from gateway.core.pricing import AccountingRules
from gateway.flow.background import Background
from gateway.flow.story import Story
from gateway.ports import Clock, Journal, Ledger, StoreFailed

BACKGROUND_S = 32 * 3600.0
"""How long a background response may take: the longest completion window (8 h) and a day's grace."""

_SHOW_RESPONSES = frozenset({"responses.retrieve", "responses.cancel"})
_log = logging.getLogger("imagegate.account")


@dataclass(frozen=True, slots=True)
class Accounts:
    """
    The accounts of all calls.

    Args:
        ledger: keeps them.
        journal: tells of them.
        background: looks after those that run on upstream.
        clock: for their times.
        catalog: prices and rules.
        rules: the operator's.
    """

    ledger: Ledger
    journal: Journal
    background: Background
    clock: Clock
    catalog: Catalog
    rules: AccountingRules

    def estimate(self, call: Call) -> Estimate:
        """
        What the call can cost at most.

        Raises:
            Refused: 403 `not_allowed`, a model without a price: nothing passes unpriced.
        """
        found = estimate(call, self.catalog, self.rules, at_s=self.clock.now())
        if isinstance(found, Refusal):
            raise Refused(found)
        return found

    async def begin(self, story: Story) -> None:
        """
        Note the call, before anything goes up.

        Raises:
            Refused: 503 `store_unavailable`: nothing is spent that cannot be counted.
        """
        if not story.is_kept:
            return
        known = story.so_far(self.clock.now(), self.clock.ticks(), self.catalog)
        try:
            await self.ledger.begin(OpenCall(record=known, dispatched=True))
        except StoreFailed as failed:
            _log.error("%s: %s", story.arrival.id, failed)
            message = "The gateway's ledger cannot be written to. Nothing was sent; please try again."
            raise Refused(Refusal(Code.STORE_UNAVAILABLE, message, retry_after_s=1)) from failed

    async def conclude(self, story: Story) -> None:
        """Make the record: for the journal, and for the ledger where it belongs there. Never raises what a store does."""
        record = story.record(self.clock.now(), self.clock.ticks(), self.catalog, self.rules)
        if story.is_kept and await self._runs_on(story):
            # Its record, and its line in the log, come when it has ended.
            return
        self.journal.write(record)
        seen = story.observation
        try:
            if story.is_kept:
                await self.ledger.settle(record)
            elif seen is not None and record.route in _SHOW_RESPONSES:
                await self.background.seen(seen)
        except StoreFailed as failed:
            _log.error("%s: not in the ledger yet: %s", record.id, failed)

    async def _runs_on(self, story: Story) -> bool:
        """Whether the call goes on in the background upstream, in the care of this worker."""
        seen = story.observation
        if story.call is None or not story.call.background:
            # The end of a foreground response is what was seen of it, whatever its last status said.
            return False
        if seen is None or not seen.pending or seen.response_id is None:
            return False
        deadline = self.clock.now() + BACKGROUND_S
        try:
            return await self.ledger.entrust(story.arrival.id, seen.response_id, deadline)
        except StoreFailed as failed:
            _log.error("%s: %s", story.arrival.id, failed)
            return False
