"""
The life of a request, top to bottom.

    identify → parse → admit → begin → forward → relay → settle → record

Each stage takes what the one before it gave. A stage that says no raises `Refused`. The record is written last,
from a `finally`, whatever happened; a call that can cost something is in the ledger before it goes up, so that it is
not forgotten even if this process dies.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from gateway.core.admission import DefaultModels, narrows_models
from gateway.core.call import Call
from gateway.core.catalog import Catalog
from gateway.core.credentials import Credential, order_for
from gateway.core.errors import Code, Refusal, Refused, UpstreamFailed, quoted
from gateway.core.estimate import Estimate, estimate
from gateway.core.headers import check_single, up, wants_websocket
from gateway.core.ledger import OpenCall
from gateway.core.pricing import AccountingRules
from gateway.core.principal import Principal
from gateway.core.record import Outcome
from gateway.core.routes import Match, match
from gateway.flow.admit import Gate, admit, admit_route
from gateway.flow.background import Background
from gateway.flow.exchange import Arrival, Client
from gateway.flow.fetch import Fetch
from gateway.flow.forward import forward
from gateway.flow.identify import identify
from gateway.flow.parse import Parsed, parse
from gateway.flow.relay import relay, relay_models
from gateway.flow.story import Story
from gateway.flow.tasks import ClientGoneError, WhilePresent
from gateway.ports import (
    Clock,
    Journal,
    KeyStore,
    Ledger,
    Spool,
    StoreFailed,
    Upstream,
    UpstreamReply,
    UpstreamRequest,
)

BACKGROUND_S = 32 * 3600.0
"""How long a background response may take: the longest completion window (8 h) and a day's grace."""
_SHOW_RESPONSES = frozenset({"responses.retrieve", "responses.cancel"})
_log = logging.getLogger("imagegate.pipeline")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decided."""

    max_body_bytes: int
    max_concurrent: int
    retries: int
    sandbox: bool
    """The upstream is a sandbox: `X-Sandbox` goes up."""
    credentials: Sequence[Credential]
    default_models: DefaultModels
    catalog: Catalog
    accounting: AccountingRules


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything a request needs on its way."""

    rules: Rules
    clock: Clock
    keys: KeyStore
    upstream: Upstream
    journal: Journal
    new_spool: Callable[[], Spool]
    ledger: Ledger
    background: Background
    gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        """Open the gate."""
        object.__setattr__(self, "gate", Gate(self.rules.max_concurrent))

    async def serve(self, arrival: Arrival, client: Client) -> None:
        """Answer one request, whatever happens, and record it."""
        story = Story(arrival)
        try:
            with self.gate:
                await self._answer(arrival, client, story)
        except ClientGoneError:
            story.outcome = Outcome.CLIENT_GONE
        except Refused as refused:
            story.refused(refused.refusal)
            await client.refuse(refused.refusal, arrival.id)
        except UpstreamFailed as failed:
            await _fail(failed, client, story)
        except asyncio.CancelledError:
            # The server stops and has waited long enough. This task ends here, so nothing is owed to its canceller.
            await _stop(client, story)
        except Exception:  # noqa: BLE001 - nothing leaves this door but an answer or a cut; the log has the trace
            _log.exception("%s: internal error", arrival.id)
            await _apologise(client, story)
        finally:
            await self._conclude(story)

    async def _answer(self, arrival: Arrival, client: Client, story: Story) -> None:
        story.match = found = _route(arrival)
        check_single(arrival.headers)
        story.principal = principal = await identify(arrival, self.keys, self.clock)
        admit_route(principal, found)
        with ExitStack() as until_sent:
            spool = self.new_spool()
            until_sent.callback(spool.close)
            parsed = await parse(
                arrival, found, client, story, spool, max_body_bytes=self.rules.max_body_bytes
            )
            story.call = parsed.call
            admit(principal, parsed.call, self.rules.default_models)
            story.reserved = self._estimate(parsed.call)
            await self._begin(story)
            kept = until_sent.pop_all()
        async with WhilePresent(client.gone):
            fetch = self._fetch(arrival, principal, parsed, story, kept)
            try:
                if found.route.name == "models.list" and narrows_models(principal):
                    await relay_models(principal, fetch, client, story, self.clock)
                else:
                    await relay(fetch, client, story, self.clock)
            finally:
                fetch.leave()

    def _estimate(self, call: Call) -> Estimate:
        """What the call can cost at most; a model without a price is refused: nothing passes unpriced."""
        found = estimate(call, self.rules.catalog, self.rules.accounting, at_s=self.clock.now())
        if isinstance(found, Refusal):
            raise Refused(found)
        return found

    async def _begin(self, story: Story) -> None:
        """Into the ledger, before anything goes up."""
        if not story.is_kept:
            return
        known = story.so_far(self.clock.now(), self.clock.ticks(), self.rules.catalog)
        try:
            await self.ledger.begin(OpenCall(record=known, dispatched=True))
        except StoreFailed as failed:
            _log.error("%s: %s", story.arrival.id, failed)
            message = "The gateway's ledger cannot be written to. Nothing was sent; please try again."
            raise Refused(Refusal(Code.STORE_UNAVAILABLE, message, retry_after_s=1)) from failed

    async def _conclude(self, story: Story) -> None:
        """The record: to the ledger, where it belongs there, and to the journal."""
        rules = self.rules
        record = story.record(self.clock.now(), self.clock.ticks(), rules.catalog, rules.accounting)
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
        if seen is None or not seen.pending or seen.response_id is None:
            return False
        deadline = self.clock.now() + BACKGROUND_S
        try:
            return await self.ledger.entrust(story.arrival.id, seen.response_id, deadline)
        except StoreFailed as failed:
            _log.error("%s: %s", story.arrival.id, failed)
            return False

    def _fetch(
        self, arrival: Arrival, principal: Principal, parsed: Parsed, story: Story, kept: ExitStack
    ) -> Fetch:
        first, *others = order_for(principal.team.id, self.rules.credentials)
        story.credential = first
        request = UpstreamRequest(
            method=arrival.method,
            path=parsed.call.match.path,
            query=arrival.query,
            headers=up(arrival.headers, sandbox=self.rules.sandbox),
            body=parsed.body,
            credential=first,
        )
        movable = parsed.call.match.route.name.startswith("images.") and not parsed.call.names_ids

        async def send() -> UpstreamReply:
            # With the head of the answer the body has gone up, or is of no use any more.
            with kept:
                return await forward(
                    self.upstream, request, others if movable else (), retries=self.rules.retries
                )

        return Fetch(send, self.clock)


