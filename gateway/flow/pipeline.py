"""
The life of a request, top to bottom.

    identify → parse → admit → forward → relay

Each stage takes what the one before it gave. A stage that says no raises `Refused`; whoever speaks to the client
turns that into an answer (`gateway.web`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.admission import DefaultModels, narrows_models
from gateway.core.credentials import Credential, order_for
from gateway.core.errors import Code, Refusal, Refused, quoted
from gateway.core.headers import check_single, up, wants_websocket
from gateway.core.models import filter_models
from gateway.core.principal import Principal
from gateway.core.routes import match
from gateway.flow.admit import admit, admit_route
from gateway.flow.exchange import Arrival, Client
from gateway.flow.fetch import Fetch
from gateway.flow.forward import forward
from gateway.flow.identify import identify
from gateway.flow.parse import Parsed, parse
from gateway.flow.relay import relay, relay_rewritten
from gateway.flow.tasks import WhilePresent
from gateway.ports import Clock, KeyStore, Upstream, UpstreamRequest


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decided."""

    max_body_bytes: int
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

    async def serve(self, arrival: Arrival, client: Client) -> None:
        """
        Answer one request.

        Raises:
            Refused: nothing has been sent to the client; it is to be told.
            UpstreamFailed: likewise if the head is not out yet; else the connection is to be cut.
            ClientGoneError: nobody is there to be told anything.
        """
        found = match(arrival.method, arrival.path)
        if found is None or wants_websocket(arrival.headers):
            what = quoted(f"{arrival.method} {arrival.path}", 200)
            raise Refused(
                Refusal(Code.UNKNOWN_URL, f"Unknown request URL: {what}. Please check the URL for typos.")
            )
        check_single(arrival.headers)
        principal = await identify(arrival, self.keys, self.clock)
        admit_route(principal, found)
        parsed = await parse(arrival, found, client, max_body_bytes=self.rules.max_body_bytes)
        admit(principal, parsed.call, self.rules.default_models)
        async with WhilePresent(client.gone):
            fetch = self._fetch(arrival, principal, parsed)
            try:
                if found.route.name == "models.list" and narrows_models(principal):
                    await self._relay_models(arrival, principal, fetch, client)
                else:
                    await relay(arrival, fetch, client, self.clock)
            finally:
                fetch.leave()

    def _fetch(self, arrival: Arrival, principal: Principal, parsed: Parsed) -> Fetch:
        first, *others = order_for(principal.team.id, self.rules.credentials)
        request = UpstreamRequest(
            method=arrival.method,
            path=parsed.call.match.path,
            query=arrival.query,
            headers=up(arrival.headers, sandbox=self.rules.sandbox),
            body=parsed.body,
            credential=first,
        )
        movable = parsed.call.match.route.name.startswith("images.") and not parsed.call.names_ids
        return Fetch(
            lambda: forward(self.upstream, request, others if movable else (), retries=self.rules.retries),
            self.clock,
        )

    async def _relay_models(
        self, arrival: Arrival, principal: Principal, fetch: Fetch, client: Client
    ) -> None:
        head = await fetch.head()
        if head.status != 200:  # noqa: PLR2004 - OK; anything else lists no models
            await relay(arrival, fetch, client, self.clock)
            return
        body = b"".join([chunk async for chunk in fetch.chunks()])
        await relay_rewritten(filter_models(body, principal), arrival, head, client, self.clock)
