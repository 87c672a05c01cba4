"""Who is introduced to whom: the only file that chooses implementations."""

import functools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway import rules, stores, tracing
from gateway.adapters import log
from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.clock import SystemClock
from gateway.adapters.ids import TimeOrderedIds
from gateway.adapters.journal import PROCESS, LogJournal
from gateway.adapters.keyfile import FileKeys
from gateway.adapters.outbox import FileOutbox
from gateway.adapters.scratch import Scratch
from gateway.adapters.spool import FileSpool
from gateway.adapters.transport import FastUpstream
from gateway.adapters.upstream import Httpx2Upstream
from gateway.catalog import load as load_catalog
from gateway.core.catalog import Catalog
from gateway.core.credentials import Account
from gateway.counting import Counting, scratch_of
from gateway.flow.account import Accounts
from gateway.flow.admit import Gate
from gateway.flow.background import Background
from gateway.flow.flights import Flights
from gateway.flow.keep import Keeper
from gateway.flow.orphans import Orphans
from gateway.flow.pipeline import Pipeline
from gateway.flow.readiness import Readiness
from gateway.flow.reel import Reel
from gateway.flow.replays import Replays
from gateway.flow.sharing import Kept, Sharing, drain, tidy
from gateway.flow.succession import Succession, Tenure
from gateway.flow.tasks import spawn
from gateway.orders import Orders
from gateway.ports import Cache, Calendar, Clock, Ledger, Timeouts, Upstream
from gateway.rules import ONLY_CREDENTIAL
from gateway.settings import Settings, UpstreamSettings
from gateway.settings.directory import directory_of
from gateway.web import ops
from gateway.web.admin import cache as admin_cache
from gateway.web.admin import ledger as admin_ledger
from gateway.web.admin import limits as admin_limits
from gateway.web.admin import scopes as admin_scopes
from gateway.web.guard import GuardedProtocol, Limits
from gateway.web.listeners import Listeners
from gateway.web.proxy import Proxy

_log = logging.getLogger("imagegate.reload")


@dataclass(frozen=True, slots=True)
class Common:
    """What all workers of a gateway are given, whenever they start."""

    counted_in: Path | None = None
    """The folder where all of them count; None: there are no others."""
    ledger: str | None = None
    """Which ledger the gateway has found when it started, as `stores.Money` names it; None: the worker finds it."""


def prepare(settings: Settings) -> tuple[Scratch | None, Common]:
    """
    What is made once, before the first worker starts.

    Returns:
        Where the workers count, to be removed when they have ended; None: there is only one. And what they are given.

    Raises:
        UnfitError: the ledger cannot be used, or nothing counted; the message says why and what to do.
    """
    money = stores.Money(settings)
    stores.warn_of_memory(settings)
    tracing.warn_if_missing()
    scratch = scratch_of(settings, stores.folder_of(settings))
    return scratch, Common(None if scratch is None else scratch.path, money.name)


def build(
    settings: Settings,
    ops_port: int,
    catalog: Catalog | None = None,
    orders: Orders | None = None,
    common: Common | None = None,
) -> ASGIApp:
    """
    The application of one worker process, both listeners.

    Args:
        settings: what the operator wants.
        ops_port: the port that the operator's socket is bound to.
        catalog: the models; None: to be read.
        orders: what the worker is told while it serves; None: nothing.
        common: what `prepare` gives to all workers; None: there are no others.
    """
    log.configure(settings.log.level, settings.log.format)
    known = catalog or load_catalog(settings.catalog.path)
    return _Worker(settings, known, orders or Orders(), common or Common()).listen(ops_port)


def try_out(settings: Settings) -> None:
    """
    Make what is made of settings alone, to see whether it can be made.

    Raises:
        OSError: a file that they name cannot be used.
        ValueError: they hold what cannot stand in a request.
    """
    _upstream(settings.upstream)


