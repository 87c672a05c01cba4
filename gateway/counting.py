"""What is counted in a process, and how it is told: app.py's hand in everything about metrics."""

import asyncio
import tempfile
from pathlib import Path
from typing import TypeVar

from starlette.types import ASGIApp

from gateway import __version__
from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.metered import CountingJournal, metered, metered_ledger
from gateway.adapters.processes import ProcFiles
from gateway.adapters.prometheus import PrometheusText
from gateway.adapters.scratch import Scratch
from gateway.adapters.tallies import Tallies
from gateway.core.catalog import Catalog
from gateway.core.metrics import BUILD_INFO, Sample
from gateway.core.quota import Claimant
from gateway.core.tallying import names_of
from gateway.flow.account import Accounts
from gateway.flow.flights import Flights
from gateway.flow.gauges import Presence, StoreGauges
from gateway.flow.orphans import Orphans
from gateway.flow.tasks import spawn
from gateway.ports import Cache, Clock, Journal, Ledger, UnfitError
from gateway.settings import Settings
from gateway.settings.directory import directory_of
from gateway.web.metrics import InFlight, Metrics

T = TypeVar("T")


def scratch_of(settings: Settings, folder: Path) -> Scratch | None:
    """
    Where several workers count together, to be removed when they have ended; None: nobody needs it.

    Args:
        settings: what the operator wants.
        folder: where the gateway keeps things.

    Raises:
        UnfitError: nothing can be written there, nor elsewhere.
    """
    if settings.server.workers == 1 or not settings.metrics.enabled:
        return None
    places = (folder, Path(tempfile.gettempdir()))
    scratch = Scratch.made(places)
    if scratch is None:
        there = " nor ".join(map(str, places))
        raise UnfitError(
            f"Workers count together in files, and neither {there} can be written to. Give them a place (TMPDIR), or "
            "set metrics.enabled = false."
        )
    return scratch


class Counting:
    """
    All that counts in this process; where metrics are switched off it hands back what it is given.

    Args:
        settings: what the operator wants.
        catalog: the names that labels can say.
        clock: for durations.
        folder: of all workers; None: there are no others.
    """

    def __init__(self, settings: Settings, catalog: Catalog, clock: Clock, folder: Path | None) -> None:
        self._settings = settings
        self._is_on = settings.metrics.enabled
        self._names = names_of(catalog)
        self._clock = clock
        self._counters = Tallies(folder if self._is_on else None)
        self._inside: InFlight | None = None
        self._presence: Presence | None = None
        self._gauges: StoreGauges | None = None

    def journal(self, journal: Journal) -> Journal:
        """A journal that counts requests."""
        return CountingJournal(journal, self._counters, lambda: self._names) if self._is_on else journal

    def ledger(self, ledger: Ledger) -> Ledger:
        """A ledger that is watched, and whose records are counted."""
        return (
            metered_ledger(ledger, self._counters, self._clock, lambda: self._names)
            if self._is_on
            else ledger
        )

    def watched(self, port: T, name: str) -> T:
        """A store that is watched."""
        return metered(port, name, self._counters, self._clock) if self._is_on else port

    def inside(self, public: ASGIApp) -> ASGIApp:
        """The public listener, with whoever is in it counted."""
        if not self._is_on:
            return public
        self._inside = InFlight(public)
        return self._inside

    def endpoint(
        self, accounts: Accounts, cache: Cache, flights: Flights, orphans: Orphans
    ) -> ASGIApp | None:
        """What answers `/metrics`; None: nobody does. To be asked for once, after `inside`."""
        inside = self._inside
        if inside is None:
            return None
        self._presence = presence = Presence(
            self._counters,
            lambda: {
                "requests": inside.requests,
                "streams": inside.streams,
                "followers": flights.followers,
                "orphans": len(orphans) + flights.unattended,
            },
            lambda: accounts.keeper.waiting,
        )
        self._gauges = gauges = StoreGauges(
            accounts.keeper.ledger,
            cache if self._settings.cache.enabled else None,
            _claimants(self._settings),
            accounts.calendar,
            self._clock,
        )
        return Metrics(
            self._counters,
            PrometheusText(),
            ProcFiles(),
            publish=presence.publish,
            read=gauges.read,
            constant=[Sample(BUILD_INFO, (__version__,), 1)],
        )

    def heed(self, settings: Settings, catalog: Catalog) -> None:
        """Other limits and other models, from now on."""
        self._settings = settings
        self._names = names_of(catalog)
        if self._gauges is not None:
            self._gauges.claimants = _claimants(settings)
            self._gauges.calendar = ZoneCalendar(settings.org.timezone)

    def caring(self) -> list[asyncio.Task[object]]:
        """What goes on as long as the process serves."""
        return [] if self._presence is None else [spawn("presence", self._presence.run())]


def _claimants(settings: Settings) -> list[Claimant]:
    """Whose limits are shown."""
    directory = directory_of(settings)
    shown = directory if settings.metrics.key_labels else (directory.org, *directory.teams)
    return [entry.claimant for entry in shown]
