"""Who is introduced to whom: the only file that chooses implementations."""

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.adapters import log
from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.clock import SystemClock
from gateway.adapters.ids import TimeOrderedIds
from gateway.adapters.journal import PROCESS, LogJournal
from gateway.adapters.keyfile import FileKeys
from gateway.adapters.outbox import FileOutbox
from gateway.adapters.scratch import Scratch
from gateway.adapters.spool import FileSpool
from gateway.adapters.sqlite.cache import SqliteCache
from gateway.adapters.sqlite.flights import SqliteFlights
from gateway.adapters.sqlite.idempotency import SqliteIdempotencyKeys
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.adapters.transport import FastUpstream
from gateway.adapters.upstream import Httpx2Upstream
from gateway.catalog import load as load_catalog
from gateway.core.admission import DefaultModels
from gateway.core.catalog import Catalog
from gateway.core.credentials import Account, Credential
from gateway.core.freshness import Rules as LifeRules
from gateway.core.pricing import AccountingRules
from gateway.core.principal import Allow, Principal, Scope, digest_of
from gateway.counting import Counting, scratch_of
from gateway.flow.account import Accounts
from gateway.flow.background import Background
from gateway.flow.flights import Flights
from gateway.flow.keep import Keeper
from gateway.flow.orphans import Orphans
from gateway.flow.pipeline import Pipeline, Rules
from gateway.flow.reel import Reel
from gateway.flow.replays import Replays
from gateway.flow.sharing import Sharing
from gateway.flow.tasks import spawn
from gateway.flow.wanted import Terms
from gateway.ports import Calendar, Clock, Ledger, Timeouts, Upstream
from gateway.settings import AllowSettings, Settings, UpstreamSettings
from gateway.settings.directory import directory_of
from gateway.web import ops
from gateway.web.admin import cache as admin_cache
from gateway.web.admin import ledger as admin_ledger
from gateway.web.admin import limits as admin_limits
from gateway.web.admin import scopes as admin_scopes
from gateway.web.guard import GuardedProtocol, Limits
from gateway.web.listeners import Listeners
from gateway.web.proxy import Proxy

_EVERYTHING_BYTES = 1 << 60
ONLY_CREDENTIAL = "default"
"""The name of `upstream.api_key` where there is no pool."""
_IMAGE_ROUTES = ("images.generations", "images.edits", "images.variations")


def prepare(settings: Settings) -> Scratch | None:
    """
    What is made once, before the first worker starts.

    Returns:
        Where the workers count, to be removed when they have ended; None: there is only one.

    Raises:
        UnfitError: the ledger cannot be used, or nothing counted; the message says why and what to do.
    """
    SqliteLedger.open(ledger_folder(settings))
    return scratch_of(settings, ledger_folder(settings))


