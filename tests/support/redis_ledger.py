"""Ledgers over servers of a test's own, and claims on them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.clock import SystemClock
from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.ledger import RedisLedger
from gateway.core.ledger import OpenCall
from gateway.core.limits import Limit, Unit, parse_limit
from gateway.core.quota import Amounts, Claim, Claimant
from gateway.core.units import NanoUSD
from gateway.ports import LedgerReader
from tests.support.ledger import noted

now = SystemClock().now
UTC = ZoneCalendar("UTC")
ONE = Amounts(requests=1, places=1, images=1, image_tokens=272, tokens=341, cost_nusd=NanoUSD(20_000_000))
"""What a call asks for at both doors."""


@asynccontextmanager
async def ledger_at(address: RedisAddress, **options: Any) -> AsyncIterator[RedisLedger]:
    """A worker; by the server's clock, unless the options say otherwise."""
    ledger = await asyncio.to_thread(RedisLedger.open, address, **options)  # a proxy may be in this loop
    try:
        yield ledger
    finally:
        await ledger.aclose()


def claim(
    call_id: str, limits: Sequence[str] = (), asked: Amounts = ONE, *, clock: Callable[[], float] = now
) -> Claim:
    """Of a key of one team; the limits are those of the key."""
    scopes = (
        Claimant("key:design-1", tuple(map(parse_limit, limits))),
        Claimant("team:design"),
        Claimant("org"),
    )
    return Claim(id=call_id, claimants=scopes, asked=asked, frames=UTC.frames(clock()))


def opened(call_id: str, *, at: float | None = None) -> OpenCall:
    """A call that goes up at once."""
    return OpenCall(record=noted(id=call_id, at=now() if at is None else at), dispatched=True)


async def used(ledger: LedgerReader, scope: str = "key:design-1") -> dict[Unit, tuple[int, int]]:
    """All that was ever used and is held now, by unit."""
    limits = tuple(
        Limit(10**12, unit, None if unit is Unit.CONCURRENT else parse_limit("1 image total").window)
        for unit in Unit
    )
    at = now()
    found = await ledger.limits([Claimant(scope, limits)], UTC.frames(at), at)
    return {one.limit.unit: (one.used, one.held) for one in found}