def _route(arrival: Arrival) -> Match:
    found = match(arrival.method, arrival.path)
    if found is None or wants_websocket(arrival.headers):
        what = quoted(f"{arrival.method} {arrival.path}", 200)
        message = f"Unknown request URL: {what}. Please check the URL for typos."
        raise Refused(Refusal(Code.UNKNOWN_URL, message))
    return found


async def _fail(failed: UpstreamFailed, client: Client, story: Story) -> None:
    story.failed(failed)
    if story.status is not None:
        client.cut()
        return
    refusal = failed.refusal()
    story.refused(refusal, Outcome.FAILED)
    await client.refuse(refusal, story.arrival.id)


async def _stop(client: Client, story: Story) -> None:
    if story.status is not None:
        story.outcome, story.code = Outcome.CANCELLED, Code.SHUTTING_DOWN.code
        client.cut()
        return
    message = "The gateway is stopping and could not wait for this request any longer. Please try again."
    refusal = Refusal(Code.SHUTTING_DOWN, message, retry=story.credential is None, retry_after_s=1)
    story.refused(refusal, Outcome.CANCELLED)
    await client.refuse(refusal, story.arrival.id)


async def _apologise(client: Client, story: Story) -> None:
    if story.status is not None:
        story.outcome, story.code = Outcome.FAILED, Code.INTERNAL_ERROR.code
        client.cut()
        return
    message = f"The gateway had an error while processing your request ({story.arrival.id})."
    refusal = Refusal(Code.INTERNAL_ERROR, message)
    story.refused(refusal, Outcome.FAILED)
    await client.refuse(refusal, story.arrival.id)
