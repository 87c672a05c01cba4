"""
A store that is watched: how long each of its acts takes, whether it fails, and what the ledger makes of a record.

It stands before any adapter of a port and passes everything on, so that an act that a port gets later is watched too.
What is no coroutine (a name, an export that is read slowly) is passed on as it is.
"""

import asyncio
import inspect
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, TypeVar, cast

from gateway.core import metrics as m
from gateway.core.ledger import Settlement, Verdict
from gateway.core.metrics import Count
from gateway.core.record import Record
from gateway.core.tallying import Names, of_request, of_settlement
from gateway.flow.tasks import spawn
from gateway.ports import Clock, Journal, Ledger, StoreFailed
from gateway.ports.metrics import Counters

T = TypeVar("T")
DOUBTFUL: Final = 10_000
"""Settlements that are kept in mind of which nobody knows whether they were made."""
GIVEN_UP_S: Final = 0.9
"""Whoever stops waiting after so long does it because the store does not answer: calls wait a second for it."""


def metered(port: T, name: str, counters: Counters, clock: Clock) -> T:
    """
    The same port, watched.

    Args:
        port: any, of whose adapters it is.
        name: what its acts are called by: `cache`.
        counters: are told.
        clock: for durations.
    """
    return cast("T", _Metered(port, name, counters, clock))


def metered_ledger(ledger: Ledger, counters: Counters, clock: Clock, names: Callable[[], Names]) -> Ledger:
    """The ledger, watched, and counted what it makes of records. `names`: what labels can say."""
    return cast("Ledger", _MeteredLedger(ledger, counters, clock, names))


class _Metered:
    """Passes everything on."""

    def __init__(self, port: object, name: str, counters: Counters, clock: Clock) -> None:
        self._port = port
        self._name = name
        self._counters = counters
        self._clock = clock

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the port has
        found = getattr(self._port, name)
        if not inspect.iscoroutinefunction(found):
            return found
        watched = self._watched(name, found)
        # Asked for once: from now on it is an attribute like any other.
        setattr(self, name, watched)
        return watched

    def _watched(self, name: str, act: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        labels = (f"{self._name}.{name}",)
        counters, ticks = self._counters, self._clock.ticks

        async def watched(*values: object, **named: object) -> T:
            began, has_failed = ticks(), False
            try:
                return await act(*values, **named)
            except StoreFailed:
                has_failed = True
                raise
            except asyncio.CancelledError:
                has_failed = ticks() - began >= GIVEN_UP_S
                raise
            finally:
                counters.take([Count(m.STORE_DURATION, labels, round((ticks() - began) * m.MICROS))])
                if has_failed:
                    counters.take([Count(m.STORE_ERRORS, labels, 1)])

        return watched


class _MeteredLedger(_Metered):
    """Counts what stands in the ledger."""

    def __init__(self, ledger: Ledger, counters: Counters, clock: Clock, names: Callable[[], Names]) -> None:
        super().__init__(ledger, "ledger", counters, clock)
        self._names = names
        self._doubtful: OrderedDict[str, Record] = OrderedDict()
        """What may stand in the ledger, though nobody has heard so: counted when it turns out that it does."""
        self._settle_watched = self._watched("settle", ledger.settle)
        self._reap_watched = self._watched("reap", ledger.reap)

    async def settle(self, record: Record, images: int = 0) -> Settlement:
        """
        As the ledger's.

        Whoever stops waiting does not stop the ledger: what it writes all the same is counted all the same.
        """
        found = await asyncio.shield(spawn(f"settle {record.id}", self._settle(record, images)))
        if isinstance(found, StoreFailed):
            raise found
        return cast("Settlement", found)

    async def reap(self) -> tuple[Record, ...]:
        """As the ledger's."""
        reaped = await self._reap_watched()
        for record in reaped:
            self._counters.take(of_settlement(Settlement(Verdict.WRITTEN, record), self._names()))
        return reaped

    async def _settle(self, record: Record, images: int) -> Settlement | StoreFailed:
        try:
            found = await self._settle_watched(record, images)
        except StoreFailed as failed:
            if failed.unknown:
                self._doubtful[record.id] = record
                while len(self._doubtful) > DOUBTFUL:
                    self._doubtful.popitem(last=False)
            return failed
        counted = found
        said = self._doubtful.pop(record.id, None)
        if found.verdict is Verdict.REPEATED and said is not None and _is_same(said, found.record):
            counted = Settlement(Verdict.WRITTEN, found.record)
        self._counters.take(of_settlement(counted, self._names()))
        return found


def _is_same(said: Record, stands: Record) -> bool:
    """Whether a record is the one that was handed over: a store decides when it arrived, and whose response it is."""
    return replace(said, at=stands.at, response_id=stands.response_id) == stands


class CountingJournal:
    """
    The `Journal` port: counts what requests were, and tells another journal.

    Args:
        journal: is told.
        counters: count.
        names: what labels can say.
    """

    def __init__(self, journal: Journal, counters: Counters, names: Callable[[], Names]) -> None:
        self._journal = journal
        self._counters = counters
        self._names = names

    def write(self, record: Record, *, counts: bool = True) -> None:
        """Pass a record on, and count its request."""
        self._journal.write(record, counts=counts)
        if counts:
            self._counters.take(of_request(record, self._names()))

    def count(self, record: Record) -> None:
        """Count the request."""
        self._counters.take(of_request(record, self._names()))
        self._journal.count(record)