class _Worker:
    """
    What one worker has as long as it lives, and what it makes of a configuration.

    The ledger, what is kept and what flies outlive every configuration. Keys, rules, prices and the upstream are made
    anew from each: a request ends by those that it began with.
    """

    def __init__(self, settings: Settings, catalog: Catalog, orders: Orders, common: Common) -> None:
        self.settings = settings
        self.orders = orders
        self.clock = clock = SystemClock()
        self.counting = counting = Counting(settings, catalog, clock, common.counted_in)
        self.traces = tracing.traces_of_process()
        self.journal = PROCESS.journal = counting.journal(LogJournal())
        # Where there are several workers `prepare` has made it, before the first of them.
        money = stores.Money(settings, make=settings.server.workers == 1, name=common.ledger)
        self.ledger = counting.ledger(money.ledger)
        self.keeper = Keeper(
            self.ledger,
            FileOutbox.open(stores.outbox_of(settings, money.name), self.ledger.worker),
            self.journal,
            clock,
            ZoneCalendar(settings.org.timezone),
            is_open=settings.store.on_failure == "open",
        )
        self.upstream = Tenure(_upstream(settings.upstream))
        self.background = Background(
            self.ledger,
            self.upstream,
            self.journal,
            clock,
            catalog,
            rules.accounting(settings),
            retention_s=rules.retention_s(settings),
            failed=self.keeper.failed,
        )
        cache = settings.cache
        self.kept: Cache = counting.watched(stores.cache_of(settings, clock), "cache")
        self.answers = counting.watched(stores.answers_of(settings, clock), "answers")
        self.keys = counting.watched(money.keys, "keys")
        shared = stores.flights_of(settings, clock)
        self.shared = None if shared is None else counting.watched(shared, "flights")
        self.flights = Flights(
            clock,
            max_wait_s=cache.max_wait_s,
            hit_for_miss_s=cache.hit_for_miss_s,
            reel=Reel(),
            shared=self.shared,
        )
        pings = {"cache": self.kept.ping} | ({} if self.shared is None else {"flights": self.shared.ping})
        self.readiness = Readiness(self.keeper, pings, clock, lambda: orders.is_draining)
        self.pipeline = self._pipeline(settings, catalog, self.upstream, None)
        self.succession = Succession(self.pipeline, self.upstream)

    def listen(self, ops_port: int) -> ASGIApp:
        """Both listeners."""
        proxy = Proxy(
            self.succession,
            self.clock,
            TimeOrderedIds(self.clock.now),
            body_timeout_s=self.settings.server.body_timeout_s,
            look=self.readiness.look,
        )
        public = self.counting.inside(proxy)
        self.metrics = self.counting.endpoint(
            self.pipeline.accounts, self.kept, self.flights, self.pipeline.orphans
        )
        ops = self._ops(self.settings, lifespan=self._lifespan)
        self.listeners = Listeners(public, ops, ops_port)
        return self.listeners

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        # What dead workers left in the outbox is the truth: it comes before what is charged as lost.
        await self.keeper.catch_up()
        caring = [
            spawn("outbox", self.keeper.run()),
            spawn("background", self.background.run()),
            spawn("flights", self.flights.run()),
            spawn("cache", tidy((self.kept, self.answers), self.clock)),
            *self.counting.caring(),
        ]
        self.orders.attend(self._reload)
        try:
            yield
        finally:
            # Their clients have left, and may ask again: what is under way is read to its end as long as there is time.
            await drain(self.flights, self.pipeline.orphans, self.settings.server.drain_timeout_s)
            for care in caring:
                care.cancel()
            await self.flights.aclose()
            await self.kept.aclose()
            await self.answers.aclose()
            await self.succession.aclose()
            await self.keeper.aclose()
            await self.ledger.aclose()
            if self.traces is not None:
                await self.traces.aclose()

    def _reload(self, settings: Settings, catalog: Catalog) -> None:
        """Work by this configuration from the next request on. Never raises: what cannot be made leaves all as it was."""
        try:
            # A file of certificates may be another one under the same name.
            is_same = settings.upstream == self.settings.upstream and settings.upstream.ca_file is None
            upstream = self.upstream if is_same else Tenure(_upstream(settings.upstream))
            pipeline = self._pipeline(settings, catalog, upstream, self.pipeline)
            ops = self._ops(settings)
        except Exception:  # noqa: BLE001 - it goes on by the old one, whatever is wrong with the new one
            _log.exception("the new configuration could not be taken over; the old one stays in this worker")
            return
        log.configure(settings.log.level, settings.log.format)
        self.keeper.is_open = settings.store.on_failure == "open"
        self.keeper.calendar = pipeline.accounts.calendar
        self.background.upstream = upstream
        self.background.catalog, self.background.rules = catalog, pipeline.accounts.rules
        self.background.retention_s = rules.retention_s(settings)
        self.flights.heed(max_wait_s=settings.cache.max_wait_s, hit_for_miss_s=settings.cache.hit_for_miss_s)
        self.counting.heed(settings, catalog)
        self.succession.take_over(pipeline, upstream)
        self.listeners.ops = ops
        self.settings, self.pipeline, self.upstream = settings, pipeline, upstream

    def _pipeline(
        self, settings: Settings, catalog: Catalog, upstream: Upstream, before: Pipeline | None
    ) -> Pipeline:
        """By these settings. What is counted of the one before is counted on."""
        accounts = Accounts(
            self.keeper,
            self.journal,
            self.background,
            self.clock,
            ZoneCalendar(settings.org.timezone),
            catalog,
            rules.accounting(settings),
            self.traces,
        )
        orphans = Orphans(
            accounts,
            finish=settings.upstream.on_disconnect == "finish",
            most=settings.upstream.max_orphans,
            limit_s=settings.upstream.orphan_limit_s,
            reading=set() if before is None else before.orphans.reading,
        )
        return Pipeline(
            rules=rules.rules(settings, catalog),
            clock=self.clock,
            keys=FileKeys(rules.holders(settings)),
            upstream=upstream,
            new_spool=FileSpool,
            accounts=accounts,
            orphans=orphans,
            sharing=Sharing(
                self.kept if settings.cache.enabled else None,
                self.flights,
                Replays(self.keys, self.answers, accounts),
                accounts,
                orphans,
                rules.terms(settings),
            ),
            gate=Gate() if before is None else before.gate,
        )

    def _ops(
        self,
        settings: Settings,
        lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
    ) -> Starlette:
        token = settings.auth.admin_token
        secret = None if token is None else token.get_secret_value()
        calendar = ZoneCalendar(settings.org.timezone)
        admin = [] if secret is None else _admin(settings, self.ledger, calendar, self.clock, secret)
        if secret is not None and settings.cache.enabled:
            admin += admin_cache.routes(Kept(self.kept, self.answers), secret)
        return ops.build(self.clock, self.readiness.look, admin, self.metrics, lifespan=lifespan)


def _admin(settings: Settings, ledger: Ledger, calendar: Calendar, clock: Clock, token: str) -> list[Route]:
    directory = directory_of(settings)
    return [
        *admin_ledger.routes(ledger, calendar, token),
        *admin_limits.routes(ledger, directory, calendar, clock, token),
        *admin_scopes.routes(ledger, directory, token),
    ]


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