def build(settings: Settings, ops_port: int, counted_in: Path | None = None) -> ASGIApp:
    """
    The application of one worker process, both listeners.

    Args:
        settings: what the operator wants.
        ops_port: the port that the operator's socket is bound to.
        counted_in: the folder where all workers count; None: there are no others.
    """
    log.configure(settings.log.level, settings.log.format)
    clock = SystemClock()
    upstream = _upstream(settings.upstream)
    catalog, accounting = load_catalog(settings.catalog.path), _accounting(settings)
    counting = Counting(settings, catalog, clock, counted_in)
    journal = PROCESS.journal = counting.journal(LogJournal())
    # Where there are several workers `prepare` has made it, before the first of them.
    opened = SqliteLedger.open(ledger_folder(settings), make=settings.server.workers == 1)
    ledger = counting.ledger(opened)
    calendar = ZoneCalendar(settings.org.timezone)
    keeper = Keeper(
        ledger,
        FileOutbox.open(ledger_folder(settings) / "outbox", ledger.worker),
        journal,
        clock,
        calendar,
        is_open=settings.store.on_failure == "open",
    )
    background = Background(
        ledger,
        upstream,
        journal,
        clock,
        catalog,
        accounting,
        retention_s=settings.store.ledger_retention_days * 86_400.0,
        failed=keeper.failed,
    )
    accounts = Accounts(keeper, journal, background, clock, calendar, catalog, accounting)
    orphans = Orphans(
        accounts,
        finish=settings.upstream.on_disconnect == "finish",
        most=settings.upstream.max_orphans,
        limit_s=settings.upstream.orphan_limit_s,
    )
    sharing = _sharing(settings, accounts, orphans, opened, counting)
    pipeline = Pipeline(
        rules=_rules(settings, catalog),
        clock=clock,
        keys=FileKeys(_holders(settings)),
        upstream=upstream,
        new_spool=FileSpool,
        accounts=accounts,
        orphans=orphans,
        sharing=sharing,
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        # What dead workers left in the outbox is the truth: it comes before what is charged as lost.
        await keeper.catch_up()
        caring = [
            spawn("outbox", keeper.run()),
            spawn("background", background.run()),
            spawn("flights", sharing.flights.run()),
            spawn("cache", sharing.tidy()),
            *counting.caring(),
        ]
        try:
            yield
        finally:
            # Their clients have left, and may ask again: what is under way is read to its end as long as there is time.
            await sharing.drain(settings.server.drain_timeout_s)
            for care in caring:
                care.cancel()
            await sharing.aclose()
            await upstream.aclose()
            await keeper.aclose()
            await ledger.aclose()

    proxy = Proxy(pipeline, clock, TimeOrderedIds(clock.now), body_timeout_s=settings.server.body_timeout_s)
    public, metrics = counting.inside(proxy), counting.endpoint(accounts, sharing, orphans)
    token = settings.auth.admin_token
    secret = None if token is None else token.get_secret_value()
    admin = [] if secret is None else _admin(settings, ledger, calendar, clock, secret)
    if secret is not None and sharing.cache is not None:
        admin += admin_cache.routes(sharing, secret)
    return Listeners(public, ops.build(clock, lifespan, admin, metrics), ops_port)


def _sharing(
    settings: Settings, accounts: Accounts, orphans: Orphans, ledger: SqliteLedger, counting: Counting
) -> Sharing:
    clock, cache = accounts.clock, settings.cache
    folder = ((cache.url or settings.store.url).folder) or ledger_folder(settings)
    names = {one.name: (one.organization, one.project) for one in settings.upstream.credentials}
    kept = SqliteCache.at(
        folder, clock.now, max_bytes=cache.max_bytes, stale_if_error_s=float(cache.stale_if_error_s)
    )
    # Answers that were promised to whoever repeats a call lie with the ledger, and are not evicted.
    answers = SqliteCache.at(ledger_folder(settings) / "answers", clock.now, max_bytes=_EVERYTHING_BYTES)
    return Sharing(
        counting.watched(kept, "cache") if cache.enabled else None,
        Flights(
            clock,
            max_wait_s=cache.max_wait_s,
            hit_for_miss_s=cache.hit_for_miss_s,
            reel=Reel(),
            shared=counting.watched(SqliteFlights(folder, clock.now), "flights")
            if settings.server.workers > 1
            else None,
        ),
        Replays(counting.watched(SqliteIdempotencyKeys(ledger), "keys"), answers, accounts),
        accounts,
        orphans,
        Terms(
            life=LifeRules(
                ttl_s=cache.ttl_s,
                alias_ttl_s=cache.alias_ttl_s,
                stale_if_error_s=cache.stale_if_error_s,
                max_entry_bytes=cache.max_entry_bytes,
                trust_remote_urls=cache.trust_remote_urls,
            ),
            enabled=cache.enabled,
            scope=cache.scope,
            owner=settings.tenancy.owner,
            base_url=settings.upstream.base_url,
            accounts=names,
            ignore_fields=frozenset(cache.ignore_fields),
            sandbox=settings.upstream.sandbox,
        ),
    )


def _admin(settings: Settings, ledger: Ledger, calendar: Calendar, clock: Clock, token: str) -> list[Route]:
    directory = directory_of(settings)
    return [
        *admin_ledger.routes(ledger, calendar, token),
        *admin_limits.routes(ledger, directory, calendar, clock, token),
        *admin_scopes.routes(ledger, directory, token),
    ]


def ledger_folder(settings: Settings) -> Path:
    """Where the ledger lies. On Redis it is kept in the default folder, until it can be kept there."""
    return settings.store.url.folder or Path("data")


def protocol(settings: Settings) -> Callable[..., GuardedProtocol]:
    """What makes the protocol of each connection, on both listeners; it can be handed to worker processes."""
    clock = SystemClock()
    return functools.partial(
        GuardedProtocol,
        limits=Limits(
            head_timeout_s=settings.server.header_timeout_s,
            stall_timeout_s=settings.server.body_timeout_s,
        ),
        new_id=TimeOrderedIds(clock.now).new,
        now=clock.now,
        journal=PROCESS,
    )


def _upstream(settings: UpstreamSettings) -> Upstream:
    accounts = {
        one.name: Account(one.api_key.get_secret_value(), one.organization, one.project)
        for one in settings.credentials
    }
    if settings.api_key is not None:
        accounts[ONLY_CREDENTIAL] = Account(settings.api_key.get_secret_value())
    timeouts = Timeouts(connect_s=settings.connect_timeout_s, read_s=settings.read_timeout_s)
    # Only the other transport knows egress proxies.
    if settings.transport == "fast" and settings.proxy is None:
        return FastUpstream(
            settings.base_url,
            accounts,
            timeouts=timeouts,
            max_connections=settings.max_connections,
            ca_file=settings.ca_file,
        )
    return Httpx2Upstream(
        settings.base_url,
        accounts,
        timeouts=timeouts,
        max_connections=settings.max_connections,
        proxy=None if settings.proxy is None else settings.proxy.get_secret_value(),
        ca_file=settings.ca_file,
    )


def _rules(settings: Settings, catalog: Catalog) -> Rules:
    upstream = settings.upstream
    named = ((route, catalog.default_model(route)) for route in _IMAGE_ROUTES)
    return Rules(
        max_body_bytes=settings.server.max_body_bytes,
        max_concurrent=settings.server.max_concurrent,
        retries=upstream.retries,
        sandbox=upstream.sandbox,
        credentials=tuple(Credential(one.name, one.weight) for one in upstream.credentials)
        or (Credential(ONLY_CREDENTIAL),),
        default_models=DefaultModels(
            {route: model for route, model in named if model is not None}, catalog.default_tool_model
        ),
    )


def _accounting(settings: Settings) -> AccountingRules:
    return AccountingRules(
        unpriced=settings.catalog.unpriced,
        reserve_images=settings.responses.reserve_images,
        reserve_output_tokens=settings.responses.reserve_output_tokens,
        overhead_tokens=settings.responses.overhead_tokens,
        bill_moderated=settings.accounting.bill_moderated,
    )


def _holders(settings: Settings) -> dict[bytes, Principal]:
    org = Scope("org", settings.org.id, _allow(settings.org.allow), settings.org.limits)
    teams = {team.id: Scope("team", team.id, _allow(team.allow), team.limits) for team in settings.teams}
    holders = {}
    for key in settings.keys:
        digest = (
            digest_of(key.secret.get_secret_value())
            if key.secret is not None
            else bytes.fromhex(key.secret_sha256 or "")
        )
        holders[digest] = Principal(
            org,
            teams[key.team],
            Scope("key", key.id, _allow(key.allow), key.limits),
            None if key.expires_at is None else key.expires_at.timestamp(),
            None if key.on_disconnect is None else key.on_disconnect == "finish",
        )
    return holders


def _allow(settings: AllowSettings) -> Allow:
    return Allow(**settings.model_dump())
