"""A gateway in the test's own event loop, under a real uvicorn on a real port."""

import asyncio
import functools
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvicorn

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.clock import SystemClock
from gateway.adapters.ids import TimeOrderedIds
from gateway.adapters.keyfile import FileKeys
from gateway.adapters.spool import FileSpool
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.adapters.transport import FastUpstream
from gateway.catalog import load
from gateway.cli.server import config
from gateway.core.admission import DefaultModels
from gateway.core.call import Call
from gateway.core.credentials import Account, Credential
from gateway.core.ledger import OpenCall, Settlement, Verdict
from gateway.core.pricing import AccountingRules
from gateway.core.principal import Allow, Principal, Scope, digest_of
from gateway.core.quota import Claim, Exceeded, Standing
from gateway.core.record import Record
from gateway.flow.account import Accounts
from gateway.flow.background import Background
from gateway.flow.keep import Keeper
from gateway.flow.orphans import Orphans
from gateway.flow.pipeline import Pipeline, Rules
from gateway.ports import Spool, StoreFailed, Timeouts, Upstream
from gateway.web.guard import GuardedProtocol, Limits
from gateway.web.proxy import Proxy
from tests.support.outbox import ListOutbox
from tests.support.raw import PATIENCE_S

KEY = "sk-test"
PATIENT = Limits(head_timeout_s=PATIENCE_S, stall_timeout_s=PATIENCE_S)
CATALOG = load()
DEFAULT_MODELS = DefaultModels({"images.generations": "dall-e-2"}, "gpt-image-2.6-sunburst")


@dataclass
class LiveGateway:
    """A gateway that listens."""

    port: int
    server: uvicorn.Server
    records: list[Record]
    """Of the requests that are over, in the order in which they ended."""
    ledger: SqliteLedger

    @property
    def connections(self) -> int:
        """Client connections that are open."""
        return len(self.server.server_state.connections)

    async def all_closed(self) -> None:
        """Returns once no client connection is open."""
        while self.connections:
            await asyncio.sleep(0)


@dataclass
class ListJournal:
    """Keeps records for a test to look at."""

    records: list[Record] = field(default_factory=list)
    counted: list[Record] = field(default_factory=list)

    def write(self, record: Record, *, counts: bool = True) -> None:
        self.records.append(record)
        if counts:
            self.count(record)

    def count(self, record: Record) -> None:
        self.counted.append(record)


class Books:
    """The ledger's verbs that a request needs, over a list; `broken`: it cannot be written to."""

    def __init__(self) -> None:
        self.open: dict[str, OpenCall] = {}
        self.records: list[Record] = []
        self.broken = False

    async def reserve(
        self, call: OpenCall, claim: Claim | None = None, *, force: bool = False
    ) -> Standing | Exceeded:
        del claim, force
        await asyncio.sleep(0)  # A store takes its time: whoever cancels may come here.
        if self.broken:
            raise StoreFailed("broken", unknown=False)
        self.open[call.record.id] = call
        return Standing(0)

    async def admit(self, claim: Claim) -> Standing | Exceeded:
        del claim
        await asyncio.sleep(0)
        if self.broken:
            raise StoreFailed("broken", unknown=False)
        return Standing(0)

    async def leave(self, call_id: str) -> None:
        del call_id
        await asyncio.sleep(0)

    async def settle(self, record: Record, images: int = 0) -> Settlement:
        del images
        await asyncio.sleep(0)
        if self.broken:
            raise StoreFailed("broken", unknown=True)
        self.open.pop(record.id, None)
        self.records.append(record)
        return Settlement(Verdict.WRITTEN, record)

    async def entrust(
        self, record_id: str, response_id: str, deadline: float, asked: Call | None, *, leaves: bool = True
    ) -> bool:
        del leaves
        await asyncio.sleep(0)
        call = self.open[record_id]
        kept = replace(call.record, response_id=response_id)
        self.open[record_id] = replace(call, record=kept, deadline=deadline, call=asked)
        return True

    async def response(self, response_id: str) -> OpenCall | None:
        return next((one for one in self.open.values() if one.record.response_id == response_id), None)


def principal(
    allow: Allow | None = None, *, team: str = "team", expires_at: float | None = None
) -> Principal:
    """The holder of a key, narrowed at its key."""
    return Principal(
        Scope("org", "default"), Scope("team", team), Scope("key", "key", allow or Allow()), expires_at
    )


@asynccontextmanager
async def live_gateway(
    base_url: str,
    *,
    holders: Mapping[str, Principal] | None = None,
    upstream: Upstream | None = None,
    timeouts: Timeouts | None = None,
    max_body_bytes: int = 64 << 20,
    retries: int = 1,
    credentials: Sequence[str] = ("default",),
    sandbox: bool = False,
    max_concurrent: int = 4000,
    limits: Limits = PATIENT,
    body_timeout_s: float = PATIENCE_S,
    drain_timeout_s: float = 0,
    finish: bool = False,
    new_spool: Callable[[], Spool] = FileSpool,
) -> AsyncIterator[LiveGateway]:
    """
    A gateway in front of `base_url`.

    Args:
        base_url: of the upstream, with `/v1`.
        holders: who holds which secret; by default `sk-test` with everything allowed.
        upstream: instead of one over httpx2.
        new_spool: where bodies are kept.
    """
    clock = SystemClock()
    journal = ListJournal()
    folder = tempfile.TemporaryDirectory()
    ledger = SqliteLedger.open(Path(folder.name), clock.now)
    real = upstream or FastUpstream(
        base_url,
        {name: Account(f"sk-up-{name}") for name in credentials},
        timeouts=timeouts or Timeouts(connect_s=PATIENCE_S, read_s=PATIENCE_S),
        max_connections=1000,
    )
    background = Background(ledger, real, journal, clock, CATALOG, AccountingRules(), retention_s=1e9)
    calendar = ZoneCalendar("UTC")
    keeper = Keeper(ledger, ListOutbox(), journal, clock, calendar)
    accounts = Accounts(keeper, journal, background, clock, calendar, CATALOG, AccountingRules())
    pipeline = Pipeline(
        rules=Rules(
            max_body_bytes=max_body_bytes,
            max_concurrent=max_concurrent,
            retries=retries,
            sandbox=sandbox,
            credentials=tuple(Credential(name) for name in credentials),
            default_models=DEFAULT_MODELS,
        ),
        clock=clock,
        keys=FileKeys({digest_of(secret): who for secret, who in (holders or {KEY: principal()}).items()}),
        upstream=real,
        new_spool=new_spool,
        accounts=accounts,
        orphans=Orphans(accounts, finish=finish, most=10, limit_s=PATIENCE_S),
    )
    ids = TimeOrderedIds(clock.now)
    sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
    settings = config(
        Proxy(pipeline, clock, ids, body_timeout_s=body_timeout_s),
        protocol=functools.partial(
            GuardedProtocol, limits=limits, new_id=ids.new, now=clock.now, journal=journal
        ),
        drain_timeout_s=drain_timeout_s,
    )
    settings.lifespan = "off"
    settings.loop = "none"
    server = uvicorn.Server(settings)
    serving = asyncio.get_running_loop().create_task(server.serve([sock]))
    try:
        while not server.started:
            await asyncio.sleep(0)
        yield LiveGateway(sock.getsockname()[1], server, journal.records, ledger)
    finally:
        server.should_exit = True
        server.force_exit = True
        await serving
        await real.aclose()
        await ledger.aclose()
        folder.cleanup()
