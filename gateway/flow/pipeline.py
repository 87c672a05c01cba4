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
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from gateway.core import idempotency
from gateway.core.admission import DefaultModels, narrows_models
from gateway.core.credentials import Credential, order_for
from gateway.core.errors import Code, Refusal, Refused, UpstreamFailed, quoted
from gateway.core.headers import check_single, joined, up, wants_websocket
from gateway.core.record import Outcome
from gateway.core.routes import Match, match
from gateway.core.spans import Stage
from gateway.core.tags import FIELD, read_tags
from gateway.flow.account import Accounts
from gateway.flow.admit import Gate, admit, admit_route
from gateway.flow.endings import apologise, fail, refuse, stop
from gateway.flow.exchange import Arrival, Client
from gateway.flow.fetch import Fetch
from gateway.flow.forward import Sender
from gateway.flow.identify import identify
from gateway.flow.orphans import Orphans
from gateway.flow.parse import Parsed, parse
from gateway.flow.relay import relay, relay_models
from gateway.flow.sharing import Sharing
from gateway.flow.story import Story
from gateway.flow.tasks import ClientGoneError, WhilePresent, spawn
from gateway.flow.wanted import wanted
from gateway.ports import (
    Clock,
    KeyStore,
    Spool,
    Upstream,
    UpstreamRequest,
)

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


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything a request needs on its way."""

    rules: Rules
    clock: Clock
    keys: KeyStore
    upstream: Upstream
    new_spool: Callable[[], Spool]
    accounts: Accounts
    orphans: Orphans
    sharing: Sharing | None = None
    """None: nothing is kept, and nobody follows."""
    gate: Gate = field(default_factory=Gate)
    """Counts the requests of the pipelines before this one, too."""

    async def serve(self, arrival: Arrival, client: Client) -> None:
        """Answer one request, whatever happens, and record it."""
        story = Story(arrival, stages=self.accounts.watch())
        try:
            with self.gate.below(self.rules.max_concurrent):
                await self._answer(arrival, client, story)
        except ClientGoneError:
            story.outcome = Outcome.CLIENT_GONE
        except Refused as refused:
            await refuse(refused.refusal, client, story)
        except UpstreamFailed as failed:
            await fail(failed, client, story)
        except asyncio.CancelledError:
            # The server stops and has waited long enough. This task ends here, so nothing is owed to its canceller.
            await stop(client, story)
        except Exception:  # noqa: BLE001 - nothing leaves this door but an answer or a cut; the log has the trace
            _log.exception("%s: internal error", arrival.id)
            await apologise(client, story)
        finally:
            if not story.is_orphan:
                await self._conclude(story)

    async def _conclude(self, story: Story) -> None:
        """In a task of its own: whoever cancels this one now must not cancel the record."""
        concluding = spawn(f"conclude {story.arrival.id}", self.accounts.conclude(story))
        with suppress(asyncio.CancelledError):
            await asyncio.shield(concluding)

    async def _answer(self, arrival: Arrival, client: Client, story: Story) -> None:
        story.match = found = _route(arrival)
        check_single(arrival.headers)
        with story.during(Stage.IDENTIFY):
            story.principal = principal = await identify(arrival, self.keys, self.clock)
        with story.during(Stage.ADMIT):
            admit_route(principal, found)
        if found.route.metered:
            story.tags = read_tags(joined(arrival.headers, FIELD))
        with ExitStack() as until_sent:
            spool = self.new_spool()
            until_sent.callback(spool.close)
            is_once = found.route.metered and idempotency.read(arrival.headers) is not None
            terms = None if self.sharing is None else self.sharing.terms
            with story.during(Stage.PARSE):
                parsed = await parse(
                    arrival,
                    found,
                    client,
                    story,
                    spool,
                    max_body_bytes=self.rules.max_body_bytes,
                    terms=terms if terms is not None and (terms.enabled or is_once) else None,
                    whole=is_once,
                )
            story.call = parsed.call
            with story.during(Stage.ADMIT):
                admit(principal, parsed.call, self.rules.default_models)
                story.reserved = self.accounts.estimate(parsed.call)
            story.credential, *others = order_for(principal.team.id, self.rules.credentials)
            telling = None
            if self.sharing is not None and found.route.metered:
                look = wanted(
                    arrival, parsed.call, parsed.content, principal, story.credential, self.sharing.terms
                )
                if self.sharing.takes(look):
                    send = self._sender(arrival, parsed, story, others, until_sent.pop_all())
                    await self.sharing.answer(look, story, client, send)
                    return
                telling = self.sharing.passes(look, story)
            elif self.sharing is not None and found.route.name == "responses.delete":
                telling = self.sharing.forgets(story, found.ids[0])
            async with WhilePresent(client.gone):
                await self.accounts.begin(story)
                await self.accounts.look_first(story)
            send = self._sender(arrival, parsed, story, others, until_sent.pop_all())
        story.set_out()
        fetch = Fetch(send.open, self.clock)
        try:
            async with WhilePresent(client.gone):
                if found.route.name == "models.list" and narrows_models(principal):
                    await relay_models(principal, fetch, client, story, self.accounts)
                else:
                    await relay(fetch, client, story, self.accounts, telling=telling)
        except ClientGoneError:
            story.outcome = Outcome.CLIENT_GONE
            if self.orphans.adopt(fetch, story):
                self.accounts.leave(story)
        finally:
            if not story.is_orphan:
                fetch.leave()

    def _sender(
        self, arrival: Arrival, parsed: Parsed, story: Story, others: Sequence[str], kept: ExitStack
    ) -> Sender:
        request = UpstreamRequest(
            method=arrival.method,
            path=parsed.call.match.path,
            query=arrival.query,
            headers=up(arrival.headers, sandbox=self.rules.sandbox),
            body=parsed.body,
            credential=story.credential or "",
        )
        movable = parsed.call.match.route.name.startswith("images.") and not parsed.call.names_ids

        return Sender(self.upstream, request, others if movable else (), self.rules.retries, kept)


def _route(arrival: Arrival) -> Match:
    found = match(arrival.method, arrival.path)
    if found is None or wants_websocket(arrival.headers):
        what = quoted(f"{arrival.method} {arrival.path}", 200)
        message = f"Unknown request URL: {what}. Please check the URL for typos."
        raise Refused(Refusal(Code.UNKNOWN_URL, message))
    return found
